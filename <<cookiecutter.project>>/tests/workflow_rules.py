"""Which workflows keep the house style? One small function per rule: a repository's workflows in, sentences out.

They hold for the workflows that came with this repository, and for those that are added. `test_workflows.py` asks all
of them, and shows for each one a workflow that it refuses. Standard library and PyYAML only.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

Tree = dict[str, Any]

WORKFLOW_KEYS = ("name", "run-name", "on", "permissions", "concurrency", "env", "jobs")
JOB_KEYS = (
    *("name", "needs", "if", "strategy", "uses", "runs-on", "timeout-minutes", "environment", "permissions"),
    *("outputs", "env", "steps", "with", "secrets"),
)
STEP_KEYS = ("id", "name", "if", "uses", "shell", "run", "with", "env")
ACTION_KEYS = ("name", "description", "inputs", "outputs", "runs")
LINES = 5
LEVELS = {"none": 0, "read": 1, "write": 2}
# What steps may type beside `mlops` and `make`: a person types these too.
PROGRAMS = ("echo", "git", "test", "uv")
REFUSED = ("pull_request_target", "workflow_run")
# The only revisions whose code may run beside a credential that writes.
BASES = (
    "github.event.pull_request.base.sha",
    "github.event.merge_group.base_sha",
    "github.event.repository.default_branch",
)
# Where nothing but the default branch, its schedule or a person starts a workflow, its own commit is such a revision.
TRUSTED = ("push", "repository_dispatch", "schedule", "workflow_dispatch")
OWN = "github.sha"
_PIN = re.compile(r"[\w.-]+(?:/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


@dataclass(frozen=True)
class Workflow:
    """One workflow file, or the `action.yml` of a composite action."""

    name: str
    text: str

    @cached_property
    def tree(self) -> Tree:
        """What YAML makes of it; the key `on`, which YAML 1.1 reads as true, is `on` again."""
        loaded = yaml.safe_load(self.text)
        return {"on" if key is True else key: value for key, value in loaded.items()}

    @property
    def is_action(self) -> bool:
        """Whether this is a composite action."""
        return "runs" in self.tree

    @property
    def is_reusable(self) -> bool:
        """Whether other workflows call this one."""
        return self.name.startswith("reusable-")

    @property
    def triggers(self) -> Tree:
        """What starts it, with its settings."""
        on = self.tree.get("on", {})
        return on if isinstance(on, dict) else dict.fromkeys([on] if isinstance(on, str) else on)

    @property
    def jobs(self) -> dict[str, Tree]:
        """Its jobs by id; none in an action."""
        jobs: dict[str, Tree] = self.tree.get("jobs", {})
        return jobs

    @property
    def steps(self) -> list[Tree]:
        """All steps, in the order of the file."""
        if self.is_action:
            found: list[Tree] = self.tree["runs"]["steps"]
            return found
        return [step for job in self.jobs.values() for step in job.get("steps", [])]


@dataclass(frozen=True)
class Repository:
    """All workflows and actions by name, and what `mlops` and `make` know: verb or target → its options."""

    files: Mapping[str, Workflow]
    verbs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    targets: frozenset[str] = frozenset()

    @property
    def workflows(self) -> list[Workflow]:
        """The workflows, without the actions."""
        return [one for one in self.files.values() if not one.is_action]

    @property
    def callers(self) -> list[Workflow]:
        """The workflows that an event starts."""
        return [one for one in self.workflows if not one.is_reusable]

    def calls(self) -> Iterator[tuple[Workflow, str, Tree, Workflow | None]]:
        """Every job that calls a workflow of this repository: its file, its id, the job and what it calls."""
        for one in self.workflows:
            for job_id, job in one.jobs.items():
                if str(job.get("uses", "")).startswith("./"):
                    yield one, job_id, job, self.files.get(job["uses"].rpartition("/")[2])


def read(root: Path) -> Repository:
    """The workflows and actions of the repository in `root`, and the commands that its help pages list."""
    folder = root / ".github"
    paths = [*sorted((folder / "workflows").glob("*.y*ml")), *sorted(folder.glob("actions/*/action.y*ml"))]
    names = {path: path.name if path.parent.name == "workflows" else path.parent.name for path in paths}
    files = {name: Workflow(name, path.read_text(encoding="utf-8")) for path, name in names.items()}
    typed = {words[1] for one in files.values() for step in one.steps for words in _mlops(step) if len(words) > 1}
    return Repository(files, verbs(root, typed), targets(root))


def verbs(root: Path, asked: Iterable[str]) -> dict[str, frozenset[str]]:
    """The verbs of `asked` that `mlops --help` lists, each with the options that its own help page shows."""
    asked = sorted(asked)
    listed = set(re.findall(r"(?m)^  ([a-z-]+) {2,}\S", _help(root))) if asked else set()
    return {verb: frozenset(re.findall(r"--[a-z-]+", _help(root, verb))) for verb in asked if verb in listed}


def targets(root: Path) -> frozenset[str]:
    """The targets that `make help` lists."""
    said = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=root, capture_output=True, text=True, check=True
    )
    return frozenset(re.findall(r"(?m)^  make ([a-z-]+)", said.stdout))


def _help(root: Path, *verb: str) -> str:
    program = [sys.executable, "-m", "mlops", *verb, "--help"]
    environment = {"PYTHONPATH": str(root / "packages" / "mlops" / "src"), "COLUMNS": "200"}
    return subprocess.run(program, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout


def _mlops(step: Tree) -> Iterator[list[str]]:
    """The commands of a step that start `mlops`, each as its words from `mlops` on."""
    for words in commands(step):
        if words[:1] == ["mlops"]:
            yield words
        elif words[:3] == ["python3", "-m", "mlops"]:
            yield words[2:]


def commands(step: Tree) -> list[list[str]]:
    """The commands of a step as words; the parts of a pipe are one each."""
    lines = str(step.get("run", "")).replace("\\\n", " ").splitlines()
    return [shlex.split(part) for line in lines for part in re.split(r"\s\|\s", line) if part.strip()]


# Rule 1 and 2: who says when, who knows how


def says_why_at_the_top(repository: Repository) -> Iterator[str]:
    """A file opens with the question that it answers and what starts it."""
    for one in repository.files.values():
        if not re.match(r"# \S.{40,}", one.text):
            yield f"{one.name} does not open with a comment that says what it is for."


def callers_only_call(repository: Repository) -> Iterator[str]:
    """A caller has triggers, permissions, concurrency and a matrix; its verdict has steps, and so has what deploys.

    The secrets of an environment do not reach a called workflow, so whoever needs one is no reusable.
    """
    for one in repository.callers:
        for job_id, job in one.jobs.items():
            if "steps" in job and job_id != "verdict" and not ("environment" in job and "secrets." in str(job)):
                yield f"{one.name}: {job_id} has steps. Move them into a reusable workflow and call it."


def reusables_are_only_called(repository: Repository) -> Iterator[str]:
    """A reusable has one job, no trigger of its own, and calls no other reusable."""
    for one in repository.workflows:
        if one.is_reusable != ("workflow_call" in one.triggers):
            yield f"{one.name}: a workflow that is called is named reusable-<verb>.yml, and no other one is."
        elif one.is_reusable and (len(one.triggers), len(one.jobs)) != (1, 1):
            yield f"{one.name}: a reusable has the trigger workflow_call only, and one job."
        elif one.is_reusable and any("uses" in job for job in one.jobs.values()):
            yield f"{one.name}: a reusable calls no other one."


def only_callers_have_concurrency(repository: Repository) -> Iterator[str]:
    """In a called workflow the group would be its caller's, which would then cancel itself."""
    for one in repository.workflows:
        has = "concurrency" in one.tree
        if has == one.is_reusable:
            yield f"{one.name}: concurrency belongs into callers, and every caller says it."
        if any("concurrency" in job for job in one.jobs.values()):
            yield f"{one.name}: concurrency belongs to the whole workflow, not to a job."


