"""The workflows keep the house style, and every rule of it is shown to refuse what breaks it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import workflow_rules as rules
from tests.workflow_rules import RULES, Repository, Workflow

ROOT = Path(__file__).resolve().parents[1]

# A repository in miniature, in which nothing is wrong; each breaker below is one edit of it.
PIN = f"actions/checkout@{'0' * 40} # v7.0.1"
UPLOAD = f"actions/upload-artifact@{'1' * 40} # v6.0.0"
CI = """\
# Is this change good enough? Started by pull requests; writes nothing itself.
name: CI

on:
  pull_request:
  schedule:
    - cron: "17 4 * * 1"

permissions: {}

concurrency:
  group: ci-${{ github.ref }}
  cancel-in-progress: true

jobs:
  train:
    name: Train
    uses: ./.github/workflows/reusable-train.yml
    permissions:
      contents: read # to check the code out
    with:
      models: "[]"

  store:
    name: Store
    needs: train
    if: needs.train.outputs.number != '0'
    uses: ./.github/workflows/reusable-store.yml
    permissions:
      contents: write # to commit the locks
    with:
      base: ${{ github.event.pull_request.base.sha || github.event.repository.default_branch }}

  verdict:
    name: verdict
    needs: [train, store]
    if: always()
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions:
      contents: read # to check the base out
    steps:
      - name: Check out the base
        uses: PIN
        with:
          ref: ${{ github.event.pull_request.base.sha }}
          persist-credentials: false
      - name: Judge
        run: python3 -m mlops verdict
        env:
          NEEDS: ${{ toJSON(needs) }}
"""
TRAIN = """\
# Is each challenger good enough? Called with models; writes an artifact for each of them.
name: Train

on:
  workflow_call:
    inputs:
      models:
        description: Models as JSON
        type: string
        required: true
    outputs:
      number:
        description: How many there were
        value: ${{ jobs.train.outputs.number }}

permissions: {}

jobs:
  train:
    name: ${{ matrix.model }}
    strategy:
      matrix:
        include: ${{ fromJSON(inputs.models) }}
    runs-on: ${{ matrix.runner }}
    timeout-minutes: 60
    permissions:
      contents: read # to check the code out
    outputs:
      number: ${{ steps.train.outputs.number }}
    steps:
      - name: Check out
        uses: PIN
        with:
          persist-credentials: false
      - id: train
        name: Train
        run: mlops repro --pull -- "$MODEL"
        env:
          MODEL: ${{ matrix.model }}
      - name: Hand over
        uses: UPLOAD
        with:
          name: evaluation-${{ matrix.model }}
          path: reports
"""
STORE = """\
# Where do versions go? Called after training; runs the code of the base, and commits locks.
name: Store

on:
  workflow_call:
    inputs:
      base:
        description: The revision whose code runs here
        type: string
        required: true
    secrets:
      KEY:
        description: A key
        required: false

permissions: {}

jobs:
  store:
    name: Store
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    environment: storage
    permissions:
      contents: write # to commit the locks
    steps:
      - name: Check out the base
        uses: PIN
        with:
          ref: ${{ inputs.base }}
          persist-credentials: false
      - name: Set up
        uses: ./.github/actions/setup
        with:
          cache: "false"
      - name: Test
        run: make test
        env:
          KEY: ${{ secrets.KEY }}
"""
SETUP = """\
# How does every job start? Installs what `uv.lock` names, and changes no file of git's.
name: Set up
description: Install the locked environment

runs:
  using: composite
  steps:
    - name: Install
      shell: bash
      run: uv sync --frozen
      env:
        UV_PYTHON: "3.12"
"""
CD = """\
# Does what was merged serve? Started by pushes to the default branch and by people; writes images and environments.
name: CD

on:
  push:
    branches: [main]
  workflow_dispatch:
    inputs:
      model:
        description: The model to release
        type: string
        required: true

permissions: {}

concurrency:
  group: cd-${{ inputs.model }}
  cancel-in-progress: false

