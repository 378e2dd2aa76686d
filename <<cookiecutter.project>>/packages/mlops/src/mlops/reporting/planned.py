"""What `plan.json` says, read without trusting it: the models that had to be measured, and why.

The plan comes from a job that runs a pull request's code. Standard library only.
"""

import errno
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.errors import Refusal
from mlops.reporting.neutral import visible

MOST_BYTES = 50_000_000
"""A larger plan is refused; one for ten thousand models has some megabytes."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_AGAIN = "`mlops plan --base REV --head REV` writes one."


@dataclass(frozen=True)
class Planned:
    """The measured commit, whether its branch may be written to, and the models to measure with the reasons."""

    head: str
    writable: bool
    models: Mapping[str, tuple[str, ...]]


def read(path: Path) -> Planned:
    """The plan in `path`, checked; raise `Refusal` in one line for anything else."""
    try:
        value = json.loads(text_of(path, most=MOST_BYTES))
    except FileNotFoundError:
        raise Refusal(f"There is no {visible(path.name, limit=60)}.", do=_AGAIN) from None
    except OSError as error:
        raise Refusal(f"{path.name} cannot be read: {error.strerror}.", do=_AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{path.name} is not valid JSON: {visible(error, limit=120)}.", do=_AGAIN) from None
    return parse(value, name=path.name)


def text_of(path: Path, *, most: int) -> str:
    """The text of a file that somebody else wrote: an ordinary one of at most `most` bytes, or `OSError`."""
    found = path.lstat()
    # A link may lead anywhere, and a device never ends.
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no ordinary file")
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes, and at most {most:,} are read")
    return path.read_text(encoding="utf-8")


def parse(value: Any, *, name: str) -> Planned:
    """The plan in a JSON value; raise `Refusal` that says what is wrong with it."""
    if not isinstance(value, dict) or not isinstance(value.get("models"), list):
        raise Refusal(f"{name} is no plan: it has no list of models.", do=_AGAIN)
    head = value.get("head")
    if not isinstance(head, str) or not _COMMIT.fullmatch(head):
        raise Refusal(f"{name} is no plan: head is no commit.", do=_AGAIN)
    if not isinstance(value.get("writable"), bool):
        raise Refusal(f"{name} is no plan: writable is neither true nor false.", do=_AGAIN)
    models: dict[str, tuple[str, ...]] = {}
    for n, one in enumerate(value["models"]):
        model = one.get("model") if isinstance(one, dict) else None
        # The name becomes a part of a path.
        if not isinstance(model, str) or not _NAME.fullmatch(model):
            raise Refusal(f"{name} is no plan: models[{n}] has no name of a model.", do=_AGAIN)
        if model in models:
            raise Refusal(f"{name} is no plan: {model} is in it twice.", do=_AGAIN)
        reasons = one.get("reasons")
        if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
            raise Refusal(f"{name} is no plan: the reasons of {model} are no list of texts.", do=_AGAIN)
        models[model] = tuple(reasons)
    return Planned(head=head, writable=value["writable"], models=models)