def triggers_are_harmless(repository: Repository) -> Iterator[str]:
    """Some triggers hand secrets to strangers' code; schedules on minute 0 start late or never."""
    for one in repository.workflows:
        for trigger in REFUSED:
            if trigger in one.triggers:
                yield f"{one.name} is started by {trigger}, which hands the secrets to a stranger's change."
        for entry in one.triggers.get("schedule") or []:
            if str(entry.get("cron", "")).split()[:1] in (["0"], ["*"]):
                yield f"{one.name}: GitHub is busy on minute 0. Choose another minute."


# Rule 3: one order of keys


def keys_have_one_order(repository: Repository) -> Iterator[str]:
    """Whoever reads one workflow finds things in all others."""
    for one in repository.files.values():
        pairs: list[tuple[str, Tree, tuple[str, ...]]] = [
            (one.name, one.tree, ACTION_KEYS if one.is_action else WORKFLOW_KEYS)
        ]
        pairs += [(f"{one.name}: {job_id}", job, JOB_KEYS) for job_id, job in one.jobs.items()]
        pairs += [(f"{one.name}: step {step.get('name')!r}", step, STEP_KEYS) for step in one.steps]
        for where, tree, order in pairs:
            if unknown := [key for key in tree if key not in order]:
                yield f"{where}: {', '.join(unknown)} is not used here."
            elif list(tree) != (wanted := [key for key in order if key in tree]):
                yield f"{where}: the order of keys is {', '.join(wanted)}."


