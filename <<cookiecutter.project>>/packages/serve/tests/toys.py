"""Toy models, exported as `mlops train` exports them, and a client for a running service."""

import contextlib
import http.client
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlops.data.contract import Check, Column, Contract
from mlops.data.profile import profile
from mlops.learning import export, frames
from serve.service import Service

CONTRACT = Contract(
    source="0" * 64,
    owner="@acme/care",
    description="Toy rows",
    freshness_days=None,
    columns=(
        Column(name="key", dtype="int", role="id", unique=True),
        Column(name="size", dtype="float", nullable=True, checks=(Check("ge", 0), Check("le", 1000))),
        Column(name="count", dtype="int", checks=(Check("ge", 0), Check("lt", 100))),
        Column(name="marked", dtype="bool", description="Whether it has a mark"),
        Column(name="kind", dtype="str", nullable=True, checks=(Check("isin", ["a", "b", "ü"]),)),
        Column(name="city", dtype="str", required=False, personal=True, checks=(Check("str_matches", "[A-Z]"),)),
        Column(name="outcome", dtype="int", role="target"),
    ),
)


def rows(n: int = 160, seed: int = 0, task: str = "classification") -> pl.DataFrame:
    """Toy rows of every feature type, with missing values, whose outcome follows `size`, `marked` and `kind`."""
    rng = np.random.default_rng(seed)
    size, marked, kind = rng.uniform(0, 10, n), rng.random(n) < 0.4, rng.choice(["a", "b", "ü"], n)
    raw = size + 4 * marked + 2 * (kind == "ü") + rng.normal(0, 1, n)
    frame = pl.DataFrame(
        {
            "key": np.arange(n),
            "size": size,
            "count": rng.integers(0, 9, n),
            "marked": marked,
            "kind": kind.tolist(),
            "city": rng.choice(["Rome", "Oslo"], n).tolist(),
            "outcome": (raw > 7).astype(int) if task == "classification" else raw,
        }
    )
    gaps = pl.col("key") % 17 == 3
    return frame.with_columns(pl.when(~gaps).then(pl.col(name)).alias(name) for name in ("size", "kind"))


def features(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as a client would send them."""
    return frame.drop("key", "outcome").to_dicts()


def prepared(estimator: Any) -> Any:
    """A pipeline like those of the scaffold."""
    return make_pipeline(
        ColumnTransformer(
            [
                (
                    "numbers",
                    make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
                    make_column_selector(dtype_include="number"),
                ),
                (
                    "categories",
                    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                    make_column_selector(dtype_exclude="number"),
                ),
            ],
            verbose_feature_names_out=False,
        ),
        estimator,
    )


def exported(
    folder: Path, estimator: Any, task: str = "classification", name: str = "toy", runtime: str = "sklearn"
) -> export.Exported:
    """`estimator`, fitted on toy rows and exported to `folder`."""
    frame = rows(task=task)
    X = frames.features(frame, frames.of_contract(CONTRACT), where="toy")
    estimator.fit(X, frames.target(frame, "outcome", task=task, where="toy"))
    columns = [column for column in CONTRACT.columns if column.role in ("feature", "target")]
    return export.write(
        folder,
        model=name,
        task=task,
        estimator=estimator,
        contract=CONTRACT,
        train=frame,
        split={"method": "time"},
        profile=profile(frame, columns, 10),
        lineage={"commit": None, "seed": 7, "as_of": "2026-07-01"},
        runtime=runtime,
    )


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Running:
    """A service on a port of this machine."""

    service: Service
    port: int
    token: str = ""

    def get(self, path: str, **headers: str) -> Answer:
        """GET a path."""
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, value: Any, **headers: str) -> Answer:
        """POST a value as JSON; bytes are sent as they are."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask("POST", path, body, {"Content-Type": "application/json", **headers})

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): v for name, v in (headers or {}).items()})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def send(self, data: bytes, *, close: bool = False) -> bytes:
        """Raw bytes, and whatever comes back until the service closes or stays silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
                if close:
                    connection.shutdown(socket.SHUT_WR)
            found = b""
            connection.settimeout(0.5)
            with contextlib.suppress(OSError):
                while part := connection.recv(65536):
                    found += part
            return found


Start = Callable[..., Running]
