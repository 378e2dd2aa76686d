"""The command line that people, DVC and the workflows type: one verb each, imported when it is called.

This module imports the standard library only, so that `--help` and the fast verbs run on a bare Python.
"""

import argparse
import contextlib
import difflib
import errno
import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from mlops import privacy, workspace
from mlops.errors import Refusal
from mlops.files import plain

INTERRUPTED, BUG, NO_READER = 130, 70, 141

EXIT_CODES = {
    0: "done; for `gate`: the verdict is passed",
    1: "measured, and not good enough: gate, stage or contract failed, watch alarms, or doctor found something broken",
    2: "bad input, or a state that a person must change; the message says what to do",
    3: "not evaluated: the gate or watch could not judge, which is not a pass",
    BUG: "a bug in mlops; MLOPS_TRACEBACK=1 shows where",
    INTERRUPTED: "interrupted; run it again to go on",
    NO_READER: "the program that read the output went away",
}

Group = Literal["What people type", "What the workflows type", "Stages, in the order in which `mlops repro` runs them"]
TYPED: Group = "What people type"
WORKFLOW: Group = "What the workflows type"
STAGE: Group = "Stages, in the order in which `mlops repro` runs them"


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
    takes: Literal["model", "models", "name", "nothing"] = "model"
    options: tuple[tuple[str, dict[str, Any]], ...] = ()
    group: Group = TYPED


STAGES = ("ingest", "check", "split", "tune", "train", "evaluate", "explain", "age")

_WHERE = (
    "--env",
    {
        "dest": "environment",
        "metavar": "ENV",
        "default": "local",
        "help": "a page in deploy/environments (default: local)",
    },
)
_KEEP_GOING = (
    "--keep-going",
    {"action": "store_true", "help": "exit 0 though a model cannot be planned; the plan says which"},
)
_INTO = ("--into", {"metavar": "FILE", "help": "write how it ended there as JSON"})