def everything_has_a_name(repository: Repository) -> Iterator[str]:
    """A run's page shows names."""
    for one in repository.files.values():
        for where, tree in [(one.name, one.tree), *one.jobs.items(), *(("a step", step) for step in one.steps)]:
            if "name" not in tree:
                yield f"{one.name}: {where} has no name."


# Rule 4, 5 and 9: what steps type


def a_step_is_one_short_command(repository: Repository) -> Iterator[str]:
    """A condition, a loop or a list of commands belongs into `mlops`, with a test."""
    for one in repository.files.values():
        for step in one.steps:
            run = str(step.get("run", ""))
            if len(run.splitlines()) > LINES:
                yield f"{one.name}: step {step.get('name')!r} has more than {LINES} lines."
            if re.search(r"&&|\|\||;|(?m:^\s*(?:if|for|while|case|until)\b)|(?<!\\)\n\s*\S", run):
                yield f"{one.name}: step {step.get('name')!r} is more than one command."


def values_travel_through_env(repository: Repository) -> Iterator[str]:
    """An expression in a script is pasted into it before the shell reads it, whatever it holds."""
    for one in repository.files.values():
        for step in one.steps:
            if "${{" in str(step.get("run", "")):
                yield f"{one.name}: step {step.get('name')!r} has an expression in its script. Hand it over in env."
            for match in re.finditer(r"(?<!\")\$\{?\w+[^\"\s]*(?=\s|$)", str(step.get("run", ""))):
                yield f"{one.name}: step {step.get('name')!r} has {match[0]} without quotes."


def versions_are_quoted(repository: Repository) -> Iterator[str]:
    """3.10 without quotes is 3.1."""
    for one in repository.files.values():
        for key, value in _pairs(one.tree):
            values = value if isinstance(value, list) else [value]
            if re.search(r"(?:^|[-_])(?:version|python|node)s?$", key) and any(
                isinstance(v, int | float) for v in values
            ):
                yield f"{one.name}: {key} is a number. Put versions into quotes."


