"""The verb `harden`: gives GitHub the rules in `.github/rulesets/`, or shows what it would change.

A rule that is only in a file protects nothing; a rule that is only in GitHub is seen by nobody. Standard library only.
"""

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops import github
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.files import dumps, read_json

ACTIONS_APP = 15368
"""The number of GitHub Actions on github.com: the one who may say that the required check passed."""

_NEEDED = {"name": str, "target": str, "enforcement": str, "conditions": dict, "rules": list}


@dataclass(frozen=True)
class Change:
    """One ruleset: what it shall be, what GitHub is given, the number of the one that it has, and how they differ."""

    wanted: Mapping[str, Any]
    body: Mapping[str, Any]
    number: int | None
    diff: tuple[str, ...]


def harden(root: Path, dry_run: bool = False) -> Outcome:
    """Make GitHub's rulesets those of `.github/rulesets/`; a second run changes nothing.

    Rulesets of other names are left alone. Exit code 2 when the rules ask for code owners whom GitHub does not find:
    it would then ask nobody. Raises `Refusal` for a broken file, and where the token may not do it.
    """
    changes = _changes(root)
    due = [one for one in changes if one.diff or one.number is None]
    if not dry_run:
        for one in due:
            github.write_ruleset(one.body, number=one.number)
    lines = [line for one in changes for line in _told(one, is_dry=dry_run)]
    problems = _owners()
    lines += problems
    value = {"changed": [one.wanted["name"] for one in due], "applied": not dry_run, "codeowners": problems}
    return Outcome("\n".join(lines), value, 2 if problems else 0)


def differences(root: Path) -> dict[str, tuple[str, ...] | None]:
    """In which lines each ruleset of the files differs on GitHub, by name; None where GitHub does not have it."""
    return {str(one.wanted["name"]): None if one.number is None else one.diff for one in _changes(root)}


def _changes(root: Path) -> list[Change]:
    wanted = [read(path) for path in sorted((root / ".github" / "rulesets").glob("*.json"))]
    if not wanted:
        raise Refusal("There is no ruleset in .github/rulesets.", do="Restore the files from git.")
    there = github.rulesets()
    return [_change(one, there.get(one["name"])) for one in wanted]


def read(path: Path) -> dict[str, Any]:
    """One ruleset of a file, checked as far as its use here goes."""
    value = read_json(path, do="Restore it from git.")
    for key, kind in _NEEDED.items():
        if not isinstance(value, dict) or not isinstance(value.get(key), kind):
            raise Refusal(f".github/rulesets/{path.name} is no ruleset: {key} is missing.", do="Restore it from git.")
    return _for_this_server(value)


def compare(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[str, ...]:
    """The lines in which GitHub's ruleset differs from the wanted one; what the file does not say counts as equal."""
    before, after = (dumps(_ordered(one)).splitlines() for one in (_alike(there, wanted), wanted))
    return tuple(difflib.unified_diff(before, after, "on GitHub", "in .github/rulesets", lineterm="", n=2))


def _change(wanted: Mapping[str, Any], number: int | None) -> Change:
    there = github.ruleset(number) if number is not None else {}
    # Who is exempt is decided on GitHub, unless the file says it.
    kept = {key: there[key] for key in ("bypass_actors",) if key in there}
    return Change(wanted, {**kept, **wanted}, number, compare(wanted, there))


def _for_this_server(value: dict[str, Any]) -> dict[str, Any]:
    """On a server of one's own GitHub Actions has another number, so any app may say that the check passed."""
    if os.environ.get("GH_HOST", "github.com") == "github.com":
        return value
    checks = [one for rule in value["rules"] for one in rule.get("parameters", {}).get("required_status_checks", [])]
    for one in checks:
        if one.get("integration_id") == ACTIONS_APP:
            del one["integration_id"]
    return value


def _alike(there: Any, wanted: Any) -> Any:
    """The part of GitHub's value that the wanted one speaks of: GitHub adds numbers, dates and defaults."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return {key: _alike(there[key], value) for key, value in wanted.items() if key in there}
    if isinstance(wanted, list) and isinstance(there, list):
        by_type = {_kind(one): one for one in wanted}
        return [_alike(one, by_type[_kind(one)]) if _kind(one) in by_type else one for one in there]
    return there


def _kind(value: Any) -> str:
    """What tells one entry of a list from the others: the type of a rule, the name of a check."""
    if isinstance(value, Mapping):
        return str(value.get("type") or value.get("context") or "")
    return json.dumps(value)


def _ordered(value: Any) -> Any:
    """The order of a ruleset's lists means nothing."""
    if isinstance(value, Mapping):
        return {key: _ordered(one) for key, one in value.items()}
    if isinstance(value, list):
        return sorted(map(_ordered, value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


def _told(one: Change, *, is_dry: bool) -> list[str]:
    name = one.wanted["name"]
    if one.number is not None and not one.diff:
        return [f"{name}: GitHub has it already."]
    what = "made" if one.number is None else "changed"
    lines = [f"{name}: {'would be ' * is_dry}{what}."]
    return lines + [_plain(line) for line in one.diff]


def _owners() -> list[str]:
    """Where the rules ask for code owners and GitHub would ask nobody, one sentence each."""
    try:
        return [f"Nobody is asked as a code owner there: {_plain(one)}" for one in github.codeowners_problems()]
    except github.Failure as failure:
        return [f"Nobody knows whether GitHub finds the code owners: {failure.what}"]


def _plain(line: str) -> str:
    """Without what could move a terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in line)
