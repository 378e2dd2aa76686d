"""Does every failure end in a sentence and the documented exit code, and do the fast verbs need Python alone?"""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlops import cli, files
from mlops.cli import VERBS, Outcome
from mlops.errors import Refusal
from mlops.workspace import Model

SOURCE = Path(cli.__file__).resolve().parents[1]
REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "command-line.md"


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, project: Path) -> Any:
    """Put a function in the place of what `gate` does."""

    def put(function: Any) -> None:
        module = ModuleType("stand_in")
        module.function = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "stand_in", module)
        monkeypatch.setitem(VERBS, "gate", cli.Verb("stand_in:function", "stand in"))

    return put


def failing(error: BaseException) -> Any:
    def function(model: Model) -> Outcome:
        raise error

    return function


def run(*words: str, cwd: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    """The whole process, as a person starts it."""
    environment = {**os.environ, **settings.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "mlops", *words],
        cwd=cwd, env=environment, text=True, encoding="utf-8", capture_output=True, check=False, **settings,
    )  # fmt: skip


def test_a_verb_prints_its_text_for_a_person_and_its_value_for_a_machine(
    verb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """And gives its own exit code in both cases."""
    verb(lambda model: Outcome(f"{model.name} failed", {"model": model.name, "score": float("nan")}, code=1))
    assert cli.main(["gate", "tumour"]) == 1
    assert capsys.readouterr().out == "tumour failed\n"
    assert cli.main(["gate", "tumour", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"model": "tumour", "score": None}


FAILURES = {
    "refusal": (Refusal("No data.", do="Add some."), 2, "No data.", "Add some."),
    "refusal with a code": (Refusal("Too old.", do="Refresh.", code=1), 1, "Too old.", "Refresh."),
    "interrupted": (KeyboardInterrupt(), 130, "Interrupted.", "Run it again"),
    "disk full": (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 2, "/data/x: No space", "Free space"),
    "disk full, nameless": (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left", "Free space"),
    "not permitted": (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "/x: Permission", "Allow this user"),
    "read only": (OSError(errno.EROFS, "Read-only file system", "/x"), 2, "/x: Read-only", "writable"),
    "rename": (OSError(errno.EXDEV, "Cross-device link", "/a", None, "/b"), 2, "/a -> /b: Cross", "MLOPS_TRACEBACK=1"),
    "network": (TimeoutError("timed out"), 2, "timed out", "MLOPS_TRACEBACK=1"),
    "memory": (MemoryError(), 2, "There is not enough memory.", "larger machine"),
    "bug": (KeyError("column"), 70, "This is a bug in mlops: KeyError: 'column'", "MLOPS_TRACEBACK=1"),
    "bug of many lines": (ValueError("a\n\n  b"), 70, "This is a bug in mlops: ValueError: a b", "MLOPS_TRACEBACK=1"),
    "someone else's exit": (SystemExit("bye"), 70, "This is a bug in mlops: SystemExit: bye", "MLOPS_TRACEBACK=1"),
}


@pytest.mark.parametrize(("error", "code", "what", "do"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_two_lines_at_most_and_a_documented_code(
    error: BaseException, code: int, what: str, do: str, verb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """What happened, then what to do, on standard error; no traceback."""
    verb(failing(error))
    assert cli.main(["gate", "tumour"]) == code
    assert code in cli.EXIT_CODES
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith(f"mlops gate: {what}")
    assert do in second


@pytest.mark.parametrize(("error", "code", "what", "do"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_one_json_value_for_a_machine(
    error: BaseException, code: int, what: str, do: str, verb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same two sentences as `error` and `do`, on standard output."""
    verb(failing(error))
    assert cli.main(["gate", "tumour", "--json"]) == code
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert set(value) == {"error", "do"}
    assert value["error"].startswith(what)
    assert do in value["do"]
    assert err == ""


def test_the_traceback_is_there_for_who_asks(
    verb: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLOPS_TRACEBACK=1 adds it and changes no exit code."""
    monkeypatch.setenv("MLOPS_TRACEBACK", "1")
    verb(failing(KeyError("column")))
    assert cli.main(["gate", "tumour"]) == 70
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "in function" in err
    assert "This is a bug in mlops" in err


def test_what_a_library_or_a_child_prints_does_not_spoil_the_json(verb: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """It goes to standard error, also from another program."""

    def noisy(model: Model) -> Outcome:
        print("from a library")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        return Outcome("done", {"done": True})

    verb(noisy)
    assert cli.main(["gate", "tumour", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == {"done": True}
    assert {"from a library", "from a child"} <= set(err.splitlines())


def test_a_terminal_is_not_steered_by_a_message(verb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences come with data; they are shown, not obeyed."""
    verb(failing(Refusal("value \x1b[31m\r\x07 is bad", do="mend")))
    cli.main(["gate", "tumour"])
    err = capsys.readouterr().err
    assert "\\x1b[31m\\r\\x07" in err
    assert "\x1b" not in err


def test_tools_that_report_home_are_silenced_before_a_verb_starts(verb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the user's surroundings say."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "")
    monkeypatch.setenv("DO_NOT_TRACK", "")
    seen: dict[str, str] = {}
    verb(lambda model: seen.update(os.environ) or Outcome(""))
    assert cli.main(["gate", "tumour"]) == 0
    assert (seen["MLFLOW_DISABLE_TELEMETRY"], seen["DVC_NO_ANALYTICS"], seen["DO_NOT_TRACK"]) == ("true",) * 3


@pytest.mark.parametrize(
    ("words", "what", "do"),
    [
        (["gat"], "mlops: There is no verb 'gat'.", "Did you mean `mlops gate`?"),
        (["zzz"], "mlops: There is no verb 'zzz'.", "`mlops --help` lists them."),
        (["gate", "tumor"], "mlops gate: There is no model 'tumor'.", "Did you mean 'tumour'?"),
        (["gate", "zzz"], "mlops gate: There is no model 'zzz'.", "Known models: diabetes, tumour."),
        (["gate", "../tumour"], "mlops gate: There is no model '../tumour'.", "Did you mean 'tumour'?"),
        (["gate"], "mlops gate: Which model?", "Name one: diabetes, tumour."),
        (["gate", "tumour", "--fast"], "mlops gate: gate does not take --fast.", "`mlops gate --help`"),
        (["gate", "tumour", "diabetes"], "mlops gate: gate does not take diabetes.", "`mlops gate --help`"),
        (["new-model"], "mlops new-model: The following arguments are required: name.", "`mlops new-model --help`"),
        (["new-model", "x", "--task", "y"], "mlops new-model: Argument --task: invalid choice", "`mlops new-model"),
        (["--fast"], "mlops: mlops does not take --fast.", "`mlops --help`"),
        (["report", "--ht"], "mlops report: report does not take --ht.", "`mlops report --help`"),
    ],
)
def test_a_slip_gets_the_nearest_thing(
    words: list[str], what: str, do: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, two lines, for a machine one value."""
    assert cli.main(words) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(what)
    assert do in second
    if len(words) > 1 or words[0] in VERBS:
        assert cli.main([*words, "--json"]) == 2
        assert do in json.loads(capsys.readouterr().out)["do"]


def test_outside_a_repository_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For every verb, before anything of it is imported."""
    monkeypatch.chdir(tmp_path)
    for name, verb in VERBS.items():
        needed = ["x"] if verb.takes == "name" else []
        for flag, settings in verb.options:
            needed += [flag, "x"] if settings.get("required") else ["x"] if not flag.startswith("-") else []
        assert cli.main([name, *needed]) == 2
        assert "is not inside a generated repository" in capsys.readouterr().err


def test_a_working_folder_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    """Someone removed it in another window."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.rmdir({str(gone)!r}); from mlops.cli import main; raise SystemExit(main(['models']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_verb_the_overview_is_printed_with_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody asked for anything, so nothing was done."""
    assert cli.main([]) == 2
    assert capsys.readouterr().out.startswith("usage: mlops ")


def test_help_lists_each_verb_under_its_group_and_each_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """What people type comes first."""
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    heads = {group: text.index(f"{group}:") for group in (cli.TYPED, cli.WORKFLOW, cli.STAGE)}
    assert list(heads.values()) == sorted(heads.values())
    for name, verb in VERBS.items():
        place = re.search(rf"(?m)^  {name} +{re.escape(verb.help)}$", text)
        assert place
        assert [group for group, start in heads.items() if start < place.start()][-1] == verb.group
    for code, meaning in cli.EXIT_CODES.items():
        assert f"{code}  {meaning}" in text


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help_and_takes_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With its own name in the usage."""
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: mlops {name} [-h]")
    assert "--json" in text


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    """With the Python that runs it."""
    from importlib.metadata import version

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mlops {version('mlops')}, Python {sys.version.split()[0]}\n"


@pytest.mark.parametrize("words", [["--help"], ["models"], ["models", "--json"], ["gate", "zzz", "--json"], []])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_leaves_no_noise(
    unbuffered: str, words: list[str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mlops models | head -0` ends quietly."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "mlops", *words], stdout=write, stderr=subprocess.PIPE, cwd=project, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (cli.NO_READER, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux")
@pytest.mark.parametrize("words", [["--help"], ["models"], ["models", "--json"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_the_output_is_a_sentence(
    unbuffered: str, words: list[str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mlops models > file` on a full disk does not exit 0, whenever Python writes."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mlops", *words], stdout=full, stderr=subprocess.PIPE, cwd=project, check=False
        )
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[0] == "mlops: No space left on device."


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_outputs_change_no_exit_code(closed: str, project: Path) -> None:
    """A service manager may give it none."""
    for words, code in (("models", 0), ("models --json", 0), ("zzz", 2)):
        done = subprocess.run(
            f"{sys.executable} -m mlops {words} {closed}", shell=True, cwd=project, capture_output=True, check=False
        )
        assert done.returncode == code, done
        assert b"Traceback" not in done.stderr


def test_letters_that_the_terminal_lacks_become_escapes(project: Path) -> None:
    """The C locale and old Windows consoles."""
    done = run("gäte", cwd=project, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"})
    assert done.returncode == 2
    assert "g\\xe4te" in done.stderr


def test_a_file_that_may_not_be_read_is_named(project: Path, verb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder in a file's place is what root, too, cannot read."""
    place = project / "models" / "tumour" / "metrics.json"
    place.mkdir()
    verb(lambda model: Outcome("", files.read_json(model.json("metrics"), do="x")))
    assert cli.main(["gate", "tumour"]) == 2
    assert str(place) in capsys.readouterr().err


ALONE = """\
import sys
sys.path.insert(0, sys.argv.pop(1))
from mlops.cli import main
code = main(sys.argv[1:])
names = {name.partition(".")[0] for name in sys.modules}
foreign = sorted(names - sys.stdlib_module_names - {"mlops", "__main__", "sitecustomize", "usercustomize"})
print("FOREIGN", *foreign, file=sys.stderr)
raise SystemExit(code)
"""


def alone(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A verb on Python without any installed package: `-I -S` keeps site-packages and the environment out."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE, str(SOURCE), *words],
        cwd=cwd, text=True, capture_output=True, check=False,
    )  # fmt: skip


def test_python_alone_lacks_the_packages() -> None:
    """The breaker of the next test: in that Python, importing a package fails."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", "import numpy"], capture_output=True, check=False)
    assert b"No module named 'numpy'" in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["models"], ["models", "--json"], ["gate", "zzz"]])
def test_fast_verbs_import_the_standard_library_only(words: list[str], project: Path) -> None:
    """A job that only lists or reports installs nothing."""
    done = alone(*words, cwd=project)
    assert done.stderr.splitlines()[-1] == "FOREIGN"
    assert done.returncode == (2 if words[0] == "gate" else 0)
    if words == ["models"]:
        assert "tumour" in done.stdout


def test_report_imports_the_standard_library_only(project: Path) -> None:
    """It runs from the base commit on a bare runner; without evidence it says so."""
    done = alone("report", cwd=project)
    assert done.stderr.splitlines()[-1] == "FOREIGN"
    assert "This is a bug" not in done.stderr
    assert "Traceback" not in done.stderr


def test_every_verb_leads_to_a_function(project: Path) -> None:
    """The table names nothing that is not there."""
    import importlib

    for name, verb in VERBS.items():
        module, function = verb.target.split(":")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_the_reference_page_has_each_verb_with_its_sentence_and_arguments() -> None:
    """In the order and the groups of the command line."""
    text = REFERENCE.read_text(encoding="utf-8")
    found, group = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            group = line[3:]
        if row := re.fullmatch(r"\| `mlops ([\w-]+)(.*?)` \| (.+) \|", line):
            found.append((group, row[1], row[2], row[3]))
    expected = [(verb.group, name, _arguments(verb), verb.help) for name, verb in VERBS.items()]
    assert found == expected


def _arguments(verb: cli.Verb) -> str:
    text = {"model": " [MODEL]", "models": " [MODELS ...]", "name": " NAME", "nothing": ""}[verb.takes]
    for flag, settings in verb.options:
        value = (
            "" if settings.get("action") == "store_true" else f" {settings.get('metavar') or flag.strip('-').upper()}"
        )
        shown = f"{flag}{value}" if flag.startswith("-") else value.strip()
        text += f" {shown}" if settings.get("required") or not flag.startswith("-") else f" [{shown}]"
    return text


def test_the_reference_page_has_each_exit_code() -> None:
    """With the words of `--help`."""
    rows = re.findall(r"(?m)^\| (\d+) \| (.+) \|$", REFERENCE.read_text(encoding="utf-8"))
    assert {int(code): meaning for code, meaning in rows} == cli.EXIT_CODES