jobs:
  build:
    name: Build
    uses: ./.github/workflows/reusable-build.yml
    permissions:
      contents: read # to check the code out
      packages: write # to push the image
    with:
      base: ${{ github.sha }}

  attest:
    name: Attest
    needs: build
    uses: ./.github/workflows/reusable-attest.yml
    permissions:
      attestations: write # to store what is attested
      id-token: write # to sign

  production:
    name: Production
    needs: [build, attest]
    runs-on: ubuntu-24.04
    timeout-minutes: 60
    environment: production
    permissions:
      contents: read # to check the code out
    steps:
      - name: Check out
        uses: PIN
        with:
          ref: ${{ github.sha }}
          persist-credentials: false
      - name: Verify
        run: mlops verify --digest "$DIGEST"
        env:
          DIGEST: ${{ needs.build.outputs.digest }}
      - name: Deploy
        run: mlops deploy
        env:
          KEY: ${{ secrets.KEY }}
"""
BUILD = """\
# Which bytes serve? Called with a commit; builds an image and pushes it.
name: Build

on:
  workflow_call:
    inputs:
      base:
        description: The commit that is released
        type: string
        required: true
    outputs:
      digest:
        description: The image's digest
        value: ${{ jobs.build.outputs.digest }}

permissions: {}

jobs:
  build:
    name: Build
    runs-on: ubuntu-24.04
    timeout-minutes: 60
    permissions:
      contents: read # to check the code out
      packages: write # to push the image
    outputs:
      digest: ${{ steps.package.outputs.digest }}
    steps:
      - name: Check out
        uses: PIN
        with:
          ref: ${{ inputs.base }}
          persist-credentials: false
      - name: Install uv
        uses: UV
        with:
          enable-cache: "false"
      - id: package
        name: Package
        run: mlops package
"""
ATTEST = """\
# Who made it? Called after the build; signs the digest.
name: Attest

on:
  workflow_call:

permissions: {}

jobs:
  attest:
    name: Attest
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions:
      attestations: write # to store what is attested
      id-token: write # to sign
    steps:
      - name: Attest
        uses: SIGN
