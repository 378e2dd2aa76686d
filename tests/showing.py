"""What the demos share: a rendered project, commands that are typed in it, and a memory so that it can run again."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rendering import files, template

CHAMPION = "Lock the first version: on main, it is the champion"
AUTHOR = {"user.name": "Demo", "user.email": "demo@localhost", "commit.gpgSign": "false"}


@dataclass(frozen=True, kw_only=True)
class Demo:
    """One demo: what a person types to run it, how many steps it has, and the folder of its project."""

    name: str
    steps: int
    project: Path

    def start(self) -> None:
        """Let nothing of the caller's make or environment reach the project's, and let git have an author."""
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV"):
            os.environ.pop(name, None)
        # Whoever runs this, and however they sign.
        os.environ["GIT_CONFIG_COUNT"] = str(len(AUTHOR))
        for number, (key, value) in enumerate(AUTHOR.items()):
            os.environ[f"GIT_CONFIG_KEY_{number}"], os.environ[f"GIT_CONFIG_VALUE_{number}"] = key, value

    def step(self, number: int, text: str) -> None:
        """Say what happens now."""
        said = f"[{number}/{self.steps}] {text}"
        print(f"\n\033[1m{said}\033[0m" if sys.stdout.isatty() else f"\n{said}", flush=True)

    def stop(self, text: str) -> None:
        """End with one sentence."""
        raise SystemExit(f"{self.name}: {text}")

    @property
    def short(self) -> str:
        """The project's folder, as a person here would name it."""
        return os.path.relpath(self.project, Path.cwd())

    @property
    def model(self) -> str:
        """The project's model."""
        answers: dict[str, str] = json.loads((self.project / ".template.json").read_text())["answers"]
        return answers["model"]

    def git(self, *arguments: str) -> str:
        """Standard output of git; a failure ends the demo with git's words."""
        done = subprocess.run(["git", *arguments], cwd=self.project, capture_output=True, text=True, check=False)
        if done.returncode:
            self.stop(f"git {arguments[0]} failed in {self.project}: {done.stderr.strip()}")
        return done.stdout

    def commit(self, message: str) -> None:
        """Commit all changes, when there are any."""
        self.git("add", "--all")
        if self.git("status", "--porcelain"):
            self.git("commit", "--quiet", "--no-verify", "--message", message)

    def has(self, message: str, branch: str = "main") -> bool:
        """Whether a branch has a commit with this first line."""
        return message in self.git("log", "--format=%s", branch).splitlines()

    def make(self, *arguments: str, accept: tuple[int, ...] = (0,)) -> int:
        """Type one command of the generated repository, and show it and what it says."""
        print(f"$ make {' '.join(arguments)}", flush=True)
        code = subprocess.run(["make", "--no-print-directory", *arguments], cwd=self.project, check=False).returncode
        if code not in accept:
            self.stop(f"`make {' '.join(arguments)}` failed in {self.project}; the lines above say why.")
        return code

    def first_version(self) -> None:
        """Train and lock the model's first version on main, unless it is there."""
        if self.has(CHAMPION):
            print("It is locked on main already.")
            return
        self.make("verdict", f"MODEL={self.model}")
        self.commit(CHAMPION)

    def generate(self) -> None:
        """Render the project, or keep the one that an earlier run left."""
        if self.project.exists():
            left = self._left()
            if left.get("template") != fingerprint():
                do = "`make clean` removes it; then try again."
                self.stop(f"{self.short} is of another version of the template. {do}")
            if left["tips"] and (self.git("status", "--porcelain") or self._tips() != left["tips"]):
                self.stop(f"{self.short} was changed since the last demo. Keep what you need; `make clean` removes it.")
            print(f"{self.short} is there already; only what changed is done again.")
            return
        self.project.parent.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, "-m", "cookiecutter", str(template()), "--no-input", "--default-config"]
        fresh = self.project.parent / f".rendering-{self.project.name}"
        if subprocess.run([*program, "-f", "-o", str(fresh)], check=False).returncode:
            self.stop("the template could not be rendered; the lines above say why.")
        (fresh / "ml-models").rename(self.project)
        fresh.rmdir()
        self.remember()
        print(f"{self.short}: {len(files(self.project))} files, one commit.")

    def remember(self) -> None:
        """Note that it was begun: when it is interrupted it may be taken up again, whatever it has changed by then."""
        self._write(tips="")

    def finish(self) -> None:
        """Note that it ran to its end: what differs from now on is somebody's work."""
        self._write(tips=self._tips())

    def _write(self, *, tips: str) -> None:
        self._note.write_text(json.dumps({"template": fingerprint(), "tips": tips}))

    def _left(self) -> dict[str, Any]:
        left: dict[str, Any] = json.loads(self._note.read_text()) if self._note.is_file() else {}
        return left

    @property
    def _note(self) -> Path:
        return self.project.parent / f".{self.project.name}.json"

    def _tips(self) -> str:
        """Where the branches are."""
        return self.git("for-each-ref", "refs/heads")


def fingerprint() -> str:
    """What the template's files say, so that a demo of an older template is recognised."""
    found = hashlib.sha256()
    for path in sorted(path for path in template().rglob("*") if path.is_file() and "tests" not in path.parts[:1]):
        place = path.relative_to(template()).as_posix()
        if place.startswith(("<<", "hooks/", "cookiecutter.json")):
            found.update(f"{place}\0".encode() + path.read_bytes())
    return found.hexdigest()