VERBS: dict[str, Verb] = {
    "repro": Verb(
        "mlops.pipeline:repro",
        "run the pipeline where something changed, then write the card",
        options=(
            ("--pull", {"action": "store_true", "help": "take what was made and stored elsewhere from there"}),
            ("--until", {"choices": STAGES, "metavar": "STAGE", "help": "end with this stage, such as check"}),
        ),
    ),
    "gate": Verb("mlops.judging.command:gate", "compare with the champion on the same rows; exit 0 only when passed"),
    "report": Verb(
        "mlops.reporting.command:report",
        "write reports/report.md from what the gate found",
        takes="models",
        options=(
            ("--html", {"action": "store_true", "help": "write reports/report.html too (needs matplotlib)"}),
            ("--plan", {"metavar": "FILE", "help": "report on the models of this plan, measured or not"}),
            ("--artifacts", {"metavar": "FOLDER", "help": "with --plan: what the jobs left (default: reports/)"}),
        ),
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
        options=(
            (
                "--task",
                {
                    "choices": ("classification", "regression"),
                    "default": "classification",
                    "help": "what it predicts: a class or a number (default: classification)",
                },
            ),
        ),
    ),
    "pull": Verb(
        "mlops.pipeline:pull",
        "bring data and versions that dvc.lock names from the storage",
        options=(
            ("--replace", {"action": "store_true", "help": "put them in the place of what is here and differs, too"}),
        ),
    ),
    "push": Verb("mlops.pipeline:push", "put data and versions that dvc.lock names into the storage"),
    "serve": Verb("mlops.serving:serve", "serve the trained version over HTTP; settings are SERVE_… variables"),
    "score": Verb(
        "mlops.serving:score",
        "predict every row of a Parquet or CSV file",
        options=(
            ("--in", {"dest": "source", "metavar": "FILE", "required": True, "help": "the rows, Parquet or CSV"}),
            ("--out", {"dest": "target", "metavar": "FILE", "required": True, "help": "the file to write"}),
        ),
    ),
    "release": Verb(
        "mlops.releasing.command:release",
        "start the release of models on GitHub, of each in a run of its own",
        takes="nothing",
        options=(("models", {"nargs": "+", "metavar": "MODEL", "help": "what to release"}),),
    ),
    "watch": Verb(
        "mlops.watching.command:watch",
        "compare what is served with the reference window, and late labels with the promise; exit 1 is an alarm",
        options=(
            (
                "--today",
                {"metavar": "YYYY-MM-DD", "help": "the last day of the current window (default: today in UTC)"},
            ),
            ("--log", {"metavar": "PATH", "help": "the prediction log (default: watch.log in model.toml)"}),
            ("--metrics", {"metavar": "FOLDER", "help": "write what Prometheus shows of it there, too"}),
        ),
    ),
    "package": Verb(
        "mlops.packaging.command:package",
        "make the image that serves the trained version",
        options=(("--push", {"metavar": "REGISTRY/NAME", "help": "push it there too, and name it by its digest"}),),
    ),
    "retrain": Verb(
        "mlops.retraining.retrain:retrain",
        "do here what CT does: where the model is due, train it on a branch, judge it and propose it",
        options=(
            (
                "--today",
                {"metavar": "YYYY-MM-DD", "help": "that day, the last one whose rows are used (default: today in UTC)"},
            ),
            ("--reason", {"default": "", "metavar": "TEXT", "help": "why it is trained, due or not"}),
        ),
    ),
    "deploy": Verb(
        "mlops.deploying.command:deploy",
        "let a packaged version serve in an environment; exit 1 when it was rolled back by itself",
        options=(
            _WHERE,
            ("--strategy", {"metavar": "STRATEGY", "help": "rolling, blue-green or canary (default: the page's)"}),
            ("--image", {"metavar": "IMAGE", "help": "its name or digest, or a FILE.json that `package` wrote"}),
            ("--version", {"metavar": "VERSION", "help": "refuse an image that holds another one"}),
            ("--override", {"metavar": "REASON", "help": "deploy in spite of a freeze; goes into the audit log"}),
            _INTO,
        ),
    ),
    "rollback": Verb(
        "mlops.deploying.command:rollback",
        "let an earlier version serve again, at once",
        options=(
            _WHERE,
            ("--to", {"metavar": "VERSION", "help": "one of the last five (default: the one before)"}),
            ("--reason", {"metavar": "TEXT", "help": "why; goes into the audit log"}),
            _INTO,
        ),
    ),
    "status": Verb(
        "mlops.deploying.command:status", "say what serves in an environment, and what was begun", options=(_WHERE,)
    ),
    "models": Verb("mlops.pipeline:list_models", "list the models", takes="nothing"),
    "harden": Verb(
        "mlops.publishing.harden:harden",
        "give GitHub the rules in .github/rulesets: what protects the default branch",
        takes="nothing",
        options=(("--dry-run", {"action": "store_true", "help": "only show what would change"}),),
    ),
    "doctor": Verb(
        "mlops.examining.command:doctor",
        "say whether the loops can run here and on GitHub, and what is left to do; exit 1 when something is broken",
        takes="nothing",
    ),
    "plan": Verb(
        "mlops.planning.command:plan",
        "say which models a change can affect, and why",
        takes="nothing",
        options=(
            ("--base", {"metavar": "REV", "help": "what the change is compared with (default: the default branch)"}),
            ("--head", {"metavar": "REV", "default": "HEAD", "help": "the changed commit (default: HEAD)"}),
            ("--into", {"metavar": "FILE", "help": "write the plan there as JSON"}),
        ),
        group=WORKFLOW,
    ),
    "due": Verb(
        "mlops.watching.planned:due",
        "say which models are due for a new version, and why",
        takes="nothing",
        options=(
            ("--today", {"metavar": "YYYY-MM-DD", "help": "the day that is planned for (default: today in UTC)"}),
            ("--known", {"metavar": "FILE", "help": "open pull requests, last attempts and alarms, as JSON"}),
            ("--model", {"action": "append", "metavar": "NAME", "help": "train this one in any case (repeatable)"}),
            ("--reason", {"default": "", "metavar": "TEXT", "help": "why, with --model"}),
            ("--head", {"metavar": "REV", "default": "HEAD", "help": "the commit that is planned (default: HEAD)"}),
            ("--into", {"metavar": "FILE", "help": "write the plan there as JSON"}),
            _KEEP_GOING,
        ),
        group=WORKFLOW,
    ),
    "history": Verb(
        "mlops.retraining.history:history",
        "say what GitHub knows of retraining: open pull requests, earlier attempts, alarms",
        takes="nothing",
        options=(("--into", {"metavar": "FILE", "required": True, "help": "write it there as JSON, for `due`"}),),
        group=WORKFLOW,
    ),
    "unplanned": Verb(
        "mlops.watching.planned:unplanned",
        "say which models a plan of `due` or `looks` could not take; exit 0 only when there is none",
        takes="nothing",
        options=(("plan", {"metavar": "FILE", "help": "what `due` or `looks` wrote"}),),
        group=WORKFLOW,
    ),
    "looks": Verb(
        "mlops.retraining.looks:looks",
        "say which models are watched",
        takes="nothing",
        options=(("--into", {"metavar": "FILE", "help": "write the plan there as JSON"}), _KEEP_GOING),
        group=WORKFLOW,
    ),
    "tell": Verb(
        "mlops.retraining.tell:tell",
        "tell of alarms: an issue, CT and a webhook; close what is over",
        takes="nothing",
        options=(
            ("plan", {"metavar": "FILE", "help": "what `looks` wrote"}),
            ("--artifacts", {"metavar": "FOLDER", "required": True, "help": "what the jobs left"}),
        ),
        group=WORKFLOW,
    ),
    "heartbeat": Verb(
        "mlops.retraining.heartbeat:heartbeat",
        "keep the schedules alive, and say which of them had stopped",
        takes="nothing",
        group=WORKFLOW,
    ),
    "start": Verb(
        "mlops.retraining.start:start",
        "make a working branch with newer data for each due model",
        takes="nothing",
        options=(
            ("due", {"metavar": "FILE", "help": "the plan that `due` wrote"}),
            ("--as-of", {"metavar": "YYYY-MM-DD", "help": "the last day whose rows are used (default: today in UTC)"}),
            ("--into", {"metavar": "FILE", "help": "write what was started there as JSON"}),
        ),
        group=WORKFLOW,
    ),
    "propose": Verb(
        "mlops.retraining.propose:propose",
        "store what was trained anew, and open its pull request, or an issue that says why not",
        takes="nothing",
        options=(
            ("started", {"metavar": "FILE", "help": "what `start` wrote"}),
            ("--artifacts", {"metavar": "FOLDER", "required": True, "help": "what the jobs left"}),
        ),
        group=WORKFLOW,
    ),
    "pack": Verb(
        "mlops.storing.pack:pack",
        "put a version that passed into one folder, for `store`",
        options=(("--into", {"metavar": "DIR", "required": True, "help": "the folder to make"}),),
        group=WORKFLOW,
    ),
    "store": Verb(
        "mlops.storing.store:store",
        "verify packed versions, store them, and commit their locks to the pull request's branch",
        takes="nothing",
        options=(
            ("folder", {"metavar": "DIR", "help": "what `pack` wrote, or a folder that holds several of these"}),
            ("--branch", {"required": True, "help": "the pull request's branch"}),
            ("--head", {"metavar": "SHA", "required": True, "help": "the commit that was measured"}),
        ),
        group=WORKFLOW,
    ),
    "post": Verb(
        "mlops.publishing.post:post",
        "show the report on the run's page and in the pull request's one comment",
        takes="nothing",
        options=(("--with-cml", {"metavar": "VERSION", "help": "fetch this version of CML where none is installed"}),),
        group=WORKFLOW,
    ),
    "verdict": Verb(
        "mlops.publishing.verdict:verdict",
        "say why a change may not be merged; exit 0 only when it may",
        takes="nothing",
        options=(
            ("--plan", {"metavar": "FILE", "required": True, "help": "what had to be measured"}),
            ("--artifacts", {"metavar": "FOLDER", "help": "what the jobs left (default: reports/)"}),
        ),
        group=WORKFLOW,
    ),
    "candidates": Verb(
        "mlops.releasing.command:candidates",
        "say which models a push releases, and what to do where there is none",
        takes="nothing",
        options=(
            ("--base", {"metavar": "REV", "help": "what the push is compared with (default: the commit before)"}),
            ("--head", {"metavar": "REV", "default": "HEAD", "help": "the commit that is released (default: HEAD)"}),
            ("--model", {"dest": "named", "metavar": "MODEL", "help": "this model, whatever changed"}),
        ),
        group=WORKFLOW,
    ),
    "admit": Verb(
        "mlops.releasing.command:admit",
        "bring the version that dvc.lock names, if it was measured, passed, and matches its inputs",
        group=WORKFLOW,
    ),
    "verify": Verb(
        "mlops.releasing.command:verify",
        "refuse an image that was not packaged and attested here, or that may not serve any more",
        options=(
            ("--image", {"metavar": "FILE", "required": True, "help": "what `package` wrote about it"}),
            ("--digest", {"metavar": "DIGEST", "help": "the digest that was packaged, as its job says"}),
        ),
        group=WORKFLOW,
    ),
    "reach": Verb(
        "mlops.releasing.access:reach",
        "let the later steps of a job use the keys of its environment",
        takes="nothing",
        group=WORKFLOW,
    ),
    "record": Verb(
        "mlops.releasing.history:note",
        "put a finished release on record: deployments, a release note, aliases, an issue",
        options=(("--artifacts", {"metavar": "FOLDER", "required": True, "help": "what the jobs left"}),),
        group=WORKFLOW,
    ),
    "revert": Verb(
        "mlops.releasing.history:revert",
        "propose that the default branch names again what a rollback went back to",
        options=(
            ("--env", {"dest": "environment", "metavar": "ENV", "required": True, "help": "where it was rolled back"}),
            ("--note", {"metavar": "FILE", "required": True, "help": "what `rollback` wrote about it"}),
            ("--reason", {"metavar": "TEXT", "required": True, "help": "why"}),
        ),
        group=WORKFLOW,
    ),
    "ingest": Verb("mlops.data.stages:ingest", "fetch the rows up to data.as_of", group=STAGE),
    "check": Verb("mlops.data.stages:check", "check the rows against the data contract", group=STAGE),
    "split": Verb("mlops.data.stages:split", "keep the holdout from training", group=STAGE),
    "tune": Verb("mlops.learning.stages:tune", "choose the parameters to train with", group=STAGE),
    "train": Verb("mlops.learning.stages:train", "fit and export the model", group=STAGE),
    "evaluate": Verb("mlops.learning.stages:evaluate", "score the holdout, overall and by slice", group=STAGE),
    "explain": Verb("mlops.learning.stages:explain", "say which inputs matter", group=STAGE),
    "age": Verb("mlops.watching.command:age", "say how fast the model ages, and how often to train it", group=STAGE),
}


