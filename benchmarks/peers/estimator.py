"""What the hand-written peers share: the estimator that MODEL names, asked with a frame, as its documentation shows."""

import os
from typing import Any

import pandas as pd
import skops.io

PATH = os.environ["MODEL"]
ESTIMATOR = skops.io.load(PATH, trusted=skops.io.get_untrusted_types(file=PATH))


def probabilities(rows: list[dict[str, float]]) -> list[Any]:
    """The probabilities of each row."""
    return ESTIMATOR.predict_proba(pd.DataFrame(rows, columns=ESTIMATOR.feature_names_in_)).tolist()
