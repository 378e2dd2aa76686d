"""What a client gets: the model's predictions, an honest description, limits that hold, and a token that counts."""

import dataclasses
import http.client
import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hostile_requests import GOOD, ROW
from prometheus_client.parser import text_string_to_metric_families
from sklearn.linear_model import LogisticRegression
from toys import CONTRACT, Running, Start, exported, features, prepared, rows

from mlops.learning import export
from serve.measures import Measures
from serve.service import Service

TOKEN = "a-token-of-some-length"


def test_predictions_are_those_that_were_measured(running: Running, toy: Path) -> None:
    """The same numbers as `mlops evaluate` scores, for each row, in order; the response names model and version."""
    new = rows(50, seed=3)
    answer = running.post("/predict", {"rows": features(new)})
    assert answer.status == 200
    value = answer.value
    expected = export.load(toy).predict(new)
    found = np.array([one["probabilities"] for one in value["predictions"]])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert [one["label"] for one in value["predictions"]] == expected.argmax(axis=1).tolist()
    assert value["classes"] == [0, 1]
    assert (value["model"], value["version"]) == ("toy", export.version(toy))


def test_a_regression_gives_values(start: Start, numbers: Path) -> None:
    new = rows(20, seed=3, task="regression")
    answer = start(numbers).post("/predict", {"rows": features(new)}).value
    expected = export.load(numbers).predict(new)
    assert [one["value"] for one in answer["predictions"]] == pytest.approx(expected.tolist(), rel=1e-12)


def test_what_may_be_left_out_may_be_left_out(running: Running) -> None:
    """An optional feature, and null where the contract allows it."""
    row = {**ROW, "size": None, "kind": None}
    del row["city"]
    assert running.post("/predict", {"rows": [row]}).status == 200


def test_every_response_names_the_version(running: Running) -> None:
    version = running.service.model.version.name
    answers = [
        running.get(path) for path in ("/v2/health/live", "/v2", "/model", "/metrics", "/nowhere", "/openapi.json")
    ]
    answers += [running.post("/predict", GOOD), running.post("/predict", b"{"), running.ask("PUT", "/predict")]
    for answer in answers:
        assert answer.headers["model-version"] == version, answer
        assert answer.headers["model-name"] == "toy"
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 404, 200, 200, 400, 405]
    assert f"model-version: {version}".encode() in running.send(b"nonsense\r\n\r\n")


