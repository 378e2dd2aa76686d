"""Stops bad answers before cookiecutter makes a folder or reads an answer as Jinja.

cookiecutter renders every answer given with `--no-input` or in a user's configuration as a template, and names the
folder before the first hook runs. This Jinja extension (see `_extensions` in `cookiecutter.json`) therefore lets only
the template's own text be rendered, and checks all answers where the folder gets its name.
"""

import functools
import json
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

from hooks.pre_gen_project import MARKS, PRODUCT, SCAFFOLD, problems, shown

REPOSITORY = Path(__file__).resolve().parent.parent


class Answers(Extension):
    """Two filters, the template's folder, and a guard at the door of every rendering from a string."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["checked"] = checked
        environment.filters["first_model"] = first_model
        # cookiecutter knows the template's folder as it was typed, which means nothing in another working folder.
        environment.globals["repository"] = str(REPOSITORY)

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Pass on the template's own text; refuse any other that holds a mark of its language.

        A replayed answer is not asked for again, so the folder's name is where it is checked.
        """
        if source == PRODUCT:
            return source.replace("cookiecutter.", "(cookiecutter | checked).")
        if name is None and source not in _own() and any(mark in source for mark in MARKS):
            raise FailedHookException(f"An answer must not hold {' or '.join(MARKS)}: {shown(source)}.")
        return source


def checked(answers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same answers; refusals, one line each, end the rendering before a folder exists."""
    refusals = problems(answers, str(REPOSITORY))
    if refusals:
        raise FailedHookException("\n".join(refusals))
    return answers


def first_model(answers: Mapping[str, Any]) -> dict[str, str]:
    """The files of the first model by path below `models/`, from the code that `make new-model` runs later."""
    scaffold = runpy.run_path(str(REPOSITORY / SCAFFOLD))
    given = {"name": answers["model"], "task": answers["task"], "owner": f"@{answers['owner'].lstrip('@')}"}
    files: dict[str, str] = scaffold["rendered"](REPOSITORY / PRODUCT / ".scaffold" / "model", given)
    return files


@functools.cache
def _own() -> frozenset[str]:
    """Texts that this template renders from a string: its prompts' defaults and its hooks."""
    defaults = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))
    hooks = [path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "hooks").glob("*_gen_project.py"))]
    return frozenset([*(value for value in defaults.values() if isinstance(value, str)), *hooks])
