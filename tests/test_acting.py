"""The harness is itself refused and broken on purpose: a double that lets everything through would prove nothing."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import acting, actions
from tests.acting import Runner, StartupFailure, dispatch, hub, merge_group, pull_request
from tests.github import ADMINISTRATOR, LONGEST_COMMENT, App, GitHub
from tests.rendering import ROOT, command

NAME = "acme/thing"
CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
UPLOAD = "actions/upload-artifact@b7c566a772e6b6bfb58ed0dc250532a479d7789f"
DOWNLOAD = "actions/download-artifact@37930b1c2abaa49bbe596cd826c3c89aef350131"

CI = f"""
name: CI
on:
  pull_request:
  merge_group:
  workflow_dispatch:
permissions: {{}}
jobs:
  plan:
    name: Plan
    uses: ./.github/workflows/reusable-plan.yml
    permissions:
      contents: read
  train:
    name: Train
    needs: plan
    if: needs.plan.outputs.shards != '[]'
    strategy:
      fail-fast: false
      matrix:
        shard: ${{{{ fromJSON(needs.plan.outputs.shards) }}}}
    uses: ./.github/workflows/reusable-train.yml
    permissions:
      contents: read
    with:
      models: ${{{{ toJSON(matrix.shard) }}}}
  report:
    name: Report
    needs: [plan, train]
    if: ${{{{ !cancelled() && needs.plan.result == 'success' }}}}
    uses: ./.github/workflows/reusable-report.yml
    permissions:
      contents: read
      pull-requests: write
  verdict:
    needs: [plan, train, report]
    if: always()
    runs-on: ubuntu-24.04
    permissions:
      contents: read
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - uses: {DOWNLOAD}
        with:
          pattern: made-*
          path: all
      - run: |
          cat all/*/made.txt >> "$GITHUB_STEP_SUMMARY"
          test "$RESULTS" = "success success success"
        env:
          RESULTS: ${{{{ join(needs.*.result, ' ') }}}}
"""
PLAN = f"""
name: Plan
on:
  workflow_call:
    outputs:
      shards:
        value: ${{{{ jobs.plan.outputs.shards }}}}
      hostile:
        value: ${{{{ jobs.plan.outputs.hostile }}}}
permissions: {{}}
jobs:
  plan:
    runs-on: ubuntu-24.04
    permissions:
      contents: read
    outputs:
      shards: ${{{{ steps.plan.outputs.shards }}}}
      hostile: ${{{{ steps.plan.outputs.hostile }}}}
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
          fetch-depth: 0
      - id: plan
        run: |
          echo "shards=$(cat shards.json)" >> "$GITHUB_OUTPUT"
          printf 'hostile=%s $(touch CANARY) "quoted" %%0A ::error::\\n' "a'b" >> "$GITHUB_OUTPUT"
          echo "planned" >> "$GITHUB_STEP_SUMMARY"
"""
TRAIN = f"""
name: Train
on:
  workflow_call:
    inputs:
      models:
        type: string
        required: true
permissions: {{}}
jobs:
  train:
    name: ${{{{ matrix.model }}}}
    strategy:
      fail-fast: false
      matrix:
        include: ${{{{ fromJSON(inputs.models) }}}}
    runs-on: ${{{{ matrix.runner }}}}
    timeout-minutes: ${{{{ matrix.minutes }}}}
    permissions:
      contents: read
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - run: echo "$MODEL" > made.txt && test "$MODEL" != worse
        env:
          MODEL: ${{{{ matrix.model }}}}
      - uses: {UPLOAD}
        if: always()
        with:
          name: made-${{{{ matrix.model }}}}
          path: made.txt
"""
REPORT = f"""
name: Report
on:
  workflow_call:
permissions: {{}}
jobs:
  report:
    runs-on: ubuntu-24.04
    permissions:
      contents: read
      pull-requests: write
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - run: gh api "repos/$GITHUB_REPOSITORY/issues/1/comments" --field body=measured
        env:
          GH_HOST: ${{{{ env.HOST }}}}
          GH_ENTERPRISE_TOKEN: ${{{{ github.token }}}}
"""
FILES = {
    ".github/workflows/ci.yml": CI,
    ".github/workflows/reusable-plan.yml": PLAN,
    ".github/workflows/reusable-train.yml": TRAIN,
    ".github/workflows/reusable-report.yml": REPORT,
    "models/b/model.toml": '[budget]\nrunner = "gpu-box_1.x"\n',
}


def shards(*models: str) -> str:
    """What a plan of these models says, the second on a runner of its own."""
    runners = ["ubuntu-24.04", "gpu-box_1.x", "ubuntu-24.04"]
    return json.dumps([[{"model": one, "runner": runners[at], "minutes": 5}] for at, one in enumerate(models)])


def make(folder: Path, files: dict[str, str]) -> Path:
    """A local repository with a branch `main` of these files."""
    folder.mkdir()
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main"], cwd=folder, check=True)
    change(folder, files, branch="main")
    return folder


def change(folder: Path, files: dict[str, str], *, branch: str) -> None:
    """Commit files on a branch."""
    subprocess.run(["git", "checkout", "--quiet", "-B", branch], cwd=folder, check=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message", f"On {branch}"], cwd=folder, check=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository whose CI plans two models, with a branch `feature`."""
    made = make(tmp_path / "source", {**FILES, "shards.json": shards("a", "b")})
    change(made, {"new.txt": "new\n"}, branch="feature")
    return made


@pytest.fixture
def github(tmp_path: Path, source: Path) -> Iterator[GitHub]:
    """The loopback GitHub with that repository."""
    with GitHub(tmp_path / "github") as server:
        server.create(NAME, source)
        yield server


def gh(github: GitHub, token: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The real `gh`, as a workflow step would type it."""
    home = str(github.folder / "home")
    settings = {"GH_HOST": github.host, "GH_ENTERPRISE_TOKEN": token, "HOME": home, "NO_COLOR": "1"}
    return command(acting.find("gh") or "gh", *arguments, cwd=github.folder, **settings, **github.environment())


def api(github: GitHub, token: str, path: str, body: object = None) -> "subprocess.CompletedProcess[str]":
    """One question to the REST API, or one order with a body."""
    given = () if body is None else ("--method", "POST", "--input", str(github.folder / "body.json"))
    (github.folder / "body.json").write_text(json.dumps(body))
    return gh(github, token, "api", path, *given)


def git(github: GitHub, token: str | None, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Git with a token (or without one) for the loopback server."""
    helper = f"!f() {{ echo username=x-access-token; echo password={token}; }}; f"
    options = ["-c", "credential.helper=", "-c", f"credential.helper={helper}"] if token else []
    return command("git", *options, *arguments, cwd=cwd, GIT_TERMINAL_PROMPT="0", **github.environment())


# The server.


@pytest.mark.parametrize(
    ("granted", "accepted"),
    [
        ({"pull-requests": "write"}, True),
        ({"issues": "write"}, True),
        ({"pull-requests": "read", "contents": "write"}, False),
        ({}, False),
    ],
)
def test_a_token_writes_comments_only_with_the_permission_to(
    granted: dict[str, str], accepted: bool, github: GitHub
) -> None:
    github.open(NAME, "feature", author="ann", title="New")
    with github.token(NAME, granted) as token:
        done = gh(github, token, "api", f"repos/{NAME}/issues/1/comments", "--field", "body=hello")
    assert (done.returncode == 0) is accepted
    assert len(github.repositories[NAME].on(1)) == int(accepted)
    assert accepted or "Resource not accessible by integration (HTTP 403)" in done.stderr
    assert github.unknown == []


def test_a_token_ends_with_its_job_and_works_in_one_repository(github: GitHub, source: Path) -> None:
    github.create("acme/other", source)
    with github.token("acme/other", ADMINISTRATOR) as other:
        assert "HTTP 404" in gh(github, other, "api", f"repos/{NAME}").stderr
        assert gh(github, other, "api", "repos/acme/other").returncode == 0
    assert "HTTP 401" in gh(github, other, "api", "repos/acme/other").stderr


def test_nobody_reads_without_a_token(github: GitHub) -> None:
    asked = ["curl", "--silent", "--output", "-", "--write-out", "%{http_code}", f"{github.url}/api/v3/repos/{NAME}"]
    assert command(*asked, cwd=github.folder, **github.environment()).stdout.endswith("401")


def test_comments_come_in_pages_and_gh_reads_them_all(github: GitHub) -> None:
    github.open(NAME, "feature", author="ann", title="New")
    for number in range(135):
        github.comment(NAME, 1, f"comment {number}", author="ann")
    with github.token(NAME, {"pull-requests": "read"}) as token:
        first = gh(github, token, "api", f"repos/{NAME}/issues/1/comments", "--jq", ".[].body").stdout.splitlines()
        most = gh(github, token, "api", f"repos/{NAME}/issues/1/comments?per_page=500", "--jq", ".[].body").stdout
        every = gh(github, token, "api", "--paginate", f"repos/{NAME}/issues/1/comments", "--jq", ".[].body").stdout
    assert first == [f"comment {number}" for number in range(30)]
    assert len(most.splitlines()) == 100
    assert every.splitlines() == [f"comment {number}" for number in range(135)]


def test_a_comment_that_is_too_long_is_refused(github: GitHub) -> None:
    github.open(NAME, "feature", author="ann", title="New")
    with github.token(NAME, {"issues": "write"}) as token:
        for length, accepted in ((LONGEST_COMMENT, True), (LONGEST_COMMENT + 1, False)):
            file = github.folder / "body"
            file.write_text("x" * length)
            done = gh(github, token, "api", f"repos/{NAME}/issues/1/comments", "--field", f"body=@{file}")
            assert (done.returncode == 0) is accepted, done.stderr
    assert "Body is too long" in done.stdout


def test_what_the_server_does_not_know_is_kept_and_what_github_does_not_know_is_404(github: GitHub) -> None:
    with github.token(NAME, ADMINISTRATOR) as token:
        assert "HTTP 404" in gh(github, token, "api", "nowhere").stderr
        assert github.unknown == []
        assert "HTTP 501" in gh(github, token, "api", f"repos/{NAME}/topics").stderr
    assert github.unknown == [f"GET /repos/{NAME}/topics"]


def test_a_workflow_is_dispatched_by_those_who_may_on_a_branch_that_has_it(github: GitHub, source: Path) -> None:
    change(source, {".github/workflows/ci.yml": CI.replace("  workflow_dispatch:\n", "")}, branch="without")
    subprocess.run(["git", "push", "--quiet", str(github.repositories[NAME].path), "without"], cwd=source, check=True)
    run = ["workflow", "run", "ci.yml", "--repo", f"{github.host}/{NAME}", "--ref"]
    with github.token(NAME, {"actions": "read"}) as token:
        assert gh(github, token, *run, "feature").returncode == 1
    with github.token(NAME, {"actions": "write"}) as token:
        assert gh(github, token, *run, "absent").returncode == 1
        assert gh(github, token, *run, "without").returncode == 1
        done = gh(github, token, *run, "feature")
    assert done.returncode == 0, done.stderr
    expected = {"workflow": "ci.yml", "ref": "feature", "inputs": {}, "actor": "github-actions[bot]"}
    assert github.repositories[NAME].dispatches == [expected]
    assert github.unknown == []


def test_git_is_refused_by_what_the_token_may(github: GitHub, tmp_path: Path) -> None:
    address = f"{github.url}/{NAME}.git"
    assert git(github, None, "ls-remote", address, cwd=tmp_path).returncode != 0
    with github.token(NAME, {"contents": "read"}) as reading, github.token(NAME, {"contents": "write"}) as writing:
        clone = tmp_path / "clone"
        assert (
            git(github, reading, "clone", "--quiet", "--filter=blob:none", address, str(clone), cwd=tmp_path).stderr
            == ""
        )
        change(clone, {"more.txt": "more"}, branch="more")
        refused = git(github, reading, "push", "origin", "more", cwd=clone)
        assert "403" in refused.stderr
        assert github.pushes == []
        done = git(github, writing, "push", "origin", "more", cwd=clone)
        assert done.returncode == 0, done.stderr
        assert [(push.ref, push.forced) for push in github.pushes] == [("refs/heads/more", False)]
        command("git", "commit", "--quiet", "--amend", "--message", "Other", cwd=clone)
        assert git(github, writing, "push", "--force", "origin", "more", cwd=clone).returncode == 0
        assert github.pushes[-1].forced
        assert "GH013" in git(github, writing, "push", "origin", "more:main", cwd=clone).stderr
        change(clone, {".github/workflows/ci.yml": "name: mine\n"}, branch="workflows")
        assert "`workflows` permission" in git(github, writing, "push", "origin", "workflows", cwd=clone).stderr
    assert git(github, writing, "push", "origin", "more:again", cwd=clone).returncode != 0
    assert len(github.pushes) == 2


def test_two_pushes_at_once_do_not_overwrite_each_other(github: GitHub, tmp_path: Path) -> None:
    """One of two clones that start from the same commit is told to fetch first."""
    with github.token(NAME, {"contents": "write"}) as token:
        clones = []
        for number in range(2):
            clone = tmp_path / f"clone{number}"
            git(
                github,
                token,
                "clone",
                "--quiet",
                "--branch",
                "feature",
                f"{github.url}/{NAME}",
                str(clone),
                cwd=tmp_path,
            )
            change(clone, {f"{number}.txt": "x"}, branch="feature")
            clones.append(clone)
        codes = []

        def push(clone: Path) -> None:
            codes.append(git(github, token, "push", "origin", "feature", cwd=clone).returncode)

        threads = [threading.Thread(target=push, args=(clone,)) for clone in clones]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(codes) == [0, 1]
    assert len(github.pushes) == 1


def test_a_push_that_someone_else_was_faster_than_is_told_to_fetch_first(github: GitHub, tmp_path: Path) -> None:
    """`faster` moves the branch between what the client saw and what it sends, once."""
    bare = github.repositories[NAME]
    github.faster["refs/heads/feature"] = lambda: bare.git(
        "update-ref", "refs/heads/feature", bare.git("rev-parse", "main")
    )
    with github.token(NAME, {"contents": "write"}) as token:
        clone = tmp_path / "clone"
        git(github, token, "clone", "--quiet", "--branch", "feature", f"{github.url}/{NAME}", str(clone), cwd=tmp_path)
        change(clone, {"mine.txt": "mine"}, branch="feature")
        assert git(github, token, "push", "origin", "feature", cwd=clone).returncode == 1
        assert github.pushes == []
        assert git(github, token, "push", "--force", "origin", "feature", cwd=clone).returncode == 0
    assert github.faster == {}


def test_a_ruleset_is_made_by_administrators(github: GitHub, tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(json.dumps({"name": "main", "enforcement": "active", "rules": []}))
    ask = ["api", f"repos/{NAME}/rulesets", "--input", str(tmp_path / "rules.json")]
    with github.token(NAME, {"contents": "write"}) as token:
        assert gh(github, token, *ask).returncode == 1
    with github.token(NAME, ADMINISTRATOR) as token:
        assert gh(github, token, *ask).returncode == 0
        assert gh(github, token, *ask).returncode == 1
        assert gh(github, token, "api", f"repos/{NAME}/rulesets", "--jq", ".[].name").stdout == "main\n"


# The doubles.


def double(
    name: str, module: str, folder: Path, given: dict[str, str], **settings: str
) -> tuple[int, str, dict[str, str]]:
    """Run one double with its defaults: exit code, what it said, its outputs."""
    inputs = {key: "" if value is None or "${{" in value else value for key, value in actions.ACTIONS[name][1].items()}
    for file in ("output", "env", "path"):
        (folder / file).write_text("")
    environment = {
        "ACTING_ACTION": name,
        "ACTING_INPUTS": json.dumps({**inputs, **given}),
        "ACTING_WORKSPACE": str(folder / "workspace"),
        "ACTING_ARTIFACTS": str(folder / "artifacts"),
        "ACTING_CACHE": str(folder / "cache"),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_ENV": str(folder / "env"),
        "GITHUB_PATH": str(folder / "path"),
        "GITHUB_RUN_ID": "7",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_REPOSITORY": NAME,
        "GITHUB_SERVER_URL": "https://localhost",
        "RUNNER_TEMP": str(folder),
        **settings,
    }
    (folder / "workspace").mkdir(exist_ok=True)
    done = command(sys.executable, "-I", str(actions.HERE / "main.py"), module, cwd=folder, **environment)
    lines = (folder / "output").read_text().split("\nacting_end\n")
    return done.returncode, done.stdout + done.stderr, dict(line.split("<<acting_end\n") for line in lines if line)


def upload(folder: Path, **given: str) -> tuple[int, str, dict[str, str]]:
    return double("actions/upload-artifact", "upload", folder, given)


def download(folder: Path, **given: str) -> tuple[int, str, dict[str, str]]:
    return double("actions/download-artifact", "download", folder, {"run-id": "7", **given})


def test_artifacts_come_back_without_hidden_files_and_links(tmp_path: Path) -> None:
    work = tmp_path / "workspace"
    (work / "out" / "deep").mkdir(parents=True)
    (work / "out" / ".hidden").write_text("no")
    (work / "out" / "deep" / "file.txt").write_text("yes")
    (work / "out" / "link.txt").symlink_to("deep/file.txt")
    code, said, outputs = upload(tmp_path, name="one", path="out")
    assert code == 0, said
    assert outputs["artifact-id"].isdigit()
    assert download(tmp_path, name="one", path="back")[0] == 0
    found = sorted(str(path.relative_to(work / "back")) for path in (work / "back").rglob("*") if path.is_file())
    assert found == ["deep/file.txt", "link.txt"]
    assert not (work / "back" / "link.txt").is_symlink()


def test_several_artifacts_get_a_folder_each_unless_they_are_merged(tmp_path: Path) -> None:
    work = tmp_path / "workspace"
    work.mkdir()
    for name in ("evaluation-a", "evaluation-b", "other"):
        (work / f"{name}.json").write_text(name)
        assert upload(tmp_path, name=name, path=f"{name}.json")[0] == 0
    assert download(tmp_path, pattern="evaluation-*", path="each")[0] == 0
    assert sorted(path.name for path in (work / "each").iterdir()) == ["evaluation-a", "evaluation-b"]
    merged = {"pattern": "evaluation-*", "path": "merged", "merge-multiple": "true"}
    assert download(tmp_path, **merged)[0] == 0
    assert sorted(path.name for path in (work / "merged").iterdir()) == ["evaluation-a.json", "evaluation-b.json"]


def test_files_of_several_paths_keep_the_folders_below_their_common_one(tmp_path: Path) -> None:
    """`reports/a/evidence.json` and `reports/report.html` become `a/evidence.json` and `report.html`."""
    work = tmp_path / "workspace"
    (work / "reports" / "a").mkdir(parents=True)
    (work / "reports" / "a" / "evidence.json").write_text("{}")
    (work / "reports" / "report.html").write_text("<p>")
    assert upload(tmp_path, name="two", path="reports/a/evidence.json\nreports/report.html\n")[0] == 0
    assert download(tmp_path, name="two", path="back")[0] == 0
    found = sorted(str(path.relative_to(work / "back")) for path in (work / "back").rglob("*") if path.is_file())
    assert found == ["a/evidence.json", "report.html"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "a/b", "path": "x"}, "artifact name is not valid"),
        ({"name": "a:b", "path": "x"}, "artifact name is not valid"),
        ({"name": "a", "path": ""}, "path"),
        ({"name": "a", "path": "absent", "if-no-files-found": "error"}, "No files were found"),
        ({"name": "a", "path": "x", "if-no-files-found": "maybe"}, "Unrecognized"),
        ({"name": "a", "path": "x", "overwrite": "perhaps"}, "YAML 1.2"),
    ],
)
def test_uploads_that_the_real_action_refuses_are_refused(given: dict[str, str], said: str, tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "x").write_text("x")
    code, output, _ = upload(tmp_path, **given)
    assert (code, said in output) == (1, True), output


def test_a_name_is_uploaded_once_in_a_run(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "x").write_text("x")
    assert upload(tmp_path, name="a", path="x")[0] == 0
    code, said, _ = upload(tmp_path, name="a", path="x")
    assert (code, "(409) Conflict" in said) == (1, True)
    assert upload(tmp_path, name="a", path="x", overwrite="true")[0] == 0


def test_an_artifact_that_is_not_there_fails_by_name_and_not_by_pattern(tmp_path: Path) -> None:
    assert "Artifact not found for name: none" in download(tmp_path, name="none")[1]
    assert download(tmp_path, pattern="none-*")[0] == 0


def test_a_cache_is_written_once_and_found_by_prefix(tmp_path: Path) -> None:
    work = tmp_path / "workspace"
    (work / "kept").mkdir(parents=True)
    (work / "kept" / "file").write_text("1")
    assert double("actions/cache/save", "save", tmp_path, {"key": "a-1", "path": "kept"})[0] == 0
    assert "Unable to reserve" in double("actions/cache/save", "save", tmp_path, {"key": "a-1", "path": "kept"})[1]
    shutil.rmtree(work / "kept")
    given = {"key": "a-2", "restore-keys": "a-", "path": "kept"}
    code, _, outputs = double("actions/cache/restore", "restore", tmp_path, given)
    assert (code, outputs["cache-hit"], outputs["cache-matched-key"]) == (0, "false", "a-1")
    assert (work / "kept" / "file").read_text() == "1"
    strict = {"key": "b", "path": "kept", "fail-on-cache-miss": "true"}
    assert double("actions/cache/restore", "restore", tmp_path, strict)[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target=pr/1", "--watermark-title=mine"],
        ["--publish=false", "--watermark-title=mine"],
        ["--target=pr", "--publish=false", "--watermark-title=mine"],
        ["--target=commit/abc", "--publish=false", "--watermark-title=mine"],
        ["--target=pr/1", "--publish=false", "--watermark-title=my_title"],
        ["--target=pr/1", "--publish=false", "--pr"],
        ["--target=pr/1", "--publish=false", "--watermark-title=mine", "--sticky"],
    ],
)
def test_cml_is_never_typed_in_a_way_that_goes_wrong_silently(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("# Report")
    program = [sys.executable, "-I", str(actions.HERE / "cml.py"), "comment", "update", "report.md"]
    settings = {"GITHUB_TOKEN": "x", "ITERATIVE_DO_NOT_TRACK": "1"}
    assert command(*program, *arguments, cwd=tmp_path, **settings).returncode in (1, 2)


def test_cml_sees_the_first_thirty_comments_only(github: GitHub, tmp_path: Path) -> None:
    github.open(NAME, "feature", author="ann", title="New")
    (tmp_path / "report.md").write_text("# Report")
    (tmp_path / "event.json").write_text("{}")
    program = [sys.executable, "-I", str(actions.HERE / "cml.py"), "comment", "update", "report.md", "--target=pr/1"]
    program += ["--publish=false", "--watermark-title=mine", f"--repo={github.url}/{NAME}"]
    settings = {
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_SHA": "a" * 40,
        "ITERATIVE_DO_NOT_TRACK": "1",
    }
    with github.token(NAME, {"pull-requests": "write"}) as token:
        for before, expected in ((29, 1), (0, 1), (1, 2)):
            for number in range(before):
                github.comment(NAME, 1, f"talk {number}", author="ann")
            done = command(*program, cwd=tmp_path, GITHUB_TOKEN=token, **settings, **github.environment())
            assert done.returncode == 0, done.stderr
            reports = [
                comment for comment in github.repositories[NAME].on(1) if "CML watermark mine" in comment["body"]
            ]
            assert len(reports) == 1
            if expected == 2:
                github.repositories[NAME].comments.remove(reports[0])
                github.comment(NAME, 1, "talk", author="ann")
                github.repositories[NAME].comments.append(reports[0])
                command(*program, cwd=tmp_path, GITHUB_TOKEN=token, **settings, **github.environment())
        every = [comment for comment in github.repositories[NAME].on(1) if "CML watermark mine" in comment["body"]]
    assert len(every) == 2
    with github.token(NAME, {"pull-requests": "read"}) as token:
        done = command(*program, cwd=tmp_path, GITHUB_TOKEN=token, **settings, **github.environment())
    assert (done.returncode, "Resource not accessible" in done.stderr) == (1, True)


def test_cml_is_a_release_that_every_token_can_read(github: GitHub, tmp_path: Path) -> None:
    ask = ["release", "download", "v0.20.6", "--repo", "iterative/cml", "--pattern", "cml-linux-x64", "--output"]
    with Runner(github, NAME), github.token(NAME, {}) as token:
        done = gh(github, token, *ask, str(tmp_path / "cml"))
        assert done.returncode == 0, done.stderr
        assert gh(github, token, *ask[:2], "v0.20.5", *ask[3:], str(tmp_path / "other")).returncode == 1
    (tmp_path / "cml").chmod(0o755)
    assert "usage" in command(str(tmp_path / "cml"), "--help", cwd=tmp_path).stdout
    assert github.unknown == []


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (
            "aws-actions/configure-aws-credentials",
            {"role-to-assume": "arn:aws:iam::1:role/r", "aws-region": "eu-west-1"},
        ),
        ("google-github-actions/auth", {"workload_identity_provider": "projects/1"}),
        ("azure/login", {"client-id": "1", "tenant-id": "2", "subscription-id": "3"}),
    ],
)
def test_logins_need_the_identity_of_the_job(name: str, given: dict[str, str], tmp_path: Path) -> None:
    assert "id-token: write" in double(name, "login", tmp_path, given)[1]
    identity = {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://localhost", "ACTING_LOGIN_KEY": "value"}
    assert double(name, "login", tmp_path, given, **identity)[0] == 0
    assert "KEY<<acting_end\nvalue\n" in (tmp_path / "env").read_text()
    for missing in given:
        assert double(name, "login", tmp_path, {**given, missing: ""}, **identity)[0] == 1


def test_an_app_token_has_no_more_than_the_app(github: GitHub, tmp_path: Path) -> None:
    github.apps["key"] = App("robot", "Iv1", NAME, {"contents": "write"})
    name = "actions/create-github-app-token"
    given = {"client-id": "Iv1", "private-key": "key", "github-api-url": f"{github.url}/api/v3"}
    trust = github.environment()
    code, said, outputs = double(name, "app_token", tmp_path, {**given, "permission-contents": "write"}, **trust)
    assert code == 0, said
    assert github.tokens[outputs["token"]].actor == "robot[bot]"
    for more in ({"permission-issues": "write"}, {"private-key": "other"}, {"client-id": "other"}, {"private-key": ""}):
        assert double(name, "app_token", tmp_path, {**given, **more}, **trust)[0] == 1


# What a release needs.

DIGEST = "sha256:" + "a" * 64
IMAGE = f"registry.test/acme/a@{DIGEST}"


def test_a_registry_is_signed_in_to_with_the_rights_of_the_token(github: GitHub, tmp_path: Path) -> None:
    """For the job alone: each job of GitHub has a machine of its own."""
    settings = {**github.environment(), "GITHUB_SERVER_URL": github.url, "ACTING_PROCESS": str(tmp_path)}
    given = {"registry": "registry.test", "username": "ann"}
    name = "docker/login-action"
    with github.token(NAME, {"packages": "read"}) as token:
        code, said, _ = double(name, "registry", tmp_path, {**given, "password": token}, **settings)
        assert code == 0, said
        assert (tmp_path / "docker" / "level").read_text() == "read"
        assert "DOCKER_CONFIG" in (tmp_path / "env").read_text()
        assert token not in said
    assert double(name, "registry", tmp_path, {**given, "password": token}, **settings)[0] == 1
    with github.token(NAME, {"contents": "write"}) as token:
        assert "packages" in double(name, "registry", tmp_path, {**given, "password": token}, **settings)[1]
    assert double(name, "registry", tmp_path, {**given, "password": ""}, **settings)[0] == 1
    assert double(name, "registry", tmp_path, {**given, "password": "own"}, **settings)[0] == 0


def test_an_image_is_listed_and_scanned(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    given = {"image": IMAGE, "output-file": "sbom.json", "upload-artifact": "false", "upload-release-assets": "false"}
    assert double("anchore/sbom-action", "sbom", tmp_path, given)[0] == 0
    for wrong in ({"image": "registry.test/a:latest"}, {"upload-artifact": "true"}, {"output-file": ""}):
        assert double("anchore/sbom-action", "sbom", tmp_path, {**given, **wrong})[0] == 1
    scan = {"sbom": "sbom.json", "severity-cutoff": "high"}
    for severity, more, code in (
        ("", {}, 0),
        ("medium", {}, 0),
        ("high", {}, 1),
        ("critical", {}, 1),
        ("critical", {"fail-build": "false"}, 0),
        ("", {"image": IMAGE}, 1),
        ("", {"severity-cutoff": "grave"}, 1),
    ):
        found = double("anchore/scan-action", "scan", tmp_path, {**scan, **more}, ACTING_VULNERABILITY=severity)
        assert found[0] == code, (severity, more, found[1])


def test_what_is_attested_verifies_and_nothing_else_does(github: GitHub, tmp_path: Path) -> None:
    """By signer, branch, commit and name; with a login for the registry, and with the permission to read."""
    commit = github.repositories[NAME].git("rev-parse", "refs/heads/main")
    signer = ".github/workflows/attest.yml"
    settings = {
        **github.environment(),
        "GITHUB_SERVER_URL": github.url,
        "GITHUB_API_URL": f"{github.url}/api/v3",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_SHA": commit,
        "ACTING_SIGNER": signer,
    }
    subject = {"subject-name": IMAGE.partition("@")[0], "subject-digest": DIGEST}
    identity = {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://localhost"}
    config = tmp_path / "docker"
    config.mkdir()
    gh = [sys.executable, "-I", str(actions.HERE / "gh.py"), "attestation", "verify"]
    wanted = {"--signer-workflow": f"{NAME}/{signer}", "--source-ref": "refs/heads/main", "--source-digest": commit}

    def verified(image: str = IMAGE, *, token: str, **other: str) -> subprocess.CompletedProcess[str]:
        asked = {"--repo": NAME, **wanted, **{f"--{key.replace('_', '-')}": value for key, value in other.items()}}
        words = [f"oci://{image}", *(word for pair in asked.items() for word in pair), "--deny-self-hosted-runners"]
        environment = {"GH_HOST": github.host, "GH_ENTERPRISE_TOKEN": token, "DOCKER_CONFIG": str(config)}
        return command(*gh, *words, cwd=tmp_path, **github.environment(), **environment)

    with github.token(NAME, {"attestations": "write"}) as token:
        given = {**subject, "github-token": token}
        assert "id-token" in double("actions/attest", "attest", tmp_path, given, **settings)[1]
        assert "UNAUTHORIZED" in verified(token=token).stderr
        (config / "config.json").write_text('{"auths": {"registry.test": {"auth": ""}}}')
        assert "no attestations found" in verified(token=token).stderr
        code, said, _ = double("actions/attest", "attest", tmp_path, given, **settings, **identity)
        assert code == 0, said
        assert verified(token=token).returncode == 0
        for other in (
            {"signer_workflow": f"{NAME}/.github/workflows/other.yml"},
            {"source_ref": "refs/heads/mine"},
            {"source_digest": "b" * 40},
        ):
            assert verified(token=token, **other).returncode == 1
        assert verified(IMAGE.replace("acme/a@", "acme/b@"), token=token).returncode == 1
        assert verified(IMAGE.replace("a" * 64, "b" * 64), token=token).returncode == 1
    with github.token(NAME, {"contents": "read"}) as token:
        assert "403" in verified(token=token).stderr
        less = double("actions/attest", "attest", tmp_path, {**subject, "github-token": token}, **settings, **identity)
        assert (less[0], "Resource not accessible" in less[1]) == (1, True)


def test_deployments_releases_and_issues_are_kept_by_those_who_may(github: GitHub) -> None:
    """As `gh` asks for them; a deployment that would end those of other models is refused."""
    place = f"repos/{NAME}"
    commit = github.repositories[NAME].git("rev-parse", "refs/heads/main")
    asked = {"ref": commit, "environment": "staging", "task": "deploy:a", "auto_merge": False, "required_contexts": []}
    issue = {"title": "It is worse", "body": "Why.", "labels": ["held"]}
    release = {"tag_name": "a-1", "target_commitish": commit, "name": "a 1", "body": "x"}
    orders = {"deployments": asked, "issues": issue, "releases": release}
    with github.token(NAME, {"metadata": "read"}) as token:
        for path, body in orders.items():
            assert "HTTP 403" in api(github, token, f"{place}/{path}", body).stderr
    with github.token(NAME, {"deployments": "write", "issues": "write", "contents": "write"}) as token:
        made = {path: json.loads(api(github, token, f"{place}/{path}", body).stdout) for path, body in orders.items()}
        statuses = f"{place}/deployments/{made['deployments']['id']}/statuses"
        assert "HTTP 422" in api(github, token, statuses, {"state": "success"}).stderr
        assert api(github, token, statuses, {"state": "success", "auto_inactive": False}).returncode == 0
        assert "HTTP 422" in api(github, token, f"{place}/releases", release).stderr
        assert json.loads(api(github, token, f"{place}/releases/tags/a-1").stdout)["name"] == "a 1"
        assert "HTTP 404" in api(github, token, f"{place}/releases/tags/a-2").stderr
        assert len(json.loads(api(github, token, f"{place}/issues?labels=held").stdout)) == 1
        assert json.loads(api(github, token, f"{place}/issues?labels=other").stdout) == []
        comments = f"{place}/issues/{made['issues']['number']}/comments"
        assert api(github, token, comments, {"body": "Again."}).returncode == 0
    assert github.repositories[NAME].serves("staging", "deploy:a") == {}
    assert github.repositories[NAME].serves("staging", "deploy:b") is None
    assert github.repositories[NAME].git("rev-parse", "refs/tags/a-1") == commit
    assert github.unknown == []


def test_a_checkout_brings_what_was_asked_for_and_keeps_no_token(github: GitHub, tmp_path: Path) -> None:
    change(tmp_path / "source", {"keep/a.txt": "a", "leave/b.txt": "b"}, branch="wide")
    bare = github.repositories[NAME].path
    subprocess.run(["git", "push", "--quiet", str(bare), "wide"], cwd=tmp_path / "source", check=True)
    work = tmp_path / "workspace"
    with github.token(NAME, {"contents": "read"}) as token:
        common = {"token": token, "repository": NAME, "persist-credentials": "false"}
        settings = {
            "GITHUB_SERVER_URL": github.url,
            "GITHUB_REF": "refs/heads/wide",
            "GITHUB_SHA": github.repositories[NAME].git("rev-parse", "wide"),
            **github.environment(),
        }
        name = "actions/checkout"
        code, said, outputs = double(name, "checkout", tmp_path, {**common, "sparse-checkout": "keep\n"}, **settings)
        assert code == 0, said
        assert outputs["commit"] == settings["GITHUB_SHA"]
        assert (work / "keep" / "a.txt").is_file()
        assert not (work / "leave").exists()
        assert token not in (work / ".git" / "config").read_text()
        assert command("git", "rev-parse", "--is-shallow-repository", cwd=work).stdout == "true\n"

        assert double(name, "checkout", tmp_path, {**common, "fetch-depth": "0", "ref": "main"}, **settings)[0] == 0
        assert command("git", "branch", "--show-current", cwd=work).stdout == "main\n"
        assert command("git", "rev-parse", "origin/feature", cwd=work).returncode == 0
        for given in ({"ref": "absent"}, {"token": "wrong"}, {"path": "../.."}, {"submodules": "true"}):
            assert double(name, "checkout", tmp_path, {**common, **given}, **settings)[0] == 1
        persisted = {**common, "persist-credentials": "true"}
        assert double(name, "checkout", tmp_path, persisted, **settings)[0] == 0
        assert "extraheader" in (work / ".git" / "config").read_text()


# Running.


@pytest.fixture
def runner(github: GitHub) -> Iterator[Runner]:
    """What runs that repository's workflows."""
    with Runner(github, NAME, extra={"HOST": github.host}) as made:
        yield made


def again(github: GitHub, source: Path, files: dict[str, str]) -> acting.Event:
    """A pull request with these changes (of the workflows, too)."""
    change(source, files, branch="again")
    subprocess.run(["git", "push", "--quiet", str(github.repositories[NAME].path), "again"], cwd=source, check=True)
    return pull_request(github, NAME, github.open(NAME, "again", author="ann", title="Again"))


def test_jobs_hand_outputs_artifacts_and_summaries_on(github: GitHub, runner: Runner) -> None:
    """One process per job: a nested matrix with a runner of its own, and a comment by the real gh."""
    event = pull_request(github, NAME, github.open(NAME, "feature", author="ann", title="New"))
    run = runner.run(event)
    assert set(run.results.values()) == {"success"}, run.describe()
    assert run["plan"].summary == "planned\n"
    assert json.loads(run["plan"].outputs["shards"]) == json.loads(shards("a", "b"))
    assert run["plan"].outputs["hostile"] == 'a\'b $(touch CANARY) "quoted" %0A ::error::'
    assert sorted(leaf.matrix["model"] for leaf in run["train"].leaves) == ["a", "b"]
    assert run["verdict"].summary == "a\nb\n"
    assert [comment["body"] for comment in github.repositories[NAME].on(1)] == ["measured"]
    checks = {check["name"]: check["conclusion"] for check in github.repositories[NAME].checks}
    assert checks == {"Plan": "success", "Train": "success", "Report": "success", "verdict": "success"}
    assert {check["head_sha"] for check in github.repositories[NAME].checks} == {event.head}
    assert not github.tokens
    assert github.unknown == []


def test_the_file_as_it_is_runs_in_one_process(github: GitHub, runner: Runner) -> None:
    run = runner.run(pull_request(github, NAME, github.open(NAME, "feature", author="ann", title="New")), whole=True)
    assert run.results == dict.fromkeys(("plan", "train", "report", "verdict"), "success"), run.describe()
    assert len(run["train"].leaves) == 2


def test_a_failing_job_is_red_and_what_always_runs_runs(github: GitHub, runner: Runner, source: Path) -> None:
    event = again(github, source, {"shards.json": shards("worse", "b")})
    run = runner.run(event)
    assert run.results == {"plan": "success", "train": "failure", "report": "success", "verdict": "failure"}
    assert {leaf.matrix["model"]: leaf.result for leaf in run["train"].leaves} == {"worse": "failure", "b": "success"}


def test_a_job_whose_condition_is_false_is_skipped(github: GitHub, runner: Runner, source: Path) -> None:
    run = runner.run(again(github, source, {"shards.json": "[]"}))
    assert run.results["train"] == "skipped"
    assert run.results["verdict"] == "failure"


def test_an_empty_matrix_is_an_error_as_on_github(github: GitHub, runner: Runner, source: Path) -> None:
    open_matrix = CI.replace("    if: needs.plan.outputs.shards != '[]'\n", "")
    event = again(github, source, {"shards.json": "[]", ".github/workflows/ci.yml": open_matrix})
    with pytest.raises(StartupFailure, match="matrix is empty"):
        runner.run(event)


def test_a_fork_may_not_write(github: GitHub, runner: Runner, source: Path) -> None:
    github.fork("stranger/thing", NAME)
    event = pull_request(
        github, NAME, github.open(NAME, "feature", author="stranger", title="Theirs", fork="stranger/thing")
    )
    run = runner.run(event)
    assert run.results["report"] == "failure"
    assert "Resource not accessible by integration" in run["report"].log
    assert github.repositories[NAME].comments == []


def test_dependabot_may_not_write(github: GitHub, runner: Runner) -> None:
    event = pull_request(github, NAME, github.open(NAME, "feature", author="dependabot[bot]", title="Bump"))
    assert runner.run(event).results["report"] == "failure"


def test_a_permission_that_is_dropped_turns_the_run_red(github: GitHub, runner: Runner, source: Path) -> None:
    less = {
        ".github/workflows/ci.yml": CI.replace("      pull-requests: write\n", ""),
        ".github/workflows/reusable-report.yml": REPORT.replace("      pull-requests: write\n", ""),
    }
    run = runner.run(again(github, source, less))
    assert "Resource not accessible by integration" in run["report"].log
    assert run.results["verdict"] == "failure"


def test_a_callee_may_not_ask_for_more_than_its_caller_grants(github: GitHub, runner: Runner, source: Path) -> None:
    event = again(github, source, {".github/workflows/ci.yml": CI.replace("      pull-requests: write\n", "")})
    with pytest.raises(StartupFailure, match="requesting 'pull-requests: write'"):
        runner.run(event)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pattern: made-*", "patern: made-*", "no input 'patern'"),
        (DOWNLOAD, "actions/download-artifact@v7", "not pinned"),
        (DOWNLOAD, f"someone/else@{'a' * 40}", "no double"),
    ],
)
def test_actions_are_used_as_they_are(
    old: str, new: str, said: str, github: GitHub, runner: Runner, source: Path
) -> None:
    event = again(github, source, {".github/workflows/ci.yml": CI.replace(old, new)})
    with pytest.raises(StartupFailure, match=said):
        runner.run(event)


def test_other_events_have_the_payload_and_the_branch_they_have_on_github(
    github: GitHub, runner: Runner, source: Path
) -> None:
    text = """
name: CI
on: [pull_request, merge_group, workflow_dispatch]
jobs:
  one:
    runs-on: ubuntu-24.04
    steps:
      - run: echo "$GITHUB_EVENT_NAME $GITHUB_REF $GITHUB_SHA $GROUP" >> "$GITHUB_STEP_SUMMARY"
        env:
          GROUP: ${{ github.event.merge_group.head_sha }} ${{ github.event.merge_group.base_sha }}
"""
    change(source, {".github/workflows/ci.yml": text}, branch="events")
    bare = github.repositories[NAME]
    subprocess.run(["git", "push", "--quiet", str(bare.path), "events"], cwd=source, check=True)
    head, base = bare.git("rev-parse", "events"), bare.git("rev-parse", "main")
    started = dispatch(github, NAME, "events")
    assert runner.run(started)["one"].summary.split() == ["workflow_dispatch", "refs/heads/events", head]
    queued = merge_group(github, NAME, github.open(NAME, "events", author="ann", title="Events"))
    assert runner.run(queued)["one"].summary.split() == ["merge_group", queued.ref, queued.sha, queued.sha, base]
    change(source, {".github/workflows/ci.yml": text.replace("merge_group, ", "")}, branch="fewer")
    subprocess.run(["git", "push", "--quiet", str(bare.path), "fewer"], cwd=source, check=True)
    unknown = merge_group(github, NAME, github.open(NAME, "fewer", author="ann", title="Fewer"))
    with pytest.raises(StartupFailure, match="not started by merge_group"):
        runner.run(unknown)


def test_steps_see_nothing_of_who_runs_the_tests(github: GitHub, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of theirs, no token that was not handed over, and a home of its own."""
    monkeypatch.setenv("SOMETHING_OF_MINE", "mine")
    text = "name: CI\non: workflow_dispatch\njobs:\n  one:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: env\n"
    change(source, {".github/workflows/ci.yml": text}, branch="environment")
    subprocess.run(
        ["git", "push", "--quiet", str(github.repositories[NAME].path), "environment"], cwd=source, check=True
    )
    with Runner(github, NAME, secrets={"DEPLOY": "a-secret-value"}) as runner:
        log = runner.run(dispatch(github, NAME, "environment"))["one"].log
    assert "GITHUB_SHA=" in log
    for word in ("SOMETHING_OF_MINE", "GITHUB_TOKEN", "ghs_", "a-secret-value", f"HOME={os.environ['HOME']}\n"):
        assert word not in log


def alive(mark: str) -> list[Path]:
    """Processes that have this mark in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [entry] if f"ACTING_MARK={mark}".encode() in entry.read_bytes() else []
        except OSError:
            continue
    return found


def test_an_interrupted_run_leaves_nothing_behind(
    github: GitHub, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither processes (a step starts one in a session of its own) nor folders."""
    text = (
        "name: CI\non: workflow_dispatch\njobs:\n  one:\n    runs-on: ubuntu-24.04\n    steps:\n"
        '      - run: setsid sleep 4321 & touch "$STARTED"; sleep 4321\n'
    )
    change(source, {".github/workflows/ci.yml": text}, branch="slow")
    subprocess.run(["git", "push", "--quiet", str(github.repositories[NAME].path), "slow"], cwd=source, check=True)
    started = github.folder / "started"
    problems: list[BaseException] = []

    def work(runner: Runner) -> None:
        try:
            runner.run(dispatch(github, NAME, "slow"))
        except BaseException as problem:
            problems.append(problem)

    with Runner(github, NAME, extra={"STARTED": str(started)}) as runner:
        folder = runner.folder
        thread = threading.Thread(target=work, args=(runner,))
        thread.start()
        deadline = time.monotonic() + 30
        while not started.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert started.exists()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert not folder.exists()
    assert alive(runner.mark) == []


def test_a_terminated_run_leaves_nothing_behind_either(source: Path, tmp_path: Path) -> None:
    text = (
        "name: CI\non: workflow_dispatch\njobs:\n  one:\n    runs-on: ubuntu-24.04\n    steps:\n"
        '      - run: echo "$PPID" > "$STARTED"; setsid sleep 4321 & sleep 4321\n'
    )
    change(source, {".github/workflows/ci.yml": text}, branch="main")
    started = tmp_path / "started"
    program = (
        "from sys import argv; from pathlib import Path; from tests.acting import dispatch, hub\n"
        "made = hub(Path(argv[1]), 'acme/thing', Path(argv[2]), extra={'STARTED': argv[3]})\n"
        "with made as (github, runner):\n"
        "    print(runner.folder, runner.mark, flush=True)\n"
        "    runner.run(dispatch(github, 'acme/thing', 'main'))\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "hub"), str(source), str(started)]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder, mark = process.stdout.readline().split()
        deadline = time.monotonic() + 30
        while not started.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=30) == 128 + 15
    assert started.exists()
    assert not Path(folder).exists()
    assert alive(mark) == []


def test_hub_is_all_of_it_in_one(tmp_path: Path, source: Path) -> None:
    with hub(tmp_path / "hub", NAME, source) as (github, runner):
        assert runner.github is github
        assert set(github.repositories) == {NAME}