def steps_type_what_people_type(repository: Repository) -> Iterator[str]:
    """What fails in a workflow can be typed on a laptop: every command is in `mlops --help` or `make help`."""
    for one in repository.files.values():
        for step in one.steps:
            for words in commands(step):
                where = f"{one.name}: step {step.get('name')!r}"
                if words[0] == "make":
                    yield from (f"{where}: make has no {w}." for w in words[1:] if w not in repository.targets)
                elif words[0] not in ("mlops", "python3", "tee", *PROGRAMS):
                    yield f"{where} types {words[0]}. Make it a verb of mlops or a target of make."
                elif words[0] == "python3" and words[1:3] != ["-m", "mlops"]:
                    yield f"{where} runs Python code. Make it a verb of mlops."
            for words in _mlops(step):
                options = repository.verbs.get(words[1])
                given = [word for word in words[2 : words.index("--") if "--" in words else None] if word[:2] == "--"]
                if options is None:
                    yield f"{one.name}: mlops has no verb {words[1]}."
                elif unknown := [word for word in given if word.partition("=")[0] not in options]:
                    yield f"{one.name}: mlops {words[1]} does not take {', '.join(unknown)}."


# Rule 6: nothing is granted without a reason


def permissions_are_given_with_a_reason(repository: Repository) -> Iterator[str]:
    """Nothing at the top; in each job what it needs, each with the reason beside it."""
    for one in repository.workflows:
        if one.tree.get("permissions", "") != {}:
            yield f"{one.name}: nothing is permitted at the top (an empty map), so that each job names its own."
        for job_id, job in one.jobs.items():
            if not isinstance(job.get("permissions"), dict):
                yield f"{one.name}: {job_id} does not say its permissions one by one."
        for line in one.text.splitlines():
            if re.match(r"\s+[a-z-]+: (?:read|write)\b(?!\s+# \w)", line):
                yield f"{one.name}: `{line.strip()}` is granted without a reason beside it."


def actions_are_pinned(repository: Repository) -> Iterator[str]:
    """A tag can be moved to other code; a commit cannot."""
    for one in repository.files.values():
        for used in re.findall(r"(?m)^\s*(?:- )?uses: (.*)$", one.text):
            if not used.startswith("./") and not _PIN.fullmatch(used):
                yield f"{one.name}: {used} is not a commit of 40 digits with its version as a comment."


def checkouts_keep_no_credential(repository: Repository) -> Iterator[str]:
    """A token that stays in `.git/config` is read by every later step."""
    for one, step in _uses(repository, "actions/checkout"):
        if step.get("with", {}).get("persist-credentials") is not False:
            yield f"{one.name}: step {step.get('name')!r} lacks `persist-credentials: false`."


def every_job_ends(repository: Repository) -> Iterator[str]:
    """GitHub's own limit is six hours."""
    for one in repository.workflows:
        for job_id, job in one.jobs.items():
            if "steps" in job and "timeout-minutes" not in job:
                yield f"{one.name}: {job_id} has no timeout-minutes."
            if "steps" in job and str(job.get("runs-on", "")).endswith("-latest"):
                yield f"{one.name}: {job_id} runs on {job['runs-on']}, which becomes another system one day."


def nothing_is_inherited_or_swallowed(repository: Repository) -> Iterator[str]:
    """All secrets at once are too many, and a failure that counts as success is no check."""
    for one in repository.files.values():
        for key, value in _pairs(one.tree):
            if key == "secrets" and value == "inherit":
                yield f"{one.name}: secrets are inherited. Hand over the ones that are needed, by name."
            if key == "continue-on-error":
                yield f"{one.name}: continue-on-error turns a failure into a success."


def tokens_stay_in_their_step(repository: Repository) -> Iterator[str]:
    """What stands in the env of a job reaches every program that the job starts."""
    for one in repository.workflows:
        for where, tree in [(one.name, one.tree), *one.jobs.items()]:
            for key, value in (tree.get("env") or {}).items():
                if re.search(r"secrets\.|github\.token|outputs\.token", str(value)):
                    yield f"{one.name}: {key} is in the env of {where}. Give it to the step that needs it."


# How workflows fit together


