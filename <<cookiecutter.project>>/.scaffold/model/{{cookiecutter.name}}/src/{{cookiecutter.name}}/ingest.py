"""Where rows come from. Replace `read` with your own source, or name one in `model.toml` under `[data] source`.

`read` is called for `source = "replay"` only: it plays real, bundled data back over time, so that new rows arrive
as the day advances.
"""

import datetime as dt

import polars as pl
#? if cookiecutter.task == "classification"
from sklearn.datasets import load_breast_cancer

#? else
from sklearn.datasets import load_diabetes

#? endif
START = dt.date(2023, 1, 1)
END = dt.date(2028, 1, 1)


def read(as_of: dt.date) -> pl.DataFrame:
    """All rows up to and including `as_of`, in the contract's columns, oldest first."""
    frame = _rows()
    # Bundled files are sorted by how they were collected; a fixed shuffle keeps every period alike.
    frame = frame.sample(fraction=1.0, shuffle=True, seed=7)
    days = pl.int_range(frame.height) * (END - START).days // frame.height
    frame = frame.with_columns((pl.lit(START) + pl.duration(days=days)).alias(TIME))
    return frame.filter(pl.col(TIME) <= as_of)


#? if cookiecutter.task == "classification"
TIME = "examined_on"


def _rows() -> pl.DataFrame:
    """The Wisconsin diagnostic breast-cancer data: 569 biopsies."""
    bunch = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in bunch.feature_names]
    frame = pl.DataFrame(bunch.data, schema=names).select(name for name in names if name.startswith("mean_"))
    malignant = pl.Series("malignant", bunch.target == list(bunch.target_names).index("malignant")).cast(pl.Int64)
    return frame.with_columns(malignant).with_row_index("biopsy").with_columns(pl.col("biopsy").cast(pl.Int64))
#? else
TIME = "seen_on"
NAMES = [
    "age",
    "sex",
    "bmi",
    "blood_pressure",
    "total_cholesterol",
    "ldl",
    "hdl",
    "cholesterol_ratio",
    "log_triglycerides",
    "glucose",
]


def _rows() -> pl.DataFrame:
    """The diabetes data of Efron et al. in its original units: 442 patients."""
    bunch = load_diabetes(scaled=False)
    frame = pl.DataFrame(bunch.data, schema=NAMES).with_columns(pl.Series("progression", bunch.target))
    frame = frame.with_columns(pl.col("sex").cast(pl.Int64).cast(pl.String))
    return frame.with_row_index("patient").with_columns(pl.col("patient").cast(pl.Int64))
#? endif
