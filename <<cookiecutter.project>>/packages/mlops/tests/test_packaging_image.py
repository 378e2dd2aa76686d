"""What is in an image and what is written on it, as values: no engine and no uv is asked."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import Refusal
from mlops.packaging import image
from mlops.packaging.image import Lists, Origin, Version
from mlops.workspace import Model

LIBRARIES = {"numpy": "2.4.0", "python": "3.11.7", "scikit-learn": "1.9.1", "skops": "0.16.0"}
ORIGIN = Origin(commit="c" * 40, time=1_782_900_000, source="https://github.com/acme/care", is_modified=False)
LISTS = Lists(tools="uv==1\n", requirements="numpy==2\n", frames="polars==2\n")
REQUIREMENTS = """\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:bb
scikit-learn==1.9.1 \\
    --hash=sha256:cc \\
    --hash=sha256:dd
uvicorn[standard]==0.54.0 \\
    --hash=sha256:ee
"""


def version(**given: Any) -> Version:
    about: dict[str, Any] = {"runtime": "sklearn", "libraries": LIBRARIES, "lineage": {"commit": "a" * 40}, **given}
    return Version(model="tumour", name="e45a9097313a", digest=f"sha256:{'e' * 64}", **about)


def words(command: list[str], option: str) -> list[str]:
    """What an option of a command is given, each time it stands there."""
    return [command[place + 1] for place, word in enumerate(command) if word == option]


def manifest(**given: Any) -> bytes:
    return json.dumps({"model": "tumour", "libraries": LIBRARIES, "lineage": {}, **given}).encode()


def test_a_version_is_named_by_its_manifest() -> None:
    """As `mlops.learning.export.version` names it: the first twelve hex digits."""
    found = image.described(manifest(), model="tumour")
    assert found.digest == f"sha256:{found.name}{found.digest[19:]}"
    assert (len(found.name), found.runtime) == (12, "sklearn")
    assert image.described(manifest(serving={"runtime": "onnx"}), model="tumour").runtime == "onnx"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        manifest(libraries=[]),
        manifest(lineage=3),
        manifest(serving={}),
        manifest(serving={"runtime": "pickle"}),
        manifest(model="other"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_manifest_of_this_model_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal, match="tumour: its export"):
        image.described(data, model="tumour")


def test_polars_is_left_out_at_first_and_a_graph_needs_no_scikit_learn() -> None:
    assert words(image.service(version(), prune=True), "--prune") == ["polars"]
    assert words(image.service(version(), prune=False), "--prune") == []
    graph = image.service(version(runtime="onnx"), prune=True)
    assert set(words(graph, "--prune")) == {"polars", "scikit-learn", "scipy", "skops"}
    assert words(graph, "--extra") == ["onnx"]
    assert words(image.service(version(), prune=True), "--package") == ["serve"]


def test_every_list_comes_from_the_lock_as_it_is() -> None:
    """With hashes, without what only developers need, and without packages of this repository."""
    for command in (
        image.tools(),
        image.service(version(), prune=True),
        image.own(version(), ["lightgbm"], asks=["mlops", "lightgbm"]),
    ):
        assert command[:2] == ["uv", "export"]
        assert {"--frozen", "--no-dev", "--no-emit-workspace"} <= set(command)
        assert "--no-hashes" not in command
    assert words(image.tools(), "--only-group") == ["image"]


def test_of_the_models_own_project_only_what_its_estimator_comes_from_is_listed() -> None:
    """However the names are spelled."""
    asks = ["mlops", "polars", "pandera", "scikit_learn", "LightGBM"]
    command = image.own(version(), ["lightgbm"], asks=asks)
    assert words(command, "--package") == ["tumour"]
    assert words(command, "--prune") == ["mlops", "pandera", "polars", "scikit-learn"]


def test_lists_are_read_and_merged() -> None:
    assert image.pins(REQUIREMENTS) == {
        "numpy": {"2.4.6", "2.5.5"},
        "scikit-learn": {"1.9.1"},
        "uvicorn": {"0.54.0"},
    }
    learn = "scikit-learn==1.9.1 \\\n    --hash=sha256:cc \\\n    --hash=sha256:dd\n"
    more = "lightgbm==4.6.0 \\\n    --hash=sha256:ff\n" + learn
    both = image.merged(REQUIREMENTS, more)
    assert both == image.merged(more, REQUIREMENTS)
    assert sorted(both) == sorted(REQUIREMENTS + more.partition("scikit")[0])
    assert image.merged(REQUIREMENTS, REQUIREMENTS) == REQUIREMENTS


def test_the_release_that_trained_the_version_is_the_one_that_serves() -> None:
    assert image.mismatch(version(), REQUIREMENTS) == ""


@pytest.mark.parametrize(
    ("libraries", "says"),
    [
        ({"scikit-learn": "1.9.0"}, "tumour was trained with scikit-learn 1.9.0, and uv.lock has 1.9.1."),
        ({"lightgbm": "4.6.0"}, "tumour was trained with lightgbm, and its pyproject.toml does not ask for that."),
    ],
)
def test_another_release_than_the_one_that_trained_it_is_a_mismatch(libraries: dict[str, str], says: str) -> None:
    assert image.mismatch(version(libraries={**LIBRARIES, **libraries}), REQUIREMENTS) == says


def test_of_several_releases_in_the_lock_only_the_one_that_trained_it_can_be_installed() -> None:
    """The breaker: with another Python the image would take the other one. Of the rest, Python decides."""
    block = "scikit-learn==1.9.1 \\\n    --hash=sha256:cc \\\n    --hash=sha256:dd\n"
    assert block in REQUIREMENTS
    older = "scikit-learn==1.8.0 ; python_full_version < '3.12' \\\n    --hash=sha256:ab\n"
    forked = REQUIREMENTS.replace(block, older + block)
    assert image.mismatch(version(), forked) == ""
    assert image.exact(version(), forked) == REQUIREMENTS
    assert image.exact(version(runtime="onnx"), forked) == forked


def test_what_only_reads_a_version_may_be_another_release() -> None:
    """The build asks the version itself whether it still says the same; Python decides which numpy there is."""
    assert image.mismatch(version(libraries={**LIBRARIES, "numpy": "2.0.0", "skops": "0.13"}), REQUIREMENTS) == ""
    graph = version(runtime="onnx", libraries={**LIBRARIES, "onnxruntime": "1.20"})
    assert image.mismatch(graph, "onnxruntime==1.31.1\n") == ""


@pytest.fixture
def trained(tmp_path: Path) -> Model:
    """A model with an export, in a repository with a service."""
    root = tmp_path / "Care & Co"
    for place, text in {
        "deploy/Dockerfile": "FROM scratch\n",
        "packages/serve/pyproject.toml": "",
        "packages/serve/src/serve/__init__.py": "",
        "packages/serve/src/serve/py.typed": "",
        "packages/serve/src/serve/__pycache__/x.cpython-311.pyc": "",
        "packages/serve/tests/test_x.py": "",
        "models/tumour/export/manifest.json": "{}",
        "models/tumour/export/model.skops": "x",
        "models/tumour/CARD.md": "# Card\n",
        "models/tumour/data/train.parquet": "rows of patients",
        "models/tumour/.env": "secret",
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    return Model(root, "tumour")


def test_the_build_gets_what_serves_and_nothing_else(trained: Model) -> None:
    """No data, no tests, nothing that lies about."""
    assert set(image.context(trained, LISTS)) == {
        "Dockerfile",
        "tools.txt",
        "requirements.txt",
        "frames.txt",
        "src/serve/__init__.py",
        "src/serve/py.typed",
        "model/manifest.json",
        "model/model.skops",
        "card/CARD.md",
    }


def test_a_link_in_what_is_packaged_is_refused(trained: Model) -> None:
    (trained.export / "more.json").symlink_to(trained.folder / ".env")
    with pytest.raises(Refusal, match="is a symbolic link"):
        image.context(trained, LISTS)


def test_a_context_has_the_same_rights_and_times_wherever_it_is_written(trained: Model, tmp_path: Path) -> None:
    (trained.export / "model.skops").chmod(0o600)
    old = os.umask(0o077)
    try:
        image.write(image.context(trained, LISTS), tmp_path)
    finally:
        os.umask(old)
    for path in (tmp_path / "model", tmp_path / "model" / "model.skops", tmp_path / "requirements.txt"):
        status = path.stat()
        assert (status.st_mode & 0o777, status.st_mtime) == (0o755 if path.is_dir() else 0o644, image.EPOCH)
    assert (tmp_path / "requirements.txt").read_text() == "numpy==2\n"


def test_a_card_that_is_not_there_is_not_shown(trained: Model) -> None:
    (trained.folder / "CARD.md").unlink()
    assert image.context(trained, LISTS)["card/CARD.md"] == b""
    assert "CARD=" in words(build(has_card=False), "--build-arg")
    assert "CARD=/card/CARD.md" in words(build(has_card=True), "--build-arg")


def build(how: image.Builder = "buildx", **given: Any) -> list[str]:
    about: dict[str, Any] = {"base": "", "files": {}, "has_card": True, **given}
    return image.build(how, Path("here"), version=version(), origin=ORIGIN, tag="care/tumour:e45a9097313a", **about)


def test_labels_say_what_it_is_and_what_made_it() -> None:
    found = image.labels(version(), ORIGIN)
    assert found == {
        "org.opencontainers.image.title": "tumour",
        "org.opencontainers.image.version": "e45a9097313a",
        "org.opencontainers.image.revision": "c" * 40,
        "org.opencontainers.image.created": "2026-07-01T10:00:00Z",
        "org.opencontainers.image.source": "https://github.com/acme/care",
        "mlops.model": "tumour",
        "mlops.version": "e45a9097313a",
        "mlops.manifest": f"sha256:{'e' * 64}",
        "mlops.lineage": json.dumps({"commit": "a" * 40}, separators=(",", ":")),
    }
    changed = Origin(commit="c" * 40, time=0, source="", is_modified=True)
    assert image.labels(version(), changed)["mlops.modified"] == "true"
    assert "org.opencontainers.image.source" not in image.labels(version(), changed)


def test_the_build_is_told_all_that_it_needs() -> None:
    command = build(base="registry.example.com/python:3.12", files={"ca.pem": "/ca", "uv.toml": "/uv"})
    assert command[:3] == ["docker", "buildx", "build"]
    assert command[-1] == "here"
    assert words(command, "--build-arg") == [
        "VERSION=e45a9097313a",
        "CARD=/card/CARD.md",
        "SOURCE_DATE_EPOCH=1782900000",
        "BASE=registry.example.com/python:3.12",
    ]
    assert words(command, "--secret") == ["id=ca.pem,src=/ca", "id=uv.toml,src=/uv"]
    assert len(words(command, "--label")) == len(image.labels(version(), ORIGIN))
    assert {"--load", "--provenance=false", "--sbom=false"} <= set(command)
    assert build("classic")[:2] == ["docker", "build"]
    assert not {"--load", "--provenance=false"} & set(build("classic"))
    assert not [word for word in words(build(), "--build-arg") if word.startswith("BASE=")]


def test_a_secret_is_a_file_that_is_named_and_there(tmp_path: Path) -> None:
    """Its content is in no word of the command, and an index is never guessed."""
    file = tmp_path / "uv.toml"
    file.write_text('index-url = "https://user:hunter2@index.example.com"')
    given = {
        "UV_CONFIG_FILE": str(file),
        "NETRC": str(tmp_path / "none"),
        "PIP_CONFIG_FILE": os.devnull,
        "HOME": "/root",
    }
    assert image.secrets(given) == {"uv.toml": str(file)}
    assert "hunter2" not in " ".join(build(files=image.secrets(given)))


@pytest.mark.parametrize(
    ("said", "has_buildx", "how"),
    [
        ("Docker version 28.2.2, build e6534b4", True, "buildx"),
        ("Docker version 20.10.24+dfsg1, build 297e128", False, "classic"),
        ("Docker version 20.10.24+dfsg1, build 297e128", True, "buildx"),
    ],
)
def test_a_docker_that_builds_with_buildkit_is_used_as_it_is(said: str, has_buildx: bool, how: str) -> None:
    assert image.builder(said, has_buildx=has_buildx) == how


@pytest.mark.parametrize("said", ["Docker version 28.2.2, build e6534b4", "Docker version 23.0.0", "", "what?"])
def test_a_docker_that_cannot_is_refused(said: str) -> None:
    with pytest.raises(Refusal, match="cannot build with BuildKit"):
        image.builder(said, has_buildx=False)


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://github.com/acme/care.git\n", "https://github.com/acme/care"),
        ("https://user:token@github.com/acme/care.git", "https://github.com/acme/care"),
        ("git@github.com:acme/care.git", "https://github.com/acme/care"),
        ("ssh://git@github.com/acme/care", "https://github.com/acme/care"),
        ("ssh://git@git.example.com:2222/acme/care.git", "https://git.example.com/acme/care"),
        ("http://git.example.com/care/", "http://git.example.com/care"),
        ("/srv/care.git", ""),
        ("file:///srv/care.git", ""),
        ("../care", ""),
        ("", ""),
    ],
)
def test_the_source_is_a_page_and_holds_no_credential(url: str, page: str) -> None:
    assert image.source(url) == page


@pytest.mark.parametrize(
    ("folder", "name"), [("ml-models", "ml-models"), ("Care & Co", "care-co"), ("_x_", "x"), ("数据", "project")]
)
def test_a_repository_has_a_name_that_registries_take(folder: str, name: str) -> None:
    assert image.project(Path("/srv") / folder) == name


def test_the_project_is_called_the_same_in_every_clone(tmp_path: Path) -> None:
    """A clone in a folder of another name finds what was deployed from the first one."""
    root = tmp_path / "Copy"
    root.mkdir()
    (root / ".template.json").write_text(json.dumps({"answers": {"project": "ml-models"}}))
    assert image.project(root) == "ml-models"
    (root / ".template.json").write_text("{}")
    assert image.project(root) == "copy"


def test_a_place_for_images_is_taken_in_lower_case() -> None:
    assert image.place("ghcr.io/Acme/Care/") == "ghcr.io/acme/care"
    assert image.place("localhost:5000/a__b/c-d") == "localhost:5000/a__b/c-d"


@pytest.mark.parametrize(
    "given", ["", "ghcr.io", "https://ghcr.io/a", "ghcr.io/a b", "ghcr.io/a:tag", "--x/y", "ghcr.io/a//b"]
)
def test_what_is_no_place_for_images_is_refused(given: str) -> None:
    with pytest.raises(Refusal, match="is no place for images"):
        image.place(given)


def test_a_pushed_image_is_named_by_its_digest_there() -> None:
    digests = [f"other.example.com/a@sha256:{'0' * 64}", f"ghcr.io/a/tumour@sha256:{'1' * 64}"]
    assert image.pushed(digests, "ghcr.io/a/tumour") == digests[1]
    with pytest.raises(Refusal, match="does not say by which digest"):
        image.pushed(digests[:1], "ghcr.io/a/tumour")