def callers_grant_what_is_declared(repository: Repository) -> Iterator[str]:
    """A called job that declares more than its caller grants never starts; one that is granted more could use it."""
    for one, job_id, job, called in repository.calls():
        if called is None:
            yield f"{one.name}: {job_id} calls {job['uses']}, which is not there."
            continue
        needed = union(called)
        if needed != (job.get("permissions") or {}):
            told = ", ".join(f"{scope}: {level}" for scope, level in needed.items()) or "nothing"
            yield f"{one.name}: {job_id} must grant what {called.name} declares: {told}."


def union(called: Workflow) -> dict[str, str]:
    """The most that the jobs of a workflow declare, by scope."""
    found: dict[str, str] = {}
    for job in called.jobs.values():
        granted = job.get("permissions")
        for scope, level in granted.items() if isinstance(granted, dict) else ():
            found[scope] = max(found.get(scope, "none"), level, key=LEVELS.__getitem__)
    return found


def calls_fit(repository: Repository) -> Iterator[str]:
    """Inputs and secrets of a call are those that the called workflow takes; its outputs are those that it gives."""
    for one, job_id, job, called in repository.calls():
        takes = (called.triggers.get("workflow_call") or {}) if called else {}
        for kind, given in (("inputs", job.get("with") or {}), ("secrets", job.get("secrets") or {})):
            known = takes.get(kind) or {}
            for name in [key for key in given if key not in known] if given != "inherit" else []:
                yield f"{one.name}: {job_id} hands over {name}, which {job['uses']} does not take."
            for name in [key for key, value in known.items() if value.get("required") and key not in given]:
                yield f"{one.name}: {job_id} does not hand over {name}, which {job['uses']} needs."
        for name in sorted(set(re.findall(rf"needs\.{re.escape(job_id)}\.outputs\.([\w-]+)", one.text))):
            if name not in (takes.get("outputs") or {}):
                yield f"{one.name}: {job_id} has no output {name}."


def the_verdict_needs_every_job(repository: Repository) -> Iterator[str]:
    """The one required check runs always and looks at all: a skipped required check counts as passed on GitHub."""
    for one in repository.callers:
        verdict = one.jobs.get("verdict")
        if verdict is None:
            if "pull_request" in one.triggers:
                yield f"{one.name} is started by pull requests and has no job `verdict` that could be required."
            continue
        if set(verdict.get("needs", [])) != set(one.jobs) - {"verdict"}:
            yield f"{one.name}: the verdict needs {', '.join(sorted(set(one.jobs) - {'verdict'}))}."
        if verdict.get("if") != "always()" or verdict.get("name") != "verdict":
            yield f"{one.name}: the verdict is called `verdict` and runs `if: always()`."
        steps = verdict.get("steps") or [{}]
        if any(
            "checkout@" in step.get("uses", "") and not _is_base(str(step.get("with", {}).get("ref")), one)
            for step in steps
        ):
            yield f"{one.name}: the verdict checks out the base, so that no change judges itself."
        last = steps[-1]
        whole = ("${{ toJSON(needs) }}", "${{ join(needs.*.result, ' ') }}")
        if not set(whole) & set((last.get("env") or {}).values()) or "if" in last:
            yield f"{one.name}: the last step of the verdict gets the results of all jobs ({whole[0]}), always."


def artifacts_carry_the_model(repository: Repository) -> Iterator[str]:
    """Jobs of a matrix that use one name overwrite each other, or fail."""
    for one in repository.workflows:
        for job_id, job in one.jobs.items():
            for step in job.get("steps", []):
                name = str((step.get("with") or {}).get("name", ""))
                uploads = str(step.get("uses", "")).startswith("actions/upload-artifact@")
                if uploads and "strategy" in job and "${{ matrix.model }}" not in name:
                    yield f"{one.name}: {job_id} uploads {name or 'artifact'!r}. Its name must hold the model's."


