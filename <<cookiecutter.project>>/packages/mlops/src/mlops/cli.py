"""The command line that people, DVC and the workflows type: one verb each, imported when it is called.

This module imports the standard library only, so that `--help` and the fast verbs run on a bare Python.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops import workspace
from mlops.errors import Refusal
from mlops.files import plain


@dataclass(frozen=True)
class Outcome:
    """What a verb found: lines for a person, a value for a machine, and the exit code."""

    text: str
    value: Any = None
    code: int = 0


@dataclass(frozen=True)
class Verb:
    """One verb: where its function lives, what it does, and the arguments it takes beside the model."""

    target: str
    help: str
    takes: str = "model"
    options: tuple[tuple[str, dict[str, Any]], ...] = ()


VERBS: dict[str, Verb] = {
    "repro": Verb("mlops.pipeline:repro", "run the pipeline where something changed, then write the card"),
    "gate": Verb("mlops.judging.command:gate", "compare with the champion on the same rows; exit 0 only when passed"),
    "report": Verb(
        "mlops.reporting.command:report",
        "write reports/report.md from what the gate found",
        takes="models",
        options=(("--html", {"action": "store_true", "help": "write reports/report.html too (needs matplotlib)"}),),
    ),
    "refresh": Verb(
        "mlops.pipeline:refresh",
        "advance the day up to which data is used",
        options=(("--as-of", {"metavar": "YYYY-MM-DD", "help": "that day (default: today)"}),),
    ),
    "new-model": Verb(
        "mlops.scaffold:new_model",
        "add a model from the scaffold",
        takes="name",
        options=(("--task", {"choices": ("classification", "regression"), "default": "classification"}),),
    ),
    "models": Verb("mlops.pipeline:list_models", "list the models", takes="nothing"),
    "ingest": Verb("mlops.data.stages:ingest", "stage: fetch the rows up to data.as_of"),
    "check": Verb("mlops.data.stages:check", "stage: check the rows against the data contract"),
    "split": Verb("mlops.data.stages:split", "stage: keep the holdout from training"),
    "tune": Verb("mlops.learning.stages:tune", "stage: choose the parameters to train with"),
    "train": Verb("mlops.learning.stages:train", "stage: fit and export the model"),
    "evaluate": Verb("mlops.learning.stages:evaluate", "stage: score the holdout, overall and by slice"),
    "explain": Verb("mlops.learning.stages:explain", "stage: say which inputs matter"),
}


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="mlops", description="Measure, gate and report the models of this repository.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        command = verbs.add_parser(name, help=verb.help, description=verb.help)
        if verb.takes == "model":
            command.add_argument("model", nargs="?", help="a folder in models/ (default: the one you are in)")
        elif verb.takes == "models":
            command.add_argument("models", nargs="*", help="folders in models/ (default: all that the gate has seen)")
        elif verb.takes == "name":
            command.add_argument("name", help="snake_case name of the new model")
        for flag, settings in verb.options:
            command.add_argument(flag, **settings)
        command.add_argument("--json", action="store_true", help="print one JSON value for machines")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; print its outcome; return the exit code (2 for bad input, 130 when interrupted)."""
    options = parser().parse_args(arguments)
    try:
        outcome = _run(options)
    except Refusal as refusal:
        print(f"mlops {options.verb}: {refusal}", file=sys.stderr)
        return refusal.code
    except KeyboardInterrupt:
        print(f"mlops {options.verb}: interrupted; run it again to go on.", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(plain(outcome.value), sort_keys=True))
    elif outcome.text:
        print(outcome.text)
    return outcome.code


def _run(options: argparse.Namespace) -> Outcome:
    module, function = VERBS[options.verb].target.split(":")
    here = Path.cwd().resolve()
    values = {key: value for key, value in vars(options).items() if key not in ("verb", "json")}
    root = workspace.find_root(here)
    if "model" in values:
        values["model"] = workspace.find_model(root, values["model"], here)
    else:
        values["root"] = root
    call: Callable[..., Outcome] = getattr(importlib.import_module(module), function)
    return call(**values)
