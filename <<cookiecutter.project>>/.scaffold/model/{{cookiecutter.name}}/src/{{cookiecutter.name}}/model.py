"""What is fitted: `build` turns the parameters of `model.toml` into an estimator."""

from typing import Any

from sklearn.compose import ColumnTransformer, make_column_selector
#? if cookiecutter.task == "classification"
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
#? else
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
#? endif
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ESTIMATORS = ("linear", "forest", "boosting", "neighbours")


def build(params: dict[str, Any]) -> Pipeline:
    """A new, unfitted pipeline; `params` is `[train.params]`, and `seed` comes from `[train]`.

    `fit` gets a pandas DataFrame with the features of the contract and a Series with the target.
    """
    return Pipeline([("prepare", _prepare()), ("estimate", _estimator(**params))])


def _prepare() -> ColumnTransformer:
    """Numbers are filled in and scaled, categories become indicators."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("categories", categories, make_column_selector(dtype_exclude="number")),
        ],
        verbose_feature_names_out=False,
    )


#? if cookiecutter.task == "classification"
def _estimator(
    *, estimator: str, seed: int = 0, strength: float = 1.0, trees: int = 200, rate: float = 0.1, near: int = 15
) -> Any:
    """The estimator by name; each of the other parameters concerns one or two of them."""
    match estimator:
        case "linear":
            return LogisticRegression(C=strength, max_iter=2000, random_state=seed)
        case "forest":
            return RandomForestClassifier(n_estimators=trees, random_state=seed)
        case "boosting":
            return HistGradientBoostingClassifier(max_iter=trees, learning_rate=rate, random_state=seed)
        case "neighbours":
            return KNeighborsClassifier(n_neighbors=near)
    raise ValueError(f"estimator is {estimator!r}; it can be {', '.join(ESTIMATORS)}")
#? else
def _estimator(
    *, estimator: str, seed: int = 0, strength: float = 1.0, trees: int = 200, rate: float = 0.1, near: int = 15
) -> Any:
    """The estimator by name; each of the other parameters concerns one or two of them."""
    match estimator:
        case "linear":
            return Ridge(alpha=1 / strength, random_state=seed)
        case "forest":
            return RandomForestRegressor(n_estimators=trees, random_state=seed)
        case "boosting":
            return HistGradientBoostingRegressor(max_iter=trees, learning_rate=rate, random_state=seed)
        case "neighbours":
            return KNeighborsRegressor(n_neighbors=near)
    raise ValueError(f"estimator is {estimator!r}; it can be {', '.join(ESTIMATORS)}")
#? endif