def who_writes_runs_the_code_of_the_base(repository: Repository) -> Iterator[str]:
    """A pull request's code, and what it left in a cache, never run beside a credential that writes."""
    for one in repository.workflows:
        for job_id, job in one.jobs.items():
            if "steps" not in job or not _writes(job):
                continue
            for step in job["steps"]:
                used, given = str(step.get("uses", "")), step.get("with") or {}
                ref = str(given.get("ref", ""))
                if used.startswith("actions/checkout@") and not (ref == "${{ inputs.base }}" or _is_base(ref, one)):
                    yield f"{one.name}: {job_id} may write, so it checks out the base that its caller names."
                if used.startswith("actions/cache") or (used.endswith("/setup") and given.get("cache") != "false"):
                    yield f"{one.name}: {job_id} may write, so it takes nothing from a cache."
    for one, job_id, job, called in repository.calls():
        base = (job.get("with") or {}).get("base")
        writes = called is not None and any(_writes(inner) for inner in called.jobs.values())
        if writes and base is not None and not _is_base(base, one):
            yield f"{one.name}: {job_id} may write, so its base is one that only GitHub names: {' || '.join(BASES)}."


def _writes(job: Tree) -> bool:
    """Whether a job holds a credential that writes; a proof of identity does not until a role that writes takes it."""
    granted = job.get("permissions") or {}
    if not isinstance(granted, dict):
        return True
    return "STORAGE_WRITER" in str(job) or any(v == "write" for k, v in granted.items() if k != "id-token")


def _is_base(value: str, one: Workflow) -> bool:
    """Whether an expression names a revision that no change can choose; `one` is the caller in which it stands."""
    inner = _EXPRESSION.fullmatch(value)
    known = {*BASES, OWN} if _is_trusted(one) else set(BASES)
    return inner is not None and all(part.strip() in known for part in inner[1].split("||"))


def _is_trusted(one: Workflow) -> bool:
    """Whether a caller is started by nobody's change: a push counts where it names its branches."""
    on = one.triggers
    return bool(on) and set(on) <= set(TRUSTED) and ("push" not in on or bool((on["push"] or {}).get("branches")))


def secrets_are_kept_in_environments(repository: Repository) -> Iterator[str]:
    """An environment decides which branches and people reach a secret, or a role that writes."""
    for one in repository.workflows:
        for job_id, job in one.jobs.items():
            if re.search(r"secrets\.|STORAGE_WRITER", str(job.get("steps", ""))) and "environment" not in job:
                yield f"{one.name}: {job_id} uses a secret or a role that writes, and names no environment."


# How a release is made


def who_builds_proves_nothing(repository: Repository) -> Iterator[str]:
    """Whoever writes images runs what others wrote: packages, a Dockerfile. Who signs them is another job."""
    for one in repository.workflows:
        for job_id, job in one.jobs.items():
            granted = job.get("permissions") or {}
            if isinstance(granted, dict) and granted.get("packages") == "write" and "id-token" in granted:
                yield f"{one.name}: {job_id} writes images and may prove who it is. Sign them in a job of its own."


def who_signs_runs_nothing_of_ours(repository: Repository) -> Iterator[str]:
    """What is signed is decided by the lines of the workflow alone: a signing job checks out nothing, types nothing."""
    for one in repository.workflows:
        for job_id, job in one.jobs.items():
            granted = job.get("permissions") or {}
            if not (isinstance(granted, dict) and granted.get("attestations") == "write"):
                continue
            for step in job.get("steps", []):
                used = str(step.get("uses", ""))
                if "run" in step or used.startswith(("actions/checkout@", "./")):
                    yield f"{one.name}: {job_id} signs, so its step {step.get('name')!r} belongs into another job."


def who_ships_takes_nothing_from_a_cache(repository: Repository) -> Iterator[str]:
    """A cache can be written by a pull request: what builds, signs or deploys takes nothing from one."""
    for one in repository.workflows:
        for job_id, job in one.jobs.items():
            if not _ships(job):
                continue
            for step in job.get("steps", []):
                used, given = str(step.get("uses", "")), step.get("with") or {}
                kept = used.startswith(("actions/cache", "github/codeql-action"))
                kept |= used.endswith("/setup") and given.get("cache") != "false"
                kept |= used.startswith("astral-sh/setup-uv@") and given.get("enable-cache") != "false"
                kept |= re.match(r"actions/setup-(?!uv)\w+@", used) is not None and "cache" in given
                kept |= "type=gha" in str(given)
                if kept:
                    yield f"{one.name}: {job_id} ships, so its step {step.get('name')!r} takes nothing from a cache."