def test_openapi_shows_the_fields_of_the_contract_and_an_example_that_works(running: Running) -> None:
    spec = running.get("/openapi.json").value
    body = spec["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    row = body["schema"]["properties"]["rows"]["items"]
    assert {name: row["properties"][name] for name in row["properties"]} == CONTRACT.request_schema()["properties"]
    for path in ("/predict", "/explain", "/v2/models/toy/infer"):
        content = spec["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        jsonschema.Draft202012Validator(content["schema"]).validate(content["example"])
        assert running.post(path, content["example"]).status == 200
    assert {"/predict", "/explain", "/model", "/metrics", "/v2/health/live", "/v2/health/ready"} <= set(spec["paths"])


@pytest.mark.parametrize(("path", "key"), [("/predict", "predictions"), ("/explain", "changes")])
def test_answers_are_what_openapi_says(path: str, key: str, running: Running) -> None:
    spec = running.get("/openapi.json").value["paths"][path]["post"]["responses"]
    value = running.post(path, {"rows": [ROW]} if path == "/predict" else {"row": ROW}).value
    jsonschema.Draft202012Validator(spec["200"]["content"]["application/json"]["schema"]).validate(value)
    assert value[key]
    wrong = running.post(path, {}).value
    jsonschema.Draft202012Validator(spec["422"]["content"]["application/json"]["schema"]).validate(wrong)


def test_errors_say_where_and_what(running: Running) -> None:
    def says(**changed: Any) -> str:
        return str(running.post("/predict", {"rows": [ROW, {**ROW, **changed}]}).value["error"])

    assert says(size=-1) == "rows[1].size: input should be greater than or equal to 0."
    assert says(kind="z") == "rows[1].kind: is none of the known values."
    assert says(count=True) == "rows[1].count: input should be a valid integer."
    assert says(colour=1) == "rows[1]: there is a field that the request may not have."
    assert running.post("/predict", {"rows": [{}]}).value["error"] == "rows[0].size: this field is required."
    assert running.post("/predict", b'{"rows": [').value["error"].startswith("The body is not valid JSON: ")


def _tensors(new: Any, nested: bool = False) -> list[dict[str, Any]]:
    kinds = {"size": "FP64", "count": "INT64", "marked": "BOOL", "kind": "BYTES", "city": "BYTES"}
    found = []
    for name, kind in kinds.items():
        data = new[name].to_list()
        found.append({"name": name, "datatype": kind, "shape": [len(data)], "data": data})
        if nested:
            found[-1] |= {"shape": [len(data), 1], "data": [[one] for one in data]}
    return found


@pytest.mark.parametrize("nested", [False, True])
def test_the_open_inference_protocol_gives_the_same_predictions(nested: bool, running: Running) -> None:
    new = rows(30, seed=4)
    plain = running.post("/predict", {"rows": features(new)}).value["predictions"]
    version = running.service.model.version.name
    for path in ("/v2/models/toy/infer", f"/v2/models/toy/versions/{version}/infer"):
        answer = running.post(path, {"id": "7", "inputs": _tensors(new, nested)}).value
        assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "toy", version)
        label, probabilities = answer["outputs"]
        assert label == {
            "name": "label",
            "datatype": "INT64",
            "shape": [30],
            "data": [one["label"] for one in plain],
        }
        assert (probabilities["datatype"], probabilities["shape"]) == ("FP64", [30, 2])
        assert probabilities["data"] == pytest.approx([share for one in plain for share in one["probabilities"]])
    only = running.post("/v2/models/toy/infer", {"inputs": _tensors(new), "outputs": [{"name": "label"}]}).value
    assert [one["name"] for one in only["outputs"]] == ["label"]
    assert "id" not in only


def test_the_protocol_describes_the_model(running: Running) -> None:
    version = running.service.model.version.name
    assert running.get("/v2").value == {"name": "toy", "version": version, "extensions": []}
    found = running.get("/v2/models/toy").value
    assert found["versions"] == [version]
    assert found["inputs"][0] == {"name": "size", "datatype": "FP64", "shape": [-1]}
    assert found["outputs"][1] == {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2]}
    assert running.get("/v2/models/toy/ready").value["ready"] is True
    assert running.get("/v2/models/other").status == 404


