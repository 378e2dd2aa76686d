"""Requests that schemathesis makes from the service's own description: what fits and what does not, on three seeds."""

import hypothesis
import pytest
import schemathesis
from schemathesis import Case, GenerationMode, checks
from toys import Running

POSTS = ("/predict", "/explain", "/v2/models/toy/infer")
GETS = ("/v2/health/live", "/v2/health/ready", "/v2", "/v2/models/toy", "/v2/models/toy/ready", "/model")
CHECKS = [
    checks.not_a_server_error,
    checks.CHECKS.get_one("status_code_conformance"),
    checks.CHECKS.get_one("content_type_conformance"),
    checks.CHECKS.get_one("response_schema_conformance"),
]


def fuzz(running: Running, method: str, path: str, mode: GenerationMode, seed: int, examples: int) -> list[int]:
    """Send generated requests to one route; the statuses that came back."""
    url = f"http://127.0.0.1:{running.port}"
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")[path][method]
    statuses: list[int] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def send(case: Case) -> None:
        response = case.call(base_url=url)
        statuses.append(response.status_code)
        assert len(response.content) <= 2048 or response.status_code == 200
        case.validate_response(response, checks=CHECKS)

    send()
    return statuses


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("path", POSTS)
def test_requests_that_fit_are_answered_as_described(path: str, seed: int, running: Running) -> None:
    statuses = fuzz(running, "POST", path, GenerationMode.POSITIVE, seed, 25)
    assert set(statuses) <= {200, 413, 422}
    # A tensor must also agree with its shape and its name, which no description says.
    assert 200 in statuses or path.startswith("/v2/")


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("path", POSTS)
def test_requests_that_do_not_fit_are_refused_as_described(path: str, seed: int, running: Running) -> None:
    statuses = fuzz(running, "POST", path, GenerationMode.NEGATIVE, seed, 25)
    assert set(statuses) <= {400, 401, 405, 413, 415, 422}


@pytest.mark.parametrize("path", GETS)
def test_what_is_read_is_as_described(path: str, running: Running) -> None:
    assert set(fuzz(running, "GET", path, GenerationMode.POSITIVE, 1, 3)) == {200}
