"""actions/checkout: a real clone of the loopback server, step by step as the real action does it with git."""

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path

from common import Refused, flag, inside, lines


def run(inputs: dict[str, str]) -> dict[str, str]:
    """Fetch what was asked for and check it out; gives `ref` and `commit`."""
    for name in ("ssh-key", "lfs", "submodules", "github-server-url"):
        if inputs.get(name) not in ("", "false"):
            raise Refused(f"the double of actions/checkout does not know {name}")
    folder = inside(inputs["path"] or ".")
    own = inputs["repository"].lower() == os.environ["GITHUB_REPOSITORY"].lower()
    if re.fullmatch(r"[^/\s]+/[^/\s]+", inputs["repository"]) is None:
        raise Refused(f"Invalid repository {inputs['repository']!r}. Expected format {{owner}}/{{repo}}.")
    ref, commit = _wanted(inputs["ref"], own)
    if not inputs["token"]:
        raise Refused("Input required and not supplied: token")
    _empty(folder)
    git = _Git(folder)
    git("init", "--quiet", "--initial-branch", "main", ".")
    git("config", "--local", "gc.auto", "0")
    git("remote", "add", "origin", f"{os.environ['GITHUB_SERVER_URL']}/{inputs['repository']}")
    header = base64.b64encode(f"x-access-token:{inputs['token']}".encode()).decode()
    key = f"http.{os.environ['GITHUB_SERVER_URL']}/.extraheader"
    git("config", "--local", key, f"AUTHORIZATION: basic {header}")
    _fetch(git, inputs, ref, commit)
    if patterns := lines(inputs["sparse-checkout"]):
        cone = "--cone" if flag(inputs["sparse-checkout-cone-mode"]) else "--no-cone"
        git("sparse-checkout", "set", cone, "--end-of-options", *patterns)
    if ref.startswith("refs/heads/"):
        branch = ref.removeprefix("refs/heads/")
        git("checkout", "--quiet", "--force", "-B", branch, f"refs/remotes/origin/{branch}")
    elif ref.startswith("refs/pull/"):
        git("checkout", "--quiet", "--force", ref.replace("refs/", "refs/remotes/", 1))
    else:
        git("checkout", "--quiet", "--force", commit or ref)
    if not flag(inputs["persist-credentials"]):
        git("config", "--local", "--unset-all", key)
    return {"ref": ref, "commit": git("rev-parse", "HEAD")}


def _wanted(asked: str, own: bool) -> tuple[str, str]:
    """The full reference and the commit that the real action would look for; either may be empty."""
    if not asked and own:
        return os.environ["GITHUB_REF"], os.environ["GITHUB_SHA"]
    if re.fullmatch(r"[0-9a-fA-F]{40}", asked):
        return "", asked
    if not asked or asked.startswith("refs/"):
        return asked or "HEAD", ""
    return f"refs/heads/{asked}", ""


def _fetch(git: "_Git", inputs: dict[str, str], ref: str, commit: str) -> None:
    depth = int(inputs["fetch-depth"])
    options = ["--quiet", "--prune", "--no-recurse-submodules"]
    options += ["--tags"] if flag(inputs["fetch-tags"]) or depth <= 0 else ["--no-tags"]
    if inputs["filter"]:
        options.append(f"--filter={inputs['filter']}")
    elif inputs["sparse-checkout"]:
        options.append("--filter=blob:none")
    if depth > 0:
        git("fetch", *options, f"--depth={depth}", "origin", _refspec(ref, commit))
        return
    everything = ["+refs/heads/*:refs/remotes/origin/*"]
    if not ref.startswith("refs/heads/"):
        everything.append(_refspec(ref, commit))
    git("fetch", *options, "origin", *everything)


def _refspec(ref: str, commit: str) -> str:
    for kind, local in (("refs/heads/", "refs/remotes/origin/"), ("refs/pull/", "refs/remotes/pull/")):
        if ref.startswith(kind):
            return f"+{commit or ref}:{local}{ref.removeprefix(kind)}"
    return commit or f"+{ref}:{ref}" if ref != "HEAD" else "HEAD"


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


class _Git:
    """Git in one folder, without anybody's own settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str) -> str:
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Refused(f"git {arguments[0]} failed with exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()