def test_an_explanation_is_what_replacing_a_feature_changes(running: Running) -> None:
    """Each change is the difference of two predictions that a client can ask for."""
    golden = running.service.model.manifest["golden"]["row"]
    row = {**ROW, "size": 9.5, "kind": "ü"}
    found = running.post("/explain", {"row": row}).value
    place = found["prediction"]["label"]

    def share(**changed: Any) -> float:
        answer = running.post("/predict", {"rows": [{**row, **changed}]}).value
        return float(answer["predictions"][0]["probabilities"][place])

    expected = {name: share() - share(**{name: golden[name]}) for name in row}
    assert {one["feature"]: one["change"] for one in found["changes"]} == pytest.approx(expected, abs=1e-12)
    sizes = [abs(one["change"]) for one in found["changes"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0.01
    assert all(one["change"] == 0 for one in running.post("/explain", {"row": golden}).value["changes"])


def test_the_model_tells_its_lineage_and_shows_its_card(start: Start, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "CARD.md").write_text("# Toy\n")
    found = start(toy, card=str(tmp_path / "CARD.md")).get("/model").value
    assert found["lineage"] == {"commit": None, "seed": 7, "as_of": "2026-07-01"}
    assert found["card"] == "# Toy\n"
    assert found["personal"] == ["city"]
    assert found["runtime"] == "swift"
    assert "golden" not in found


def test_metrics_count_what_happened(start: Start, toy: Path) -> None:
    service = start(toy)
    for _ in range(3):
        service.post("/predict", {"rows": [ROW, ROW]})
    service.post("/predict", b"{")
    service.get("/nowhere/" + "x" * 50)
    text = service.get("/metrics").body.decode()
    found = {one.name: one for one in text_string_to_metric_families(text)}
    counts = {(s.labels["route"], s.labels["code"]): s.value for s in found["serve_requests"].samples}
    assert {key: count for key, count in counts.items() if count} == {
        ("/predict", "200"): 3,
        ("/predict", "400"): 1,
        ("other", "404"): 1,
    }
    assert sum(sample.value for sample in found["serve_predicted_labels"].samples) == 6
    values = {s.name: s.value for s in found["serve_prediction"].samples if s.labels.get("le") in (None, "+Inf")}
    assert values["serve_prediction_count"] == 6
    assert 3 <= values["serve_prediction_sum"] <= 6
    durations = found["serve_request_duration_seconds"].samples
    assert {s.value for s in durations if s.name.endswith("_count") and s.labels["route"] == "/predict"} == {4}
    info = found["serve_model_info"].samples[0].labels
    assert info == {"model": "toy", "version": service.service.model.version.name, "runtime": "swift"}
    assert found["serve_ready"].samples[0].value == 1
    assert "process_resident_memory_bytes" in found


def test_every_number_of_the_service_says_whose_it_is(start: Start, toy: Path) -> None:
    """Counts of two versions, or of two models, are never taken together."""
    service = start(toy)
    service.post("/predict", {"rows": [ROW]})
    named = {"model": "toy", "version": service.service.model.version.name}
    families = text_string_to_metric_families(service.get("/metrics").body.decode())
    samples = [sample for family in families for sample in family.samples if sample.name.startswith("serve_")]
    assert len(samples) > 30
    assert [sample.name for sample in samples if not named.items() <= sample.labels.items()] == []


def test_failures_count_from_zero(start: Start, toy: Path) -> None:
    """Before anything was asked: a rate over a series that begins with its first failures would not see these."""
    service = start(toy)
    found = {one.name: one for one in text_string_to_metric_families(service.get("/metrics").body.decode())}
    counts = {(s.labels["route"], s.labels["code"]): s.value for s in found["serve_requests"].samples}
    version = service.service.model.version.name
    for route in ("/predict", "/explain", "/v2/models/toy/infer", f"/v2/models/toy/versions/{version}/infer"):
        assert {code: counts[route, code] for code in ("200", "500", "503")} == {"200": 0, "500": 0, "503": 0}
    assert not any(route == "/metrics" for route, _ in counts)


@pytest.mark.parametrize(
    ("lineage", "seconds"),
    [
        ({"as_of": "2026-07-01"}, 1782864000.0),
        ({}, None),
        ({"as_of": "1 July"}, None),
        ({"as_of": 20260701}, None),
    ],
)
def test_the_age_of_a_version_is_that_of_its_data_and_never_guessed(
    lineage: dict[str, Any], seconds: float | None, start: Start, toy: Path
) -> None:
    def spoil(service: Service) -> None:
        service.model.manifest["lineage"] = lineage
        service.measures = Measures(service.model, in_flight=lambda: 0, ready=lambda: True, most_requests=7)

    text = start(toy, spoil=spoil).get("/metrics").body.decode()
    found = {one.name: one.samples[0].value for one in text_string_to_metric_families(text) if one.samples}
    assert found.get("serve_model_data_timestamp_seconds") == seconds
    assert found["serve_requests_limit"] == 7


def test_metrics_are_named_as_prometheus_asks(running: Running) -> None:
    """Base units, `_total` on counters, one prefix for our own; a help text for each."""
    for family in text_string_to_metric_families(running.get("/metrics").body.decode()):
        assert family.documentation
        assert re.fullmatch(r"(serve|process|python)_[a-z_]+", family.name)
        if family.type == "counter":
            assert {s.name.removesuffix("_total") for s in family.samples if not s.name.endswith("_created")} <= {
                family.name
            }


def test_regression_values_are_counted_in_the_bins_of_the_target(start: Start, numbers: Path) -> None:
    service = start(numbers)
    service.post("/predict", {"rows": features(rows(40, seed=3, task="regression"))})
    found = {one.name: one for one in text_string_to_metric_families(service.get("/metrics").body.decode())}
    edges = [s.labels["le"] for s in found["serve_prediction"].samples if "le" in s.labels]
    profile = service.service.model.version.profile["columns"]["outcome"]["edges"]
    assert [float(edge) for edge in edges[:-1]] == profile


def test_a_token_guards_everything_but_health(start: Start, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    for service in (start(toy, token=TOKEN), start(toy, token_file=str(tmp_path / "token"))):
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert service.get(path).status == 200
        for path in ("/model", "/metrics", "/openapi.json", "/v2", "/v2/models/toy", "/nowhere"):
            refused = service.get(path)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert service.post("/predict", GOOD).status == 401
        for wrong in ("", TOKEN, "Bearer", "Bearer x", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}"):
            assert service.post("/predict", GOOD, Authorization=wrong).status == 401, wrong
        for right in (f"Bearer {TOKEN}", f"bearer {TOKEN}"):
            assert service.post("/predict", GOOD, Authorization=right).status == 200
        assert service.get("/model", Authorization=f"Bearer {TOKEN}").status == 200


def test_the_token_is_compared_in_constant_time(running: Running) -> None:
    """By the function that is made for it, and by nothing else."""
    source = (Path(__file__).parents[1] / "src" / "serve" / "app.py").read_text(encoding="utf-8")
    assert source.count("compare_digest") == 1
    assert source.count("_token") == len(re.findall(r"self\._token = |if self\._token and|self\._token\)", source))


def test_limits_hold(start: Start, toy: Path) -> None:
    service = start(toy, max_rows=3, max_bytes=2000)
    assert service.post("/predict", {"rows": [ROW] * 3}).status == 200
    assert service.post("/predict", {"rows": [ROW] * 4}).status == 422
    assert service.post("/v2/models/toy/infer", {"inputs": _tensors(rows(4))}).status == 422
    assert service.post("/predict", b" " * 2001).status == 413
    chunked = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert b" 413 " in service.send(chunked + b"7d1\r\n" + b" " * 2001 + b"\r\n0\r\n\r\n")


def test_a_body_that_does_not_come_is_not_waited_for(start: Start, toy: Path) -> None:
    service = start(toy, timeout=0.3)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head + b"{")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert service.service.in_flight == 0


def test_a_client_that_leaves_costs_nothing(start: Start, toy: Path) -> None:
    service = start(toy)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
            connection.sendall(head)
    deadline = time.monotonic() + 20
    while service.service.in_flight:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert service.post("/predict", GOOD).status == 200


def test_a_connection_serves_many_requests(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    for body, status in ((GOOD, 200), (b"{", 400), (b" " * 3_000_000, 413), (GOOD, 200)):
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (status, True)
    connection.close()


def test_a_failing_self_test_makes_it_not_ready_and_it_stays_alive(start: Start, toy: Path) -> None:
    """The breaker: once the model says something else of its golden row, nothing is sent here, nothing is predicted."""

    def spoil(service: Service) -> None:
        service._tested = float("-inf")

    service = start(toy, spoil=spoil)
    model = service.service.model
    right = model._plan
    model._plan = lambda rows: right(rows) * 0.99
    for path in ("/v2/health/ready", "/v2/models/toy/ready"):
        answer = service.get(path)
        assert (answer.status, answer.value["ready"]) == (503, False)
        assert "golden row" in answer.value["error"]
    assert service.get("/v2/health/live").status == 200
    refused = service.post("/predict", GOOD)
    assert refused.status == 503
    assert "retry-after" in refused.headers
    model._plan, service.service._tested = right, float("-inf")
    assert service.get("/v2/health/ready").status == 200
    assert service.post("/predict", GOOD).status == 200


def test_a_bug_is_answered_without_its_traceback(start: Start, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil(service: Service) -> None:
        service.predictions = lambda found: 1 / 0  # type: ignore[assignment, method-assign, return-value]

    answer = start(toy, spoil=spoil).post("/predict", GOOD)
    assert answer.status == 500
    assert answer.value["error"] == "This is a bug in the service."
    # The answer goes first.
    said, deadline = "", time.monotonic() + 20
    while "ZeroDivisionError" not in said:
        assert time.monotonic() < deadline
        said += capsys.readouterr().err


def test_rows_that_the_model_cannot_answer_are_refused(start: Start, toy: Path) -> None:
    """An answer that is not finite is none."""

    def spoil(service: Service) -> None:
        right = service.model._plan
        service.model._plan = lambda rows: right(rows) * float("nan")

    answer = start(toy, spoil=spoil).post("/predict", GOOD)
    assert answer.status == 422
    assert "no answer" in answer.value["error"]


def test_the_log_holds_a_line_for_each_row_and_nothing_personal(start: Start, toy: Path, tmp_path: Path) -> None:
    path = tmp_path / "log" / "predictions.jsonl"
    service = start(toy, log=str(path))
    value = service.post("/predict", {"rows": [{**ROW, "city": "Springfield"}, {**ROW, "size": None}]}).value
    service.post("/predict", b"{")
    service.post("/v2/models/toy/infer", {"inputs": _tensors(rows(3))})
    service.service.close()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 5
    assert lines[0]["features"] == {"size": 3.5, "count": 2, "marked": True, "kind": "a"}
    assert lines[0]["prediction"] == value["predictions"][0]["probabilities"]
    assert {line["version"] for line in lines} == {value["version"]}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", lines[0]["at"])
    assert "Springfield" not in path.read_text(encoding="utf-8")
    assert "city" not in path.read_text(encoding="utf-8")


def test_rows_that_the_client_named_are_logged_by_their_names(start: Start, toy: Path, tmp_path: Path) -> None:
    """In both protocols; the answer is the same, and the id of a request is no id of a row."""
    path = tmp_path / "predictions.jsonl"
    service = start(toy, log=str(path))
    named = service.post("/predict", {"rows": [ROW, ROW], "ids": ["a", 7]})
    assert named.value == service.post("/predict", {"rows": [ROW, ROW]}).value
    tensors = {"inputs": _tensors(rows(2)), "id": "1"}
    assert service.post("/v2/models/toy/infer", {**tensors, "parameters": {"ids": [8, "b"]}}).status == 200
    assert service.post("/v2/models/toy/infer", tensors).status == 200
    service.service.close()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line.get("id") for line in lines] == ["a", "7", None, None, "8", "b", None, None]


def test_ids_that_the_contract_calls_personal_are_taken_and_never_logged(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the contract has no id, or a version does not say."""
    key, *others = CONTRACT.columns
    personal = dataclasses.replace(CONTRACT, columns=(dataclasses.replace(key, personal=True), *others))
    monkeypatch.setattr("toys.CONTRACT", personal)
    exported(tmp_path / "export", prepared(LogisticRegression(max_iter=1000)))
    path = tmp_path / "predictions.jsonl"
    service = start(tmp_path / "export", log=str(path))
    assert service.post("/predict", {"rows": [ROW], "ids": ["Springfield"]}).status == 200
    service.service.close()
    assert set(json.loads(path.read_text(encoding="utf-8"))) == {"at", "version", "features", "prediction"}


def test_nothing_is_logged_by_default(running: Running) -> None:
    assert running.service.journal is None
