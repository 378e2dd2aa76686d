"""Refuses answers that could not become a repository; writes nothing.

cookiecutter renders this file and runs the copy in the new folder. The answers reach it as JSON inside one string,
never as code: `tojson` writes every single quote as an escape, so that none can end the string, and a raw string
reads no backslash. (The formatter would choose double quotes, which JSON is full of.)
`hooks/answers.py` asks the same functions earlier, before any folder exists.
"""

import json
import os
import re
import runpy
import sys
from collections.abc import Mapping
from typing import Any

ANSWERS = r'''<< cookiecutter | tojson >>'''  # fmt: skip
REPOSITORY = r'''<< repository | tojson >>'''  # fmt: skip

# The product's folder, spelt so that rendering this file leaves the name alone.
PRODUCT = "<" + "<cookiecutter.project>" + ">"
SCAFFOLD = os.path.join(PRODUCT, "packages", "mlops", "src", "mlops", "scaffold.py")

# The marks of the template's language, spelt likewise.
MARKS = ("<" + "<", "<" + "%", "<" + "#", "#" + "%")

CHOICES = {
    "task": ("classification", "regression"),
    "storage": ("git", "s3", "gs", "azure"),
    "deploy": ("docker", "kubernetes"),
    "license": ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"),
}

_LOGIN = r"[a-z0-9](?:-?[a-z0-9]){0,38}"
_OWNER = re.compile(rf"@?{_LOGIN}(?:/{_LOGIN})?", re.ASCII | re.IGNORECASE)
_PROJECT = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)


def problems(answers: Mapping[str, Any], repository: str) -> list[str]:
    """Why these answers cannot become a repository, one line each; none when they can.

    `repository` is the template's folder: the rule for a model's name is read from its copy of `mlops`.
    """
    scaffold = runpy.run_path(os.path.join(repository, SCAFFOLD))
    found = {
        "project": project_problem(_text(answers, "project"), scaffold["DEVICES"]),
        "owner": owner_problem(_text(answers, "owner")),
        "description": description_problem(_text(answers, "description")),
        "model": scaffold["problem"](_text(answers, "model")),
    }
    for key, known in CHOICES.items():
        found[key] = "" if answers.get(key) in known else f"must be {', '.join(known[:-1])} or {known[-1]}"
    return [f"{key} {shown(answers.get(key))} cannot be used: it {why}." for key, why in found.items() if why]


def project_problem(project: str, devices: frozenset[str]) -> str:
    """Why the repository cannot have this name: GitHub, a bucket and Windows must all take it."""
    if not _PROJECT.fullmatch(project):
        return "must be lowercase letters, digits and single hyphens, a letter first"
    if len(project) > 50:
        return f"is {len(project)} characters long; at most 50 are possible"
    if project in devices:
        return "is a device name on Windows"
    return ""


def owner_problem(owner: str) -> str:
    """Why GitHub could not know this owner."""
    if _OWNER.fullmatch(owner) and len(owner) <= 60:
        return ""
    return "must be a GitHub user, organisation or organisation/team, at most 60 characters"


def description_problem(description: str) -> str:
    """Why this cannot be the description: it goes between quotes into TOML, and into Markdown as a line."""
    if not description:
        return "is empty; one line says what the repository is for"
    if len(description) > 200:
        return f"is {len(description)} characters long; at most 200 are possible"
    if not description.isprintable():
        return "must be one line of printable text"
    if description != description.strip():
        return "must not begin or end with a space"
    if '"' in description or "\\" in description:
        return "must not hold a double quote or a backslash"
    if any(mark in description for mark in MARKS):
        return f"must not hold {' or '.join(MARKS)}, which the template reads as code"
    return ""


def shown(value: object) -> str:
    """A value as one short line of ASCII, whatever it holds."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(answers: Mapping[str, Any], key: str) -> str:
    value = answers.get(key)
    return value if isinstance(value, str) else ""


def main() -> int:
    """Print each refusal; 1 when there is one."""
    refusals = problems(json.loads(ANSWERS), json.loads(REPOSITORY))
    for refusal in refusals:
        print(refusal, file=sys.stderr)
    return 1 if refusals else 0


if __name__ == "__main__":
    raise SystemExit(main())
