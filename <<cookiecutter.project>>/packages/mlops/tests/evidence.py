"""Evidence as the gate writes it, made up but coherent: what the reporting tests feed to the reports."""

import copy
import random
from typing import Any

FEATURES = ("mean_radius", "mean_texture", "mean_area", "mean_smoothness", "mean_concavity", "mean_symmetry")
NUMBERS = {"roc_auc": (0.9713, 0.9841), "average_precision": (0.9622, 0.9768), "log_loss": (0.1402, 0.1187)}
ERRORS = {"rmse": (56.12, 54.31), "mae": (45.9, 44.2), "r2": (0.4312, 0.4655)}


def sample(
    model: str = "tumour", *, verdict: str = "passed", task: str = "classification", first: bool = False
) -> dict[str, Any]:
    """One model's evidence: `first` has no champion, a `failed` one is worse, `not evaluated` is incomparable."""
    pairs = NUMBERS if task == "classification" else ERRORS
    if verdict == "failed":
        pairs = {name: (challenger, champion) for name, (champion, challenger) in pairs.items()}
    primary = next(iter(pairs))
    comparison = None if first or verdict == "not evaluated" else _comparison(pairs, primary, verdict == "failed")
    evaluation = _evaluation(pairs, primary, task)
    champion = {
        "version": "0f1e2d3c4b5a",
        "commit": "9b2d4c7e1f3a5b6c8d9e0f1a2b3c4d5e6f708192",
        "contract": _contract(16.0),
        "explanation": _explanation(primary, 3),
        "cost": _cost(0.9),
        "spent": _spent(2.0),
    }
    return {
        "model": model,
        "task": task,
        "owner": "@acme/care",
        "description": "Is the mass malignant?",
        "version": "a1b2c3d4e5f6",
        "verdict": _verdict(verdict, first, primary),
        "standing": "first" if first else "compared" if comparison else "incomparable",
        "comparison": comparison,
        "metrics": {name: challenger for name, (_, challenger) in pairs.items()} | {"rows": 143},
        "evaluation": evaluation,
        "training": {
            "folds": 5,
            "scores": {
                name: {
                    "mean": value * 0.99,
                    "std": abs(value) * 0.012,
                    "folds": [value * (0.97 + n / 100) for n in range(5)],
                }
                for name, (_, value) in pairs.items()
            },
        },
        "params": {
            "params": {"estimator": "forest", "trees": 200, "seed": 7},
            "tuned": True,
            "candidates": 12,
            "score": 0.98,
        },
        "explanation": _explanation(primary, 5),
        "cost": _cost(1.0),
        "spent": _spent(3.0),
        "budget": {"runner": "ubuntu-24.04", "minutes": 60, "price": 0.008, "cost": 0.0, "kwh": 0.0, "country": "DEU"},
        "age": _age(primary),
        "retrain": {"every_days": 30, "age_days": 0},
        "contract": _contract(50.0) | {"source": "1" * 64},
        "check": {
            "passed": True,
            "rows": 399,
            "as_of": "2026-07-01",
            "newest": "2026-06-29",
            "contract": "1" * 64,
            "violations": [],
        },
        "lineage": {
            "commit": "3c5f7a9b1d2e4f60718293a4b5c6d7e8f9012345",
            "modified": False,
            "data": "d" * 64,
            "contract": "1" * 64,
            "params": {"estimator": "forest", "trees": 200},
            "seed": 7,
        },
        "thresholds": {
            "margin": 0.01,
            "slice_margin": 0.05,
            "minimum_support": 30,
            "champion": "compare",
            "reason": "",
            "floors": {primary: 0.9 if task == "classification" else 70.0},
        },
        "champion": None if first else champion,
        "drift": None
        if first
        else [
            {"column": name, "psi": psi, "moved": psi > 0.2}
            for name, psi in zip(FEATURES, (0.31, 0.08, 0.05, 0.03, 0.02, 0.01), strict=True)
        ],
        "profiles": {"challenger": _profile(1.0), "champion": None if first else _profile(0.0)},
    }


def many(count: int) -> list[dict[str, Any]]:
    """That many models; every seventh failed, every eleventh was not evaluated, every thirteenth is new."""
    kinds = {name: sample(verdict=name) for name in ("passed", "failed", "not evaluated")} | {"new": sample(first=True)}
    found = []
    for n in range(count):
        kind = "failed" if n % 7 == 3 else "not evaluated" if n % 11 == 5 else "new" if n % 13 == 6 else "passed"
        found.append(kinds[kind] | {"model": f"model_{n:04}"})
    return found


def blank(value: Any) -> list[Any]:
    """Copies of `value`, each with one of its parts, at any depth, set to None."""
    return [replaced(value, path, None) for path in paths(value) if path]


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every part of `value`: keys and indices from the top; of a list its first part, all are alike."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    return [before] + [path for key, item in inner for path in paths(item, (*before, key))]


