"""Is the right repository and the right model found from any folder, and is a slip met with the nearest name?"""

import shutil
from pathlib import Path

import pytest

from mlops import workspace
from mlops.errors import Refusal
from mlops.workspace import Model


@pytest.mark.parametrize("below", [".", "models", "models/tumour", "models/tumour/src/tumour", "packages/mlops"])
def test_the_root_is_found_from_any_folder_in_it(project: Path, below: str) -> None:
    """Stages run in the model's folder, people anywhere."""
    assert workspace.find_root(project / below) == project


def test_outside_there_is_no_root(tmp_path: Path) -> None:
    """A folder with models/ alone is some other repository."""
    (tmp_path / "models").mkdir()
    with pytest.raises(Refusal, match="not inside a generated repository"):
        workspace.find_root(tmp_path)


def test_models_are_listed_by_name_and_others_folders_are_not(project: Path) -> None:
    """A model is a folder with a model.toml."""
    (project / "models" / "notes").mkdir()
    (project / "models" / "README.md").write_text("")
    assert workspace.models(project) == ["diabetes", "tumour"]


@pytest.mark.parametrize("name", ["tumour", "tumour/", "models/tumour", "models/tumour/"])
def test_a_name_finds_its_model_as_a_shell_completes_it(project: Path, name: str) -> None:
    """From the root and from elsewhere."""
    assert workspace.find_model(project, name, project) == Model(project, "tumour")
    assert workspace.find_model(project, name, project / "models" / "diabetes") == Model(project, "tumour")


@pytest.mark.parametrize("below", ["", "src", "src/tumour"])
def test_without_a_name_it_is_the_model_one_is_in(project: Path, below: str) -> None:
    """As DVC starts the stages."""
    here = project / "models" / "tumour" / below
    assert workspace.find_model(project, None, here) == Model(project, "tumour")


def test_without_a_name_an_only_model_is_meant(project: Path) -> None:
    """With two of them, the question is asked."""
    with pytest.raises(Refusal, match="Which model") as caught:
        workspace.find_model(project, None, project)
    assert caught.value.do == "Name one: diabetes, tumour."
    shutil.rmtree(project / "models" / "diabetes")
    assert workspace.find_model(project, None, project) == Model(project, "tumour")


def test_a_folder_whose_name_only_begins_like_a_model_is_not_that_model(project: Path) -> None:
    """`models/tumour_old` is not inside `models/tumour`."""
    here = project / "models" / "tumour_old"
    here.mkdir()
    with pytest.raises(Refusal, match="Which model"):
        workspace.find_model(project, None, here)


@pytest.mark.parametrize("name", ["tumour", None])
def test_without_any_model_it_says_how_to_make_one(project: Path, name: str | None) -> None:
    """Whether one was named or not."""
    shutil.rmtree(project / "models")
    (project / "models").mkdir()
    with pytest.raises(Refusal, match="There is no model yet") as caught:
        workspace.find_model(project, name, project)
    assert "make new-model" in caught.value.do


HOSTILE = [
    "",
    "..",
    "../tumour",
    "/etc",
    "tumour/src",
    "models",
    "models/models/tumour",
    "a\nb",
    "*",
    "x" * 5000,
    "Tumour",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_no_models_leads_nowhere(project: Path, name: str) -> None:
    """A name becomes a path only when it is one of those that were listed."""
    with pytest.raises(Refusal, match="There is no model"):
        workspace.find_model(project, name, project)


def test_a_folder_that_lost_its_model_toml_is_named(project: Path) -> None:
    """It is there, so "no such model" would puzzle."""
    (project / "models" / "tumour" / "model.toml").unlink()
    with pytest.raises(Refusal, match=r"models/tumour has no model\.toml"):
        workspace.find_model(project, "tumour", project)


def test_many_models_are_not_all_listed(project: Path) -> None:
    """A message is two lines, with a thousand models too."""
    for number in range(30):
        shutil.copytree(project / "models" / "tumour", project / "models" / f"model_{number:02}")
    with pytest.raises(Refusal) as caught:
        workspace.find_model(project, "zzz", project)
    assert caught.value.do.startswith("Known models: diabetes, model_00, model_01")
    assert caught.value.do.endswith("and 22 more.")


def test_every_path_of_a_model_is_below_its_own_folder_or_its_reports(tumour: Model) -> None:
    """A model touches no other model."""
    paths = [getattr(tumour, name) for name, kind in vars(Model).items() if isinstance(kind, property)]
    assert len(paths) >= 9
    for path in [*paths, tumour.json("metrics")]:
        assert path.is_relative_to(tumour.folder) or path == tumour.root / "reports" / "tumour"