class _Asked(Exception):
    """Someone asked for a text (`--help`, `--version`) instead of a verb's work."""


class _Parser(argparse.ArgumentParser):
    """A parser that leaves printing and exit codes to `main`, as everything else here does."""

    def print_help(self, file: Any = None) -> NoReturn:
        raise _Asked(self.format_help().rstrip())

    def error(self, message: str) -> NoReturn:
        raise Refusal(f"{message[:1].upper()}{message[1:]}.", do=f"`{self.prog} --help` shows what it takes.")


class _Version(argparse.Action):
    """The version, looked up only when someone asks."""

    def __call__(self, *_: Any) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("mlops")
        except PackageNotFoundError:
            number = "(from source, not installed)"
        raise _Asked(f"mlops {number}, Python {sys.version.split()[0]}")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="mlops",
        usage="mlops [--help] [--version] VERB ...",
        description=_overview(),
        epilog=_exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument(
        "--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version and leave"
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", help=argparse.SUPPRESS, prog="mlops")
    for name, verb in VERBS.items():
        _add_verb(verbs.add_parser(name, **_described(verb)), verb)
    return top


def _described(verb: Verb) -> dict[str, Any]:
    sentence = f"{verb.help[:1].upper()}{verb.help[1:]}."
    if verb.group == STAGE:
        sentence += " A stage of the pipeline: `mlops repro` runs it when something that it reads has changed."
    return {"description": sentence, "allow_abbrev": False}


def _add_verb(command: argparse.ArgumentParser, verb: Verb) -> None:
    if verb.takes == "model":
        command.add_argument("model", nargs="?", help="a folder in models/ (default: the one you are in)")
    elif verb.takes == "models":
        command.add_argument("models", nargs="*", help="folders in models/ (default: all that the gate has seen)")
    elif verb.takes == "name":
        command.add_argument("name", help="snake_case name of the new model")
    for flag, settings in verb.options:
        command.add_argument(flag, **settings)
    command.add_argument("--json", action="store_true", help="print one JSON value for machines")


def _overview() -> str:
    lines = ["Measure, gate and report the models of this repository."]
    width = max(map(len, VERBS)) + 2
    for group in (TYPED, WORKFLOW, STAGE):
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}{verb.help}" for name, verb in VERBS.items() if verb.group == group]
    return "\n".join([*lines, "", "`mlops VERB --help` shows what one verb takes; each takes --json."])


