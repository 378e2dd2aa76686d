"""The verbs around the service: `mlops serve` and `mlops score` ask the trained version of a model by its name.

The only module that starts the service. The image has no `mlops`: there `serve run` does the same.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.workspace import Model


def serve(model: Model) -> Outcome:
    """Serve the trained version over HTTP until it is interrupted; settings are the `SERVE_…` variables."""
    trained(model)
    card = model.folder / "CARD.md"
    environment = ({"SERVE_CARD": str(card)} if card.is_file() else {}) | dict(os.environ)
    with _refusing():
        from serve import server, settings

        code = server.run(model.export, settings.from_environment(environment))
    return Outcome("", code=code)


def score(model: Model, source: str, target: str) -> Outcome:
    """Write the rows of a Parquet or CSV file with the trained version's predictions."""
    trained(model)
    with _refusing():
        from serve import scoring

        return Outcome(scoring.score(model.export, Path(source), Path(target)))


def trained(model: Model) -> None:
    """Refuse a model without a trained version in its folder."""
    if not (model.export / "manifest.json").is_file():
        raise Refusal(
            f"{model.name} has no trained version here.",
            do=f"`make train MODEL={model.name}` trains it; `make pull MODEL={model.name}` brings a stored one.",
        )


@contextmanager
def _refusing() -> Iterator[None]:
    """What the service refuses, refused in this command line's own way."""
    from serve.errors import Refusal as Theirs

    try:
        yield
    except Theirs as refusal:
        raise Refusal(refusal.what, do=refusal.do) from None
