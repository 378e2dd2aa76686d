"""Why this prediction? How it changes when one feature at a time takes the reference's typical value.

For any model, in one call of as many rows as there are features. The typical value is the middle number or the most
frequent text of the training rows, the manifest's golden row. The changes do not add up where features act together.
"""

from typing import Any

import numpy as np

from serve.model import Model
from serve.prediction import Floats
from serve.rows import Rows

METHOD = "one feature at a time takes the typical value of the training rows"


def variants(model: Model, row: Rows) -> Rows:
    """The row itself, then one row for each feature, in the model's order, with that feature typical."""
    size = len(model.columns.features) + 1
    numbers, texts = np.repeat(row.numbers, size, axis=0), np.repeat(row.texts, size, axis=0)
    for number, feature in enumerate(model.columns.features, start=1):
        is_number, place = model.columns.position(feature.name)
        target, typical = (numbers, model.golden.numbers) if is_number else (texts, model.golden.texts)
        target[number, place] = typical[0, place]
    return Rows(numbers, texts)


def changes(model: Model, found: Floats) -> list[dict[str, Any]]:
    """What each feature's own value adds to the prediction, the largest first, from the answers to `variants`.

    For classification the prediction is the probability of the class that was chosen.
    """
    values = found[:, found[0].argmax()] if found.ndim == 2 else found
    names = [feature.name for feature in model.columns.features]
    told = [
        {"feature": name, "change": float(values[0] - value)} for name, value in zip(names, values[1:], strict=True)
    ]
    return sorted(told, key=lambda one: -abs(one["change"]))
