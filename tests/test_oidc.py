"""What clouds are told to trust: this repository by its ids, readers that cannot write, a writer that cannot delete."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Bake

STORAGES = ("s3", "gs", "azure")
ISSUER = "token.actions.githubusercontent.com"
READERS = {"PREFIX:pull_request", "PREFIX:ref:refs/heads/*", "PREFIX:environment:watch"}
WRITER = "PREFIX:environment:storage"


def page(project: Path) -> str:
    return (project / ".github" / "oidc" / "README.md").read_text()


def value(project: Path, name: str) -> Any:
    return json.loads((project / ".github" / "oidc" / name).read_text())


def allowed(policy: dict[str, Any]) -> set[str]:
    """All actions that a policy allows; it has no other kind of statement."""
    assert {one["Effect"] for one in policy["Statement"]} == {"Allow"}
    found = [one["Action"] for one in policy["Statement"]]
    return {action for one in found for action in ([one] if isinstance(one, str) else one)}


def subjects(policy: dict[str, Any]) -> set[str]:
    """The subjects that a role of AWS trusts."""
    (statement,) = policy["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Condition"]["StringEquals"][f"{ISSUER}:aud"] == "sts.amazonaws.com"
    found = [table[f"{ISSUER}:sub"] for table in statement["Condition"].values() if f"{ISSUER}:sub" in table]
    assert len(found) == 1
    return {found[0]} if isinstance(found[0], str) else set(found[0])


def test_aws_lets_readers_read_and_the_writer_add(bake: Bake) -> None:
    project = bake(storage="s3", project="acme-models")
    assert subjects(value(project, "reader-trust.json")) == READERS
    assert subjects(value(project, "writer-trust.json")) == {WRITER}
    # A pattern could match the environment of another repository.
    assert "StringLike" not in value(project, "writer-trust.json")["Statement"][0]["Condition"]
    assert allowed(value(project, "reader-policy.json")) == {"s3:ListBucket", "s3:GetObject"}
    added = allowed(value(project, "writer-policy.json")) - allowed(value(project, "reader-policy.json"))
    assert added == {"s3:PutObject", "s3:AbortMultipartUpload"}
    places = {one["Resource"] for one in value(project, "writer-policy.json")["Statement"]}
    assert places == {"arn:aws:s3:::acme-models-dvc", "arn:aws:s3:::acme-models-dvc/*"}
    assert "url = s3://acme-models-dvc\n" in (project / ".dvc" / "config").read_text()


def test_google_knows_this_repository_only_and_tells_the_store_job_apart(bake: Bake) -> None:
    project = bake(storage="gs")
    provider = yaml.safe_load((project / ".github" / "oidc" / "provider.yaml").read_text())
    assert provider["--issuer-uri"] == f"https://{ISSUER}"
    condition = "assertion.repository_id == 'REPOSITORY' && assertion.repository_owner_id == 'OWNER'"
    assert provider["--attribute-condition"] == condition
    assert provider["--attribute-mapping"]["attribute.may"] == f"assertion.sub == '{WRITER}' ? 'write' : 'read'"
    roles = set(re.findall(r"grant (storage-\w+) (\w+)", page(project)))
    assert roles == {
        ("storage-reader", "objectViewer"),
        ("storage-writer", "objectViewer"),
        ("storage-writer", "objectCreator"),
    }
    assert set(re.findall(r"trust (storage-\w+) (\w+)", page(project))) == {
        ("storage-reader", "read"),
        ("storage-writer", "write"),
    }


def test_azure_lets_readers_read_and_the_writer_add(bake: Bake) -> None:
    project = bake(storage="azure")
    names = ("reader-pull-request.json", "reader-branch.json", "writer.json", "reader-watch.json")
    credentials = [value(project, name) for name in names]
    assert {one["issuer"] for one in credentials} == {f"https://{ISSUER}"}
    assert {tuple(one["audiences"]) for one in credentials} == {("api://AzureADTokenExchange",)}
    assert credentials[0]["subject"] == "PREFIX:pull_request"
    assert credentials[1]["claimsMatchingExpression"]["value"] == "claims['sub'] matches 'PREFIX:ref:refs/heads/*'"
    assert credentials[2]["subject"] == WRITER
    assert credentials[3]["subject"] == "PREFIX:environment:watch"
    role = value(project, "writer-role.json")
    assert {action.rpartition("/blobs/")[2] for action in role["DataActions"]} == {"read", "write", "add/action"}
    assert f'--role "{role["Name"]}"' in page(project)
    assert '--assignee "$READER" --scope "$CONTAINER" --role "Storage Blob Data Reader"' in page(project)


def test_readers_are_trusted_in_every_environment_in_which_they_sign_in(bake: Bake) -> None:
    """A job's environment takes the place of its branch in what GitHub says of it."""
    workflows = [path.read_text() for path in (bake(storage="s3") / ".github" / "workflows").iterdir()]
    reading = [text for text in workflows if "vars.STORAGE_READER" in text]
    found = {name for text in reading for name in re.findall(r"(?m)^    environment: (\S+)$", text)}
    assert found == {"watch"}
    assert {f"PREFIX:environment:{name}" for name in found} <= READERS


@pytest.mark.parametrize("storage", STORAGES)
def test_nothing_that_is_granted_can_delete(storage: str, bake: Bake) -> None:
    for path in (bake(storage=storage) / ".github" / "oidc").iterdir():
        if path.suffix in (".json", ".yaml"):
            assert not re.search(r"(?i)delete|\"\*\"|:\*\"|contributor|admin", path.read_text()), path


@pytest.mark.parametrize("storage", STORAGES)
def test_the_page_fills_in_every_file_and_every_place_holder(storage: str, bake: Bake) -> None:
    """A subject that is left as it is here would match nothing, and nobody would see why."""
    folder = bake(storage=storage) / ".github" / "oidc"
    text = (folder / "README.md").read_text()
    for path in folder.iterdir():
        if path.suffix not in (".json", ".yaml"):
            continue
        assert path.name.replace("reader-", "$who-").replace("writer-", "$who-") in text or path.name in text
        for word in re.findall(r"\b(?:PREFIX|ACCOUNT|SCOPE|REPOSITORY|OWNER)\b", path.read_text()):
            assert f"s|{word}|" in text, (path, word)
    assert "sub_claim_prefix" in text
    assert "use_immutable_subject=true" in text


@pytest.mark.parametrize("storage", STORAGES)
def test_the_commands_of_the_page_are_shell(storage: str, bake: Bake) -> None:
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", page(bake(storage=storage)))
    assert len(blocks) == 2
    done = subprocess.run(["bash", "-n"], input="".join(blocks), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("storage", STORAGES)
def test_the_variables_that_the_page_sets_are_those_that_the_workflows_read(storage: str, bake: Bake) -> None:
    """And the environment that the writer is bound to is that of the jobs that store, and of no other."""
    project = bake(storage=storage)
    texts = {path.name: path.read_text() for path in (project / ".github" / "workflows").iterdir()}
    read = {name for text in texts.values() for name in re.findall(r"vars\.(STORAGE_\w+)", text)}
    assert set(re.findall(r"gh variable set (\w+)", page(project))) == read
    for mark in ("environment: storage", "vars.STORAGE_WRITER"):
        assert {name for name, text in texts.items() if mark in text} == {"reusable-propose.yml", "reusable-store.yml"}