def an_image_is_verified_before_it_is_deployed(repository: Repository) -> Iterator[str]:
    """`mlops verify` refuses what was not packaged and attested here; no condition stands before it."""
    for one in repository.workflows:
        for job_id, job in one.jobs.items():
            verified = False
            for step in job.get("steps", []):
                for words in _mlops(step):
                    verified |= words[1:2] == ["verify"] and "--digest" in words and "if" not in step
                    if words[1:2] == ["deploy"] and not verified:
                        yield f"{one.name}: {job_id} deploys an image that it did not verify: `mlops verify --digest`."


def a_release_is_never_cancelled(repository: Repository) -> Iterator[str]:
    """A deployment that is cut off has to be undone by the next one; and models do not wait for each other."""
    for one in repository.callers:
        if not any(_deploys(job) for job in one.jobs.values()):
            continue
        setting = one.tree.get("concurrency")
        group = str(setting.get("group", "")) if isinstance(setting, dict) else str(setting)
        if isinstance(setting, dict) and setting.get("cancel-in-progress") is not False:
            yield f"{one.name}: it deploys, so `cancel-in-progress: false` is said."
        if "inputs.model" not in group and "matrix.model" not in group:
            yield f"{one.name}: it deploys, so its concurrency group holds the model's name."


def _deploys(job: Tree) -> bool:
    return any(words[1:2] in (["deploy"], ["rollback"]) for step in job.get("steps", []) for words in _mlops(step))


def _ships(job: Tree) -> bool:
    """Whether a job builds, signs or deploys what serves."""
    granted = job.get("permissions") or {}
    wrote = isinstance(granted, dict) and "write" in (granted.get("packages"), granted.get("attestations"))
    typed = {words[1] for step in job.get("steps", []) for words in _mlops(step) if len(words) > 1}
    return wrote or not typed.isdisjoint({"admit", "package", "deploy", "rollback"})


def _uses(repository: Repository, action: str) -> Iterator[tuple[Workflow, Tree]]:
    for one in repository.files.values():
        for step in one.steps:
            if str(step.get("uses", "")).startswith(f"{action}@"):
                yield one, step


def _pairs(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every key and its value, however deep."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield str(key), value
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _pairs(inner)


RULES: tuple[Callable[[Repository], Iterator[str]], ...] = (
    says_why_at_the_top,
    callers_only_call,
    reusables_are_only_called,
    only_callers_have_concurrency,
    triggers_are_harmless,
    keys_have_one_order,
    everything_has_a_name,
    a_step_is_one_short_command,
    values_travel_through_env,
    versions_are_quoted,
    steps_type_what_people_type,
    permissions_are_given_with_a_reason,
    actions_are_pinned,
    checkouts_keep_no_credential,
    every_job_ends,
    nothing_is_inherited_or_swallowed,
    tokens_stay_in_their_step,
    callers_grant_what_is_declared,
    calls_fit,
    the_verdict_needs_every_job,
    artifacts_carry_the_model,
    who_writes_runs_the_code_of_the_base,
    secrets_are_kept_in_environments,
    who_builds_proves_nothing,
    who_signs_runs_nothing_of_ours,
    who_ships_takes_nothing_from_a_cache,
    an_image_is_verified_before_it_is_deployed,
    a_release_is_never_cancelled,
)


def findings(repository: Repository) -> dict[str, list[str]]:
    """What each rule has to say, by the rule's name; rules that are kept are left out."""
    found = {rule.__name__: list(rule(repository)) for rule in RULES}
    return {name: sentences for name, sentences in found.items() if sentences}
