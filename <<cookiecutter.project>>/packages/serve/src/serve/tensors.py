"""The Open Inference Protocol (V2): one tensor for each feature, and one for each part of the prediction."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic_core import SchemaValidator, ValidationError, core_schema

from serve.errors import Refused
from serve.model import Model
from serve.prediction import Floats
from serve.rows import Ids, Reader, explained

WHOLE = {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
ACCEPTED = {"int": WHOLE, "float": WHOLE | {"FP16", "FP32", "FP64"}, "bool": {"BOOL"}, "str": {"BYTES"}}
DATATYPES = {"int": "INT64", "float": "FP64", "bool": "BOOL", "str": "BYTES"}
MOST_TENSORS = 10_000


def _object(**fields: core_schema.TypedDictField) -> core_schema.CoreSchema:
    return core_schema.typed_dict_schema(fields, extra_behavior="forbid", strict=True)


def _text(longest: int) -> core_schema.CoreSchema:
    return core_schema.str_schema(strict=True, max_length=longest)


def _request() -> SchemaValidator:
    field = core_schema.typed_dict_field
    parameters = field(core_schema.dict_schema(_text(200), core_schema.any_schema(), strict=True), required=False)
    size = core_schema.int_schema(strict=True, ge=0, le=2**31)
    tensor = _object(
        name=field(_text(500)),
        shape=field(core_schema.list_schema(size, min_length=1, max_length=2, strict=True)),
        datatype=field(_text(10)),
        data=field(core_schema.list_schema(strict=True)),
        parameters=parameters,
    )
    output = _object(name=field(_text(500)), parameters=parameters)
    return SchemaValidator(
        _object(
            id=field(_text(200), required=False),
            parameters=parameters,
            inputs=field(core_schema.list_schema(tensor, min_length=1, max_length=MOST_TENSORS, strict=True)),
            outputs=field(core_schema.list_schema(output, max_length=100, strict=True), required=False),
        )
    )


REQUEST = _request()


def read(
    body: bytes, model: Model, reader: Reader, *, most_rows: int
) -> tuple[dict[str, Any], list[dict[str, Any]], Ids | None]:
    """The request, its rows, checked by the same rules as any other, and their ids (`parameters.ids`) where given.

    The `id` of a request names the request: clients count it up, so it is never taken for that of a row.
    """
    try:
        request = REQUEST.validate_json(body)
    except ValidationError as error:
        raise explained(error, set()) from None
    kinds = {feature.name: feature.dtype for feature in model.columns.features}
    columns: dict[str, list[Any]] = {}
    count = request["inputs"][0]["shape"][0]
    if not 1 <= count <= most_rows:
        raise Refused(422, f"inputs[0].shape: the first size must be 1 to {most_rows}.")
    for number, tensor in enumerate(request["inputs"]):
        where, name = f"inputs[{number}]", tensor["name"]
        if name not in kinds or name in columns:
            raise Refused(422, f"{where}.name: it is no feature of the model, or stands there twice.")
        if tensor["datatype"] not in ACCEPTED[kinds[name]]:
            raise Refused(422, f"{where}.datatype: this feature is {DATATYPES[kinds[name]]}.")
        if tensor["shape"] not in ([count], [count, 1]):
            raise Refused(422, f"{where}.shape: every input must have the shape [rows] or [rows, 1].")
        columns[name] = _flat(tensor["data"], count, where)
    rows = reader.check([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    given = request.get("parameters", {})
    return request, rows, reader.ids(given["ids"], rows) if "ids" in given else None


def _flat(data: list[Any], count: int, where: str) -> list[Any]:
    """The values of a column, given as [a, b] or as [[a], [b]]."""
    if len(data) != count:
        raise Refused(422, f"{where}.data: there are not as many values as the shape says.")
    if all(isinstance(one, list) and len(one) == 1 for one in data):
        return [one[0] for one in data]
    return data


def outputs(model: Model, found: Floats, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tensors that were asked for; all, when none is named."""
    wanted = {one["name"] for one in request.get("outputs", [])}
    known = {one["name"] for one in described(model)}
    if not wanted <= known:
        raise Refused(422, f"outputs: the model gives {', '.join(sorted(known))}.")
    values: dict[str, Any] = {"value": found}
    if model.classes:
        values = {"label": [model.classes[place] for place in found.argmax(axis=1)], "probabilities": found}
    return [
        {**one, "shape": [len(found), *one["shape"][1:]], "data": np.asarray(values[one["name"]]).ravel().tolist()}
        for one in described(model)
        if not wanted or one["name"] in wanted
    ]


def metadata(model: Model) -> dict[str, Any]:
    """What the protocol says of a model."""
    inputs = [
        {"name": feature.name, "datatype": DATATYPES[feature.dtype], "shape": [-1]}
        for feature in model.columns.features
    ]
    return {
        "name": model.name,
        "versions": [model.version.name],
        "platform": "scikit-learn_skops",
        "inputs": inputs,
        "outputs": described(model),
    }


def described(model: Model) -> list[dict[str, Any]]:
    """The output tensors, without their data."""
    if not model.classes:
        return [{"name": "value", "datatype": "FP64", "shape": [-1]}]
    kind = {bool: "BOOL", int: "INT64", float: "FP64"}.get(type(model.classes[0]), "BYTES")
    return [
        {"name": "label", "datatype": kind, "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(model.classes)]},
    ]
