"""Where things are: the repository's root, its models, and the files of one model. Standard library only."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from mlops import config
from mlops.errors import Refusal


@dataclass(frozen=True)
class Model:
    """One folder in `models/`; every path that a stage reads or writes is named here."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        """The folder that a stage works in."""
        return self.root / "models" / self.name

    @property
    def toml(self) -> Path:
        """What the model is, and what it must show."""
        return self.folder / "model.toml"

    @property
    def contract(self) -> Path:
        """The data contract, as written by a person."""
        return self.folder / "contract.py"

    @property
    def source(self) -> Path:
        """The model's own code."""
        return self.folder / "src"

    @property
    def raw(self) -> Path:
        """All rows up to `data.as_of`."""
        return self.folder / "data" / "raw.parquet"

    @property
    def train(self) -> Path:
        """The rows that a model may learn from."""
        return self.folder / "data" / "train.parquet"

    @property
    def holdout(self) -> Path:
        """The rows that are kept from training."""
        return self.folder / "data" / "holdout.parquet"

    @property
    def export(self) -> Path:
        """The version: what serves."""
        return self.folder / "export"

    @property
    def reports(self) -> Path:
        """Where the gate and the report write for this model; ignored by git."""
        return self.root / "reports" / self.name

    def json(self, name: str) -> Path:
        """A committed fact of this model, such as `metrics` or `evaluation`."""
        return self.folder / f"{name}.json"

    def config(self) -> config.ModelConfig:
        """Its `model.toml`, read and validated now."""
        return config.load(self.toml)


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` that holds `packages/mlops/` and `models/`.

    A sparse checkout may leave `models/` out; then it is the one that holds `.git`.
    """
    for folder in (start, *start.parents):
        if (folder / "packages" / "mlops").is_dir() and ((folder / "models").is_dir() or (folder / ".git").exists()):
            return folder
    raise Refusal(f"{start} is not inside a generated repository.", do="Change to the folder that holds models/.")


def models(root: Path) -> list[str]:
    """Names of all models, sorted."""
    return sorted(path.parent.name for path in (root / "models").glob("*/model.toml"))


def find_model(root: Path, name: str | None, here: Path) -> Model:
    """The named model; without a name, the one whose folder holds `here`, else the only one there is.

    A shell completes folders, so `models/tumour/` names the model `tumour` too.
    """
    known = models(root)
    if not known:
        raise Refusal("There is no model yet.", do="`make new-model NAME=… TASK=…` makes one.")
    if name is None:
        inside = [one for one in known if here.is_relative_to(root / "models" / one)]
        if inside or len(known) == 1:
            return Model(root, (inside or known)[0])
        raise Refusal("Which model?", do=f"Name one: {listing(known)}.")
    name = name.removeprefix("models/").rstrip("/")
    if name in known:
        return Model(root, name)
    if any(path.name == name for path in (root / "models").iterdir() if path.is_dir()):
        raise Refusal(f"models/{name} has no model.toml.", do="Restore it, or take that folder away.")
    near = difflib.get_close_matches(name, known, n=1)
    raise Refusal(
        f"There is no model {name[:100]!r}.",
        do=f"Did you mean {near[0]!r}?" if near else f"Known models: {listing(known)}.",
    )


def listing(names: list[str], most: int = 10) -> str:
    """Names for a message: the first ones, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