def strings(value: Any, hostile: str) -> Any:
    """`value` with every text in it, keys of free tables included, replaced by `hostile`."""
    if isinstance(value, str):
        return hostile
    if isinstance(value, list):
        return [strings(item, hostile) for item in value]
    if isinstance(value, dict):
        free = {"params", "metrics", "overall", "scores", "floors", "extra"}
        return {
            key: {f"{hostile}{n}": strings(part, hostile) for n, part in enumerate(item.values())}
            if key in free and isinstance(item, dict) and not set(item) & {"params", "tuned"}
            else strings(item, hostile)
            for key, item in value.items()
        }
    return value


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of `value` with another part at `path`."""
    changed = copy.deepcopy(value)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return changed


def _verdict(verdict: str, first: bool, primary: str) -> dict[str, Any]:
    comparable = "Champion 0f1e2d3c4b5a and challenger are compared on the same 131 rows."
    rules = {
        "current": ("passed", "The evaluation is of this export, made from these inputs."),
        "contract": ("passed", "The data contract holds on 399 rows."),
        "floors": ("passed", f"Every floor holds: {primary} 0.984 (floor 0.900)."),
        "baseline": ("passed", f"{primary} is 0.480 better than the baseline (95 % interval 0.460 to 0.500)."),
        "comparable": ("passed", comparable),
        "champion": (
            "passed",
            f"{primary} rose by 0.013 (95 % interval 0.003 to 0.023); at most 0.010 worse is allowed.",
        ),
        "slices": ("passed", "2 slice(s) are not worse by more than 0.050."),
    }
    if first:
        said = "This is the first version of the model: it is compared with the baseline only."
        rules |= dict.fromkeys(("comparable", "champion", "slices"), ("not applied", said))
    elif verdict == "failed":
        said = f"{primary} fell by 0.013 (95 % interval -0.023 to -0.003); at most 0.010 is allowed."
        rules["champion"] = ("failed", said)
        said = f"{primary} fell by 0.013 in the slice 'large nuclei' (60 rows); at most 0.005 is allowed."
        rules["slices"] = ("failed", said)
    elif verdict == "not evaluated":
        said = "The champion 0f1e2d3c4b5a cannot be compared: its feature mean_fractal_dimension is gone."
        rules |= dict.fromkeys(("comparable", "champion", "slices"), ("not evaluated", said))
    blocking = [sentence for outcome, sentence in rules.values() if outcome in ("failed", "not evaluated")]
    return {
        "verdict": verdict,
        "reasons": list(dict.fromkeys(blocking or [sentence for _, sentence in rules.values()])),
        "rules": [{"rule": name, "outcome": found[0], "sentence": found[1]} for name, found in rules.items()],
    }


def _difference(value: float, width: float) -> dict[str, float]:
    return {"value": value, "low": value - width, "high": value + width}


def _comparison(pairs: dict[str, tuple[float, float]], primary: str, worse: bool) -> dict[str, Any]:
    sign = -1 if worse else 1
    champion, challenger = pairs[primary]
    gain = sign * abs(challenger - champion)
    return {
        "champion": "0f1e2d3c4b5a",
        "champion_commit": "9b2d4c7e1f3a5b6c8d9e0f1a2b3c4d5e6f708192",
        "rows": 131,
        "rows_left_out": 12,
        "primary": primary,
        "metrics": {
            name: {
                "champion": old,
                "challenger": new,
                "difference": _difference(sign * abs(new - old), 0.8 * abs(new - old)),
            }
            for name, (old, new) in pairs.items()
        },
        "slices": [
            {
                "name": name,
                "rows": rows,
                "champion": champion * scale,
                "challenger": challenger * scale,
                "difference": _difference(gain * scale, abs(gain) * width),
            }
            for name, rows, scale, width in (("small nuclei", 71, 0.98, 1.4), ("large nuclei", 60, 0.99, 0.7))
        ],
    }


def _evaluation(pairs: dict[str, tuple[float, float]], primary: str, task: str) -> dict[str, Any]:
    dice = random.Random(7)
    value = pairs[primary][1]
    overall = {name: {"value": new, "low": new * 0.98, "high": new * 1.01} for name, (_, new) in pairs.items()}
    classify = task == "classification"
    steps = [n / 40 for n in range(41)]
    return {
        "rows": 143,
        "primary": primary,
        "confidence": 0.95,
        "overall": overall,
        "slices": [
            {
                "name": name,
                "where": where,
                "rows": rows,
                "metrics": {
                    primary: {"value": value * scale, "low": value * scale * 0.96, "high": value * scale * 1.01}
                },
            }
            for name, where, rows, scale in (
                ("small nuclei", "mean_radius < 13", 78, 0.98),
                ("large nuclei", "mean_radius >= 13", 65, 0.99),
            )
        ],
        "baseline": {
            "name": "prior",
            "metrics": {primary: 0.5 if classify else 77.3},
            "difference": _difference(0.48, 0.02),
        },
        "linear": {"name": "linear", "metrics": {primary: value * 0.99}, "difference": _difference(0.004, 0.006)},
        "calibration": {
            "bins": [
                {
                    "predicted": p / 10 + 0.05,
                    "observed": min(1.0, max(0.0, p / 10 + 0.05 + dice.uniform(-0.1, 0.1))),
                    "count": c,
                }
                for p, c in enumerate((61, 14, 6, 4, 2, 3, 4, 5, 9, 35))
            ],
            "error": 0.0312,
        },
        "sensitivity": [{"feature": name, "change": 0.03 / (n + 1)} for n, name in enumerate(FEATURES)],
        "fairness": [
            {
                "group": "texture",
                "metric": primary,
                "by": [
                    {"value": "smooth", "rows": 74, "score": value},
                    {"value": "rough", "rows": 69, "score": value * 0.97},
                ],
                "gap": value * 0.03,
                "extra": {"demographic_parity_difference": 0.21, "equalized_odds_difference": 0.05} if classify else {},
            }
        ],
        "curves": {
            "roc": [[x, min(1.0, x**0.06)] for x in steps],
            "precision_recall": [[x, 1 - 0.4 * x**9] for x in steps],
        }
        if classify
        else {},
        "confusion": {"labels": ["0", "1"], "counts": [[86, 4], [5, 48]]} if classify else None,
        "residuals": None if classify else [[dice.uniform(60, 260), dice.gauss(0, 54)] for _ in range(143)],
    }


def _explanation(primary: str, best: int) -> dict[str, Any]:
    features = sorted(
        ({"feature": name, "importance": abs(best - n) / 40 + 0.004, "std": 0.004} for n, name in enumerate(FEATURES)),
        key=lambda one: -float(str(one["importance"])),
    )
    return {"method": "permutation", "metric": primary, "features": features, "shap": None}


def _cost(scale: float) -> dict[str, Any]:
    return {
        "latency_ms": {
            "rows_1": {"p50": 2.6 * scale, "p95": 3.9 * scale},
            "rows_1000": {"p50": 21.0 * scale, "p95": 25.5 * scale},
        },
        "size_bytes": int(1_482_112 * scale),
    }


def _spent(minutes: float) -> dict[str, Any]:
    parts = {"tune": 0.25, "train": 0.5, "evaluate": 0.125, "explain": 0.125}
    return {
        "seconds": {stage: minutes * 60 * share for stage, share in parts.items()},
        "minutes": minutes,
        "kwh": 0.00125 * minutes,
        "kg_co2e": 0.0005 * minutes,
        "country": "DEU",
        "cost": 0.008 * minutes,
    }


def _age(primary: str) -> dict[str, Any]:
    losses = ((30.5, 0.004, 0.001, 0.007, 300), (61.0, 0.014, 0.009, 0.02, 250), (91.5, 0.021, 0.013, 0.03, 200))
    return {
        "metric": primary,
        "sentence": "After 48 days the score has fallen by the margin of 0.01: retrain at least that often.",
        "first": "2025-07-02",
        "last": "2026-06-29",
        "margin": 0.01,
        "points": [dict(zip(("days", "loss", "low", "high", "rows"), one, strict=True)) for one in losses],
        "recommended_days": 48,
        "alarm_days": None,
    }


def _contract(most: float) -> dict[str, Any]:
    columns: list[dict[str, Any]] = [
        _column("biopsy", "int", role="id", unique=True),
        _column("examined_on", "date", role="time"),
        *(
            _column(name, "float", checks=[{"kind": "ge", "value": 0.0}, {"kind": "le", "value": most}])
            for name in FEATURES
        ),
        _column("malignant", "int", role="target", checks=[{"kind": "isin", "value": [0, 1]}]),
    ]
    if most < 50:
        columns.append(_column("mean_fractal_dimension", "float"))
    else:
        columns.append(_column("clinic", "str", role="context", personal=True))
    return {
        "source": "2" * 64,
        "owner": "@acme/care",
        "description": "Biopsies",
        "freshness_days": 30,
        "strict": True,
        "unique_together": [],
        "custom": [],
        "columns": columns,
    }


def _column(
    name: str, dtype: str, *, role: str = "feature", unique: bool = False, personal: bool = False, checks: Any = ()
) -> dict[str, Any]:
    return {
        "name": name,
        "dtype": dtype,
        "nullable": False,
        "unique": unique,
        "required": True,
        "checks": list(checks),
        "custom": [],
        "role": role,
        "personal": personal,
        "description": f"The {name.replace('_', ' ')}",
    }


def _profile(shift: float) -> dict[str, Any]:
    dice = random.Random(11)
    numbers = {
        name: {
            "kind": "number",
            "edges": [10.0 + n for n in range(9)],
            "counts": [max(1, int(26 + shift * (n - 5) * 3 + dice.uniform(-4, 4))) for n in range(10)],
            "missing": 0,
            "mean": 14.0 + shift,
            "std": 3.1,
            "min": 6.9,
            "max": 28.1 + shift,
        }
        for name in FEATURES
    }
    clinics = {"kind": "category", "counts": {"north": 140, "south": int(90 + 20 * shift)}, "other": 6, "missing": 0}
    return {"rows": 256, "columns": numbers | {"clinic": clinics}}