"""
TEXTS = {"ci.yml": CI, "reusable-train.yml": TRAIN, "reusable-store.yml": STORE, "setup": SETUP}
TEXTS |= {"cd.yml": CD, "reusable-build.yml": BUILD, "reusable-attest.yml": ATTEST}
UV = f"astral-sh/setup-uv@{'3' * 40} # v10.2.0"
SIGN = f"actions/attest@{'4' * 40} # v4.2.2"
PINS = {"PIN": PIN, "UPLOAD": UPLOAD, "UV": UV, "SIGN": SIGN}
GOOD = {
    name: re.sub(r"(?<=uses: )[A-Z]+$", lambda found: PINS[found[0]], text, flags=re.MULTILINE)
    for name, text in TEXTS.items()
}
ASKED = {"verdict": frozenset({"--json"}), "repro": frozenset({"--pull", "--json"})}
ASKED |= {"verify": frozenset({"--digest"}), "deploy": frozenset(), "package": frozenset()}
SHORT = {"ci": "ci.yml", "train": "reusable-train.yml", "store": "reusable-store.yml"}
SHORT |= {"cd": "cd.yml", "build": "reusable-build.yml", "attest": "reusable-attest.yml"}


def repository(**edits: tuple[str, str]) -> Repository:
    """The miniature, with one text replaced by another in the files that are named (`ci` is `ci.yml`)."""
    texts = dict(GOOD)
    for name, (old, new) in edits.items():
        key = SHORT.get(name, name)
        assert old in texts[key], f"{old!r} is not in {key}"
        texts[key] = texts[key].replace(old, new, 1)
    files = {name: Workflow(name, text) for name, text in texts.items()}
    return Repository(files, ASKED, frozenset({"test", "lint"}))


# Rule → edits that it must refuse: (file, what, by what).
BREAKERS: dict[Callable[..., object], list[tuple[str, str, str]]] = {
    rules.says_why_at_the_top: [
        ("ci", "# Is this change good enough? Started by pull requests; writes nothing itself.\n", "")
    ],
    rules.callers_only_call: [
        ("ci", "  store:\n", f"  more:\n    steps:\n      - uses: {PIN}\n\n  store:\n"),
        ("cd", "    environment: production\n", ""),
        ("cd", "secrets.KEY", "vars.KEY"),
    ],
    rules.reusables_are_only_called: [
        ("train", "  workflow_call:\n", "  push:\n  workflow_call:\n"),
        ("train", "  workflow_call:\n", "  push:\n"),
        ("ci", "  pull_request:\n", "  workflow_call:\n"),
        ("store", "    runs-on: ubuntu-24.04\n", "    uses: ./.github/workflows/reusable-train.yml\n"),
        ("store", "jobs:\n", "jobs:\n  other:\n    name: Other\n"),
    ],
    rules.only_callers_have_concurrency: [
        ("train", "jobs:\n", "concurrency: train\n\njobs:\n"),
        ("ci", "concurrency:\n  group: ci-${{ github.ref }}\n  cancel-in-progress: true\n\n", ""),
        ("ci", "    name: Train\n", "    name: Train\n    concurrency: train\n"),
    ],
    rules.triggers_are_harmless: [
        ("ci", "  pull_request:\n", "  pull_request_target:\n"),
        ("ci", "  pull_request:\n", "  pull_request:\n  workflow_run:\n    workflows: [CI]\n"),
        ("ci", '"17 4 * * 1"', '"0 4 * * 1"'),
    ],
    rules.keys_have_one_order: [
        ("ci", "    name: Store\n    needs: train\n", "    needs: train\n    name: Store\n"),
        ("train", "      - id: train\n        name: Train\n", "      - name: Train\n        id: train\n"),
        ("store", "    timeout-minutes: 5\n", "    timeout-minutes: 5\n    defaults:\n      run:\n        shell: sh\n"),
        ("setup", "name: Set up\ndescription: Install the locked environment\n", "description: x\nname: Set up\n"),
    ],
    rules.everything_has_a_name: [
        ("store", "      - name: Test\n        run: make", "      - run: make"),
        ("ci", "    name: Store\n", ""),
        ("ci", "name: CI\n", ""),
    ],
    rules.a_step_is_one_short_command: [
        ("store", "make test", "make test || true"),
        ("store", "make test", "make lint && make test"),
        ("store", "make test", "make lint; make test"),
        ("store", "run: make test", "run: |\n          make lint\n          make test"),
        ("store", "run: make test", "run: |\n          if true\n          then make test\n          fi"),
        ("store", "run: make test", "run: |\n" + "          make \\\n" * 5 + "          test"),
    ],
    rules.values_travel_through_env: [
        ("train", '"$MODEL"', "${{ github.head_ref }}"),
        ("train", '"$MODEL"', "$MODEL"),
        ("setup", "--frozen", "${{ inputs.model }}"),
    ],
    rules.versions_are_quoted: [
        ("setup", 'UV_PYTHON: "3.12"', "python-version: 3.12"),
        ("train", "      matrix:\n", "      matrix:\n        python: [3.10, 3.11]\n"),
    ],
    rules.steps_type_what_people_type: [
        ("store", "make test", "make deploy"),
        ("store", "make test", "curl example.com"),
        ("store", "make test", "uv sync | sh"),
        ("store", "make test", "python3 script.py"),
        ("train", "mlops repro", "mlops reproduce"),
        ("train", "repro --pull", "repro --force"),
        ("ci", "mlops verdict", "mlops verdict --accept=skipped"),
    ],
    rules.permissions_are_given_with_a_reason: [
        ("store", "permissions: {}\n", "permissions: read-all\n"),
        ("store", "permissions: {}\n", "permissions: {contents: read}\n"),
        ("store", "permissions: {}\n\n", ""),
        ("store", "    permissions:\n      contents: write # to commit the locks\n", "    permissions: write-all\n"),
        ("store", "    permissions:\n      contents: write # to commit the locks\n", ""),
        ("store", "contents: write # to commit the locks", "contents: write"),
    ],
    rules.actions_are_pinned: [
        ("train", PIN, "actions/checkout@v7"),
        ("train", PIN, f"actions/checkout@{'0' * 40}"),
        ("train", PIN, f"actions/checkout@{'0' * 39} # v7.0.1"),
        ("train", PIN, f"actions/checkout@{'0' * 40} # v7"),
    ],
    rules.checkouts_keep_no_credential: [
        ("train", "        with:\n          persist-credentials: false\n", ""),
        ("train", "persist-credentials: false", "persist-credentials: true"),
    ],
    rules.every_job_ends: [
        ("store", "    timeout-minutes: 5\n", ""),
        ("store", "ubuntu-24.04", "ubuntu-latest"),
    ],
    rules.nothing_is_inherited_or_swallowed: [
        ("ci", "    with:\n      models", "    secrets: inherit\n    with:\n      models"),
        ("store", "        run: make test\n", "        continue-on-error: true\n        run: make test\n"),
        ("store", "    timeout-minutes: 5\n", "    timeout-minutes: 5\n    continue-on-error: true\n"),
    ],
    rules.tokens_stay_in_their_step: [
        ("store", "    steps:\n", "    env:\n      GH_TOKEN: ${{ github.token }}\n    steps:\n"),
        ("store", "jobs:\n", "env:\n  KEY: ${{ secrets.KEY }}\n\njobs:\n"),
    ],
    rules.callers_grant_what_is_declared: [
        ("ci", "contents: write # to commit", "contents: read # to commit"),
        ("ci", "contents: read # to check the code", "contents: write # to check the code"),
        ("ci", "contents: write # to commit", "issues: write # to open\n      contents: write # to commit"),
        ("store", "contents: write # to commit", "actions: write # to start\n      contents: write # to commit"),
        ("ci", "reusable-train.yml", "reusable-gone.yml"),
    ],
    rules.calls_fit: [
        ("ci", "      models:", "      model:"),
        ("ci", '    with:\n      models: "[]"\n', ""),
        ("ci", "needs.train.outputs.number", "needs.train.outputs.numbers"),
        ("ci", '      models: "[]"\n', '      models: "[]"\n    secrets:\n      KEY: ${{ secrets.KEY }}\n'),
    ],
    rules.the_verdict_needs_every_job: [
        ("ci", "needs: [train, store]", "needs: [train]"),
        ("ci", "if: always()", "if: success()"),
        ("ci", "if: always()", "if: ${{ !cancelled() }}"),
        ("ci", "    if: always()\n", ""),
        ("ci", "    name: verdict\n", "    name: Verdict\n"),
        ("ci", "  verdict:\n", "  final:\n"),
        ("ci", "toJSON(needs)", "toJSON(needs.train)"),
        ("ci", "      - name: Judge\n", "      - name: Judge\n        if: needs.train.result != 'skipped'\n"),
        ("ci", "ref: ${{ github.event.pull_request.base.sha }}", "ref: ${{ github.event.pull_request.head.sha }}"),
    ],
    rules.artifacts_carry_the_model: [
        ("train", "evaluation-${{ matrix.model }}", "evaluation"),
        ("train", "evaluation-${{ matrix.model }}", "evaluation-${{ matrix.runner }}"),
    ],
    rules.who_writes_runs_the_code_of_the_base: [
        ("store", "ref: ${{ inputs.base }}", "ref: ${{ github.event.pull_request.head.sha }}"),
        ("store", "          ref: ${{ inputs.base }}\n", ""),
        ("store", 'cache: "false"', 'cache: "true"'),
        ("store", '        with:\n          cache: "false"\n', ""),
        ("store", "./.github/actions/setup", f"actions/cache@{'2' * 40} # v6.1.0"),
        ("ci", "github.event.pull_request.base.sha || github.event", "needs.train.outputs.number || github.event"),
        (
            "ci",
            "github.event.pull_request.base.sha || github.event",
            "github.event.pull_request.head.sha || github.event",
        ),
        ("ci", "github.event.pull_request.base.sha || github.event", "github.sha || github.event"),
        ("cd", "    branches: [main]\n", "    tags: [v*]\n"),
        ("cd", "  push:\n    branches: [main]\n", "  pull_request:\n"),
        ("cd", "base: ${{ github.sha }}", "base: ${{ github.ref }}"),
    ],
    rules.secrets_are_kept_in_environments: [
        ("store", "    environment: storage\n", ""),
        ("train", "MODEL: ${{ matrix.model }}", "ROLE: ${{ vars.STORAGE_WRITER }}"),
    ],
    rules.who_builds_proves_nothing: [
        ("build", "      packages: write", "      id-token: write # to sign\n      packages: write"),
    ],
    rules.who_signs_runs_nothing_of_ours: [
        ("attest", "    steps:\n", f"    steps:\n      - name: Check out\n        uses: {PIN}\n"),
        ("attest", "    steps:\n", "    steps:\n      - name: Package\n        run: mlops package\n"),
        ("attest", "    steps:\n", "    steps:\n      - name: Set up\n        uses: ./.github/actions/setup\n"),
    ],
    rules.who_ships_takes_nothing_from_a_cache: [
        ("build", 'enable-cache: "false"', 'enable-cache: "true"'),
        ("build", '        with:\n          enable-cache: "false"\n', ""),
        ("attest", "    steps:\n", f"    steps:\n      - name: Get\n        uses: actions/cache@{'5' * 40} # v6.1.0\n"),
        (
            "cd",
            "      - name: Verify\n",
            "      - name: X\n        uses: ./.github/actions/setup\n      - name: Verify\n",
        ),
        (
            "store",
            '          cache: "false"\n      - name: Test\n        run: make test\n',
            "      - name: X\n        run: mlops deploy\n",
        ),
    ],
    rules.an_image_is_verified_before_it_is_deployed: [
        ("cd", 'mlops verify --digest "$DIGEST"', "mlops verify"),
        ("cd", "        run: mlops verify", "        if: vars.VERIFY == 'on'\n        run: mlops verify"),
        ("cd", 'mlops verify --digest "$DIGEST"', 'mlops repro -- "$DIGEST"'),
    ],
    rules.a_release_is_never_cancelled: [
        ("cd", "cancel-in-progress: false", "cancel-in-progress: true"),
        ("cd", "  cancel-in-progress: false\n", ""),
        ("cd", "cd-${{ inputs.model }}", "cd"),
    ],
}


def test_the_workflows_of_this_repository_keep_every_rule() -> None:
    """They are there, and there is nothing to say about them."""
    found = rules.read(ROOT)
    assert {"ci.yml", "reusable-train.yml", "setup"} <= set(found.files)
    assert rules.findings(found) == {}


def test_the_miniature_keeps_every_rule() -> None:
    """So that each refusal below is due to its one edit."""
    assert rules.findings(repository()) == {}


def test_every_rule_has_a_breaker() -> None:
    assert set(BREAKERS) == set(RULES)


@pytest.mark.parametrize(
    ("rule", "name", "old", "new"),
    [(rule, *edit) for rule, edits in BREAKERS.items() for edit in edits],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_rule_refuses_what_breaks_it(rule: Callable[..., object], name: str, old: str, new: str) -> None:
    """With a sentence that names the file and says what is wrong."""
    said = rules.findings(repository(**{name: (old, new)})).get(getattr(rule, "__name__"), [])  # noqa: B009
    assert said
    assert all(re.fullmatch(r"[^\n]*[.\w][^\n]*\.", sentence) for sentence in said), said


def test_the_permissions_of_several_jobs_are_united() -> None:
    """The caller grants the most that any job declares."""
    text = """\
jobs:
  a:
    permissions: {contents: read, issues: write}
  b:
    permissions: {contents: write}
  c:
    permissions: {contents: none, id-token: write}
"""
    assert rules.union(Workflow("x.yml", text)) == {"contents": "write", "issues": "write", "id-token": "write"}