def _exit_codes() -> str:
    return "\n".join(["exit codes:", *(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; print its outcome; return the exit code (see `EXIT_CODES`).

    With `--json` standard output is one JSON value, also for a refusal: `{"error": …, "do": …}`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    machine = "--json" in words
    _prepare_streams()
    privacy.apply()
    try:
        with _own_output(machine):
            outcome = _run(words)
    except _Asked as asked:
        return _finish(str(asked), 0)
    except BaseException as error:
        if os.environ.get("MLOPS_TRACEBACK"):
            traceback.print_exc()
        return _report(_as_refusal(error), verb=_verb(words), machine=machine)
    return _finish(json.dumps(plain(outcome.value), sort_keys=True) if machine else outcome.text, outcome.code)


def _prepare_streams() -> None:
    """Make both outputs safe to write to: closed ones go nowhere, unknown letters become escapes."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Test runners put streams there that cannot be reconfigured.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(words: list[str]) -> Outcome:
    options = _parse(words)
    if options.verb is None:
        return Outcome(parser().format_help().rstrip(), code=2)
    verb = VERBS[options.verb]
    values = {key: value for key, value in vars(options).items() if key not in ("verb", "json")}
    here = Path.cwd().resolve()
    root = workspace.find_root(here)
    if verb.takes == "model":
        values["model"] = workspace.find_model(root, values["model"], here)
    else:
        values["root"] = root
    module, function = verb.target.split(":")
    call: Callable[..., Outcome] = getattr(importlib.import_module(module), function)
    return call(**values)


def _parse(words: list[str]) -> argparse.Namespace:
    verb = _verb(words)
    if verb and verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        raise Refusal(
            f"There is no verb {verb!r}.",
            do=f"Did you mean `mlops {near[0]}`?" if near else "`mlops --help` lists them.",
        )
    options, unknown = parser().parse_known_args(words)
    if unknown:
        raise Refusal(f"{verb or 'mlops'} does not take {' '.join(unknown)}.", do=f"{_help(verb)} shows what it takes.")
    return options


def _help(verb: str) -> str:
    return f"`mlops {verb} --help`" if verb else "`mlops --help`"


def _verb(words: list[str]) -> str:
    """The first word that is no option, for messages; empty where there is none."""
    return next((word for word in words if not word.startswith("-")), "")


@contextlib.contextmanager
def _own_output(machine: bool) -> Iterator[None]:
    """For a machine, send what libraries and child programs print to standard error while a verb runs."""
    if not machine:
        yield
        return
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # Nobody gave us a standard output.
        yield
        return
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _as_refusal(error: BaseException) -> Refusal:
    """Any failure as one or two lines: what happened, what to do, and the exit code."""
    match error:
        case Refusal():
            return error
        case KeyboardInterrupt():
            return Refusal("Interrupted.", do="Run it again to go on where it stopped.", code=INTERRUPTED)
        case OSError():
            return _system(error)
        case MemoryError():
            return Refusal("There is not enough memory.", do="Close other programs, or run it on a larger machine.")
    said = " ".join(str(error).split())
    return Refusal(
        f"This is a bug in mlops: {type(error).__name__}{f': {said}' if said else ''}",
        do="Run it again with MLOPS_TRACEBACK=1 to see where, and report that.",
        code=BUG,
    )


_CURES = {
    errno.ENOSPC: "Free space on that disk, then run it again.",
    errno.EDQUOT: "Free space in your quota, then run it again.",
    errno.EACCES: "Allow this user to read and write there, then run it again.",
    errno.EPERM: "Allow this user to read and write there, then run it again.",
    errno.EROFS: "Make that file system writable, then run it again.",
}


def _system(error: OSError) -> Refusal:
    """What the operating system refused, with the file's name."""
    what = error.strerror or str(error) or type(error).__name__
    place = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    do = _CURES.get(error.errno or 0, "Mend that, then run it again; MLOPS_TRACEBACK=1 shows where it happened.")
    return Refusal(f"{place}: {what}." if place else f"{what}.", do=do)


def _report(refusal: Refusal, *, verb: str, machine: bool) -> int:
    if machine:
        return _finish(json.dumps({"error": refusal.what, "do": refusal.do}, sort_keys=True), refusal.code)
    # Nobody is left to tell when standard error is closed; the exit code still says it.
    with contextlib.suppress(OSError, ValueError):
        print(_shown(f"mlops {verb}: {refusal}" if verb in VERBS else f"mlops: {refusal}"), file=sys.stderr)
    return refusal.code


def _shown(text: str) -> str:
    """Text for a terminal: what could move its cursor or colour it is escaped."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def _finish(text: str, code: int) -> int:
    """Print the last text and flush; when its reader has gone, leave quietly."""
    try:
        if text:
            print(text)
        sys.stdout.flush()
    except OSError as error:
        # Python flushes what is left once more when it ends; let that write go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):
            return NO_READER
        return _report(_system(error), verb="", machine=False)
    return code
