"""Is a row at serving what it was at training? Training-serving skew, by replay and by the source; pure.

**Replay**: the logged features are predicted again by the same version; the service must have said the same.
**Source**: a row whose `id` was logged is looked up in the model's source; its features must be those that were served.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops.errors import counted
from mlops.watching.findings import Finding

Floats = NDArray[np.float64]
CLOSE = 1e-5
"""How far two predictions of one row may lie apart, absolutely and relatively: as far as the service's runtimes may."""
RARE = 0.001
"""Share of rows that may differ by more: a rounded number may fall on the other side of a tree's threshold."""
CHANGED = 0.05
"""Share of rows in which a feature may differ from the source, where rows are mended later."""


def replayed(logged: Floats, again: Floats) -> Finding:
    """Whether the service said what the version says: (n,) values or (n, k) probabilities, of the same rows."""
    if not len(logged):
        return Finding(kind="skew", outcome="not evaluated", sentence="No logged row could be predicted again.")
    near = np.isclose(logged, again, rtol=CLOSE, atol=CLOSE).reshape(len(logged), -1).all(axis=1)
    other, rows = int((~near).sum()), counted(len(logged), "logged row")
    detail = {"rows": len(logged), "differ": other, "most": float(np.abs(logged - again).max())}
    if other > RARE * len(logged):
        said = (
            f"The service does not say what this version says: {other:,} of {rows}, predicted again, differ "
            f"(by up to {detail['most']:.3g}). Was another model or another library served under its name?"
        )
        return Finding(kind="skew", outcome="alarm", sentence=said, detail=detail)
    said = f"Predicted again, {rows} gave what the service said."
    return Finding(kind="skew", outcome="quiet", sentence=said, detail=detail)


def compared(
    served: pl.DataFrame, source: pl.DataFrame, features: Sequence[str], *, on: str, minimum_rows: int
) -> Finding:
    """Whether features were served as the source has them; both frames have the features and the id `on`, each once."""
    both = served.join(source, on=on, suffix="\0source")
    if both.height < minimum_rows:
        said = (
            f"{counted(both.height, 'logged row')} could be found in the source by id, and {minimum_rows} are needed "
            "to compare their features."
        )
        return Finding(kind="skew", outcome="not evaluated", sentence=said, detail={"joined": both.height})
    shares = {name: _differing(both, name) for name in features}
    changed = {name: share for name, share in shares.items() if share > CHANGED}
    detail: dict[str, object] = {"joined": both.height, "changed": changed}
    if changed:
        named = ", ".join(f"{name} in {share:.0%}" for name, share in _most(changed))
        rows = counted(both.height, "row")
        said = f"Of {rows} found by id, features were served otherwise than the source has them: {named}."
        return Finding(kind="skew", outcome="alarm", sentence=said, detail=detail)
    said = f"{counted(both.height, 'row')} found by id were served with the features that the source has."
    return Finding(kind="skew", outcome="quiet", sentence=said, detail=detail)


def _differing(both: pl.DataFrame, name: str) -> float:
    one, other = pl.col(name), pl.col(f"{name}\0source")
    if both[name].dtype.is_float():
        other = other.cast(pl.Float64)
        # Missing is missing, whether null or NaN.
        one, other = one.fill_nan(None), other.fill_nan(None)
        same = ((one - other).abs() <= CLOSE * pl.max_horizontal(one.abs(), other.abs(), 1.0)) | (one == other)
    else:
        same = one == other.cast(both[name].dtype, strict=False)
    differs = pl.when(one.is_null() | other.is_null()).then(one.is_null() != other.is_null()).otherwise(~same)
    return float(both.select(differs.mean()).item())


def _most(shares: Mapping[str, float], most: int = 5) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda item: -item[1])[:most]
