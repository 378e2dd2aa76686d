"""How long does a new repository take, from the command to its first commit, against copier on the same files?

    python benchmarks/rendering.py [--repeats 11]

Both peers end with the same files and one git commit. copier gets a template made here from this one: files that hold
no template language are copied, the others carry its `.jinja` suffix, the first model lies ready to be rendered
(copier has no inner template), and three tasks start git. Correct means: every file but the record of the answers has
the same bytes.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = "<<cookiecutter.project>>"
RECORD = ".template.json"
GOAL = 0.6
MARKS = ("<<", "<%", "<#", "#%")


def clean_copy(folder: Path) -> Path:
    """The template as a fresh clone of it lies: without what tools leave in a work tree."""
    ignored = shutil.ignore_patterns(
        ".git", ".*_cache", ".hypothesis", ".tools", ".venv", "__pycache__", "*.egg-info", "build"
    )
    return Path(shutil.copytree(ROOT, folder, ignore=ignored))


def for_copier(template: Path, folder: Path) -> Path:
    """The same template in copier's terms; its answers are named as ours, so that the files need no change."""
    settings = json.loads((template / "cookiecutter.json").read_text())
    answers = {key: value for key, value in settings.items() if not key.startswith("_")}
    chosen = {key: value[0] if isinstance(value, list) else value for key, value in answers.items()}
    chosen["model"] = "tumour"
    product = template / PRODUCT
    places = [(path, path.relative_to(product).as_posix()) for path in product.rglob("*") if path.is_file()]
    scaffold = product / ".scaffold" / "model" / "{{cookiecutter.name}}"
    # The inner template describes the model by its task; that text takes the place of its variable here.
    description = _outer(json.loads((scaffold.parent / "cookiecutter.json").read_text())["description"])
    for path in scaffold.rglob("*"):
        if path.is_file():
            inner = path.relative_to(scaffold).as_posix().replace("{{cookiecutter.name}}", "<<cookiecutter.model>>")
            places.append((path, f"models/<<cookiecutter.model>>/{inner}"))
    for path, place in places:
        # What the hook takes away for the default storage is not even there for the peer.
        if place.startswith((".github/oidc/", ".github/actions/sign-in/")):
            continue
        if place.startswith(".licenses/"):
            if place != f".licenses/{chosen['license']}":
                continue
            place = "LICENSE"
        data = path.read_bytes()
        if place.startswith("models/"):
            data = _outer(data.decode()).replace("<< cookiecutter.description >>", description).encode()
        literal = place.startswith(".scaffold/model/{") or not any(mark.encode() in data for mark in MARKS)
        target = folder / "template" / (place if literal else f"{place}.jinja")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    config = {
        "_subdirectory": "template",
        "_templates_suffix": ".jinja",
        "_envops": {
            **{key: value for key, value in settings["_jinja2_env_vars"].items() if key != "line_statement_prefix"},
            "line_statement_prefix": "#%",
            "keep_trailing_newline": True,
        },
        "cookiecutter": {"type": "json", "default": json.dumps(chosen)},
        "_tasks": [
            "git -c init.templateDir= init --quiet --initial-branch=main",
            "git add --all",
            "git -c core.hooksPath= -c commit.gpgSign=false commit --quiet --no-verify --message Start",
        ],
    }
    # JSON is YAML.
    (folder / "copier.yml").write_text(json.dumps(config))
    return folder


def _outer(text: str) -> str:
    """A file of the inner template in the outer one's language."""
    text = (
        text.replace("#?", "#%")
        .replace("{{", "<<")
        .replace("}}", ">>")
        .replace("cookiecutter.name", "cookiecutter.model")
    )
    return text.replace("cookiecutter.owner", "('@' ~ cookiecutter.owner)")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file outside `.git`, but the record of the answers."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts and path.name != RECORD
    }


def main() -> int:
    """Measure and conclude; 1 when the goal is missed or a file differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    repeats = parser.parse_args().repeats
    versions = harness.versions("cookiecutter", "copier", "jinja2")
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    versions["git"] = said.split()[2]
    print(versions)
    programs = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        template = clean_copy(here / "ours")
        peer = for_copier(template, here / "theirs")
        out = {"cookiecutter": here / "a", "copier": here / "b"}
        env = {"HOME": name, "GIT_CONFIG_NOSYSTEM": "1"}
        env |= {f"GIT_{who}_{what}": "bench@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

        def ours() -> harness.Run:
            shutil.rmtree(out["cookiecutter"], ignore_errors=True)
            command = [str(programs / "cookiecutter"), str(template), "--no-input", "-o", str(out["cookiecutter"])]
            return harness.run(command, env=env)

        def theirs() -> harness.Run:
            shutil.rmtree(out["copier"], ignore_errors=True)
            command = [
                str(programs / "copier"),
                "copy",
                "--defaults",
                "--trust",
                "--quiet",
                str(peer),
                str(out["copier"]),
            ]
            return harness.run(command, env=env)

        runs = harness.interleave({"copier": theirs, "cookiecutter": ours}, repeats=repeats)
        (project,) = out["cookiecutter"].iterdir()
        mine, other = tree(project), tree(out["copier"])
        different = sorted(path for path in mine.keys() | other.keys() if mine.get(path) != other.get(path))
        committed = all((folder / ".git" / "refs" / "heads" / "main").is_file() for folder in (project, out["copier"]))
    correct = {"copier": True, "cookiecutter": not different and committed}
    text = harness.table(runs, against="copier", correct=correct)
    print(f"\n{len(mine)} files\n{text}\n")
    if not correct["cookiecutter"]:
        print(f"Different from copier: {', '.join(different[:10]) or 'no commit'}.")
    ratio = harness.median(runs["cookiecutter"]) / harness.median(runs["copier"])
    return harness.conclude(
        "rendering",
        question="How long does a new repository take, from the command to its first commit, against copier?",
        facts={"versions": versions, "runs": harness.values(runs)},
        tables={f"{len(mine)} files": text},
        goals={"rendering, time ratio to copier": (ratio, GOAL)},
        right=all(correct.values()),
    )


if __name__ == "__main__":
    raise SystemExit(main())
