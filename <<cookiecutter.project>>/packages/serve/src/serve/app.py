"""What can be asked, and in which form? The routes, described by FastAPI and answered without detours.

FastAPI's own way through a request (dependencies, a model object, a response model) costs ten times what the model does
for one row, so routes are `Direct`: they read the request and give a response. What OpenAPI shows comes from the
manifest: the fields of the data contract, with the golden row as the example.
"""

import hmac
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import explaining, measures, tensors
from serve.errors import Refused
from serve.prediction import Floats
from serve.rows import LONGEST_ID
from serve.service import Service

LIVE, READY = "/v2/health/live", "/v2/health/ready"
PUBLIC = (LIVE, READY)
BUG = Refused(500, "This is a bug in the service.")
Responses = dict[int | str, dict[str, Any]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Direct(APIRoute):
    """A route that FastAPI describes and that runs its endpoint at once."""

    def __init__(self, path: str, endpoint: Endpoint, **settings: Any) -> None:
        """As FastAPI makes it, with the shorter way through."""
        super().__init__(path, endpoint, **settings)

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = run


class Door:
    """The way in and out of every request: the token, the count, and an answer whatever happens."""

    def __init__(self, app: ASGIApp, service: Service, routes: Sequence[Route]) -> None:
        """`routes` are counted by their paths; those that are `Direct` are reached without the layers of `app`."""
        self.app, self.service = app, service
        self.routes = {route.path for route in routes}
        self._direct = {
            (method, one.path): one.app for one in routes for method in one.methods or () if _is_direct(one)
        }
        self._token = f"bearer {service.settings.token}".encode() if service.settings.token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.service.draining:
                    # A client that keeps its connection would lose the next request on it.
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            if self._token and scope["path"] not in PUBLIC and not self._is_known(scope):
                raise Refused(401, "Give the token: `Authorization: Bearer …`.", www_authenticate="Bearer")
            app = self._direct.get((scope["method"], scope["path"]), self.app)
            await app(scope, receive, watched)
        except ClientDisconnect:
            status = 499
        except Refused as refused:
            await _error(self.service, refused)(scope, receive, watched)
        except Exception:
            traceback.print_exc(limit=-5, file=sys.stderr)
            if not status:
                await _error(self.service, BUG)(scope, receive, watched)
        finally:
            route = scope["path"] if scope["path"] in self.routes else "other"
            self.service.measures.answered(route, status, time.perf_counter() - started)

    def _is_known(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = given.partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + token, self._token)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(value), status, headers, "application/json")


def _error(service: Service, refused: Refused) -> Response:
    value = {"error": refused.says, "model": service.model.name, "version": service.model.version.name}
    return _json(value, refused.status, refused.headers)


def create(service: Service) -> Door:
    """The application of a service."""
    model = service.model
    app = FastAPI(
        title=model.name,
        version=model.version.name,
        description=model.manifest["input_schema"].get("description") or "",
        redirect_slashes=False,
        # Their pages would fetch scripts from a public host; /openapi.json says it all.
        docs_url=None,
        redoc_url=None,
    )
    # Routes of a router that is included are made anew by FastAPI, in its own way.
    app.router.route_class = Direct
    _Routes(service).add(app.router)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        says = {404: "There is no such route here.", 405: "This route does not take that method."}
        headers = dict(error.headers or {})
        refused = Refused(error.status_code, says.get(error.status_code, "The request cannot be served."))
        response = _error(service, refused)
        response.headers.update(headers)
        return response

    async def refused_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return _error(service, error)

    async def bug(request: Request, error: Exception) -> Response:
        return _error(service, BUG)

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, bug)
    app.add_exception_handler(Refused, refused_error)
    routes = [route for route in app.routes if isinstance(route, Route)]
    service.measures.foresee(route.path for route in routes if "POST" in (route.methods or ()))
    return Door(app, service, routes)


def _is_direct(route: Route) -> bool:
    return isinstance(route, Direct) and "{" not in route.path


class _Routes:
    """The endpoints of one service."""

    def __init__(self, service: Service) -> None:
        self.service, self.model = service, service.model
        self.named = {"model": self.model.name, "version": self.model.version.name}

    def add(self, router: APIRouter) -> None:
        """Add every route, the busiest first."""
        own = f"/v2/models/{self.model.name}"
        exact = f"{own}/versions/{self.model.version.name}"
        add = router.add_api_route
        work = {401: "no token", 408: "body too slow", 413: "body too large", 415: "no JSON", 422: "does not fit"}
        work |= {400: "not JSON", 503: "too much work, or not ready"}
        for path, endpoint, request, answer, says in self._posts(own, exact):
            responses: Responses = {200: answer, **{code: _described(ERROR, what) for code, what in work.items()}}
            body = {"requestBody": {"required": True, "content": {"application/json": request}}}
            add(
                path,
                endpoint,
                methods=["POST"],
                summary=says,
                openapi_extra=body,
                responses=responses,
                response_class=Response,
                operation_id=_identifier("post", path),
            )
        for path, endpoint, answer, says in self._gets(own, exact):
            responses = {200: answer}
            if path not in PUBLIC:
                responses[401] = _described(ERROR, "no token")
            if path.endswith("/ready"):
                responses[503] = _described(answer["content"]["application/json"]["schema"], "not ready")
            add(
                path,
                endpoint,
                methods=["GET"],
                summary=says,
                responses=responses,
                response_class=Response,
                operation_id=_identifier("get", path),
            )

    def _posts(self, own: str, exact: str) -> list[tuple[str, Endpoint, dict[str, Any], dict[str, Any], str]]:
        row, example = _row_schema(self.model.manifest["input_schema"]), self.model.manifest["golden"]["row"]
        rows = {"type": "array", "items": row, "minItems": 1, "maxItems": self.service.settings.max_rows}
        ids = {**IDS, "maxItems": self.service.settings.max_rows}
        named = {**_exactly(rows=rows), "properties": {"rows": rows, "ids": ids}}
        many = {"schema": named, "example": {"rows": [example]}}
        one = {"schema": _exactly(row=row), "example": {"row": example}}
        predicted = _described(_prediction_schema(self.model.classes), "a prediction for each row")
        explained = _described(EXPLANATION, "how each feature moves the prediction")
        tensor = {"schema": INFER, "example": {"inputs": _example_tensors(self.model, example)}}
        inferred = _described(INFERRED, "a tensor for each part of the prediction")
        return [
            ("/predict", self.predict, many, predicted, "Predict rows"),
            (f"{own}/infer", self.infer, tensor, inferred, "Predict rows, Open Inference Protocol"),
            (f"{exact}/infer", self.infer, tensor, inferred, "Predict rows with this version only"),
            ("/explain", self.explain, one, explained, "Explain the prediction of one row"),
        ]

    def _gets(self, own: str, exact: str) -> list[tuple[str, Endpoint, dict[str, Any], str]]:
        live, ready = _described(LIVENESS, "the process answers"), _described(READINESS, "ready")
        free = {"type": "object"}
        text = {"description": "metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}
        return [
            (LIVE, self.live, live, "Is the process alive?"),
            (READY, self.ready, ready, "May requests be sent here?"),
            ("/v2", self.server, _described(free, "the service"), "What is this service?"),
            (own, self.metadata, _described(free, "the model"), "What does the model take and give?"),
            (exact, self.metadata, _described(free, "the model"), "What does this version take and give?"),
            (f"{own}/ready", self.model_ready, _described(MODEL_READINESS, "ready"), "Is the model ready?"),
            (f"{exact}/ready", self.model_ready, _described(MODEL_READINESS, "ready"), "Is this version ready?"),
            ("/model", self.card, _described(free, "the version"), "Where does this version come from?"),
            ("/metrics", self.metrics, text, "What was counted, for Prometheus"),
        ]

    async def predict(self, request: Request) -> Response:
        """Predict rows, each with every required feature of the data contract."""
        found = await self.service.work(request, self._predicted)
        classes = {} if self.model.classes is None else {"classes": self.model.classes}
        return _json({**self.named, **classes, "predictions": self.service.predictions(found)})

    async def _predicted(self, body: bytes) -> Floats:
        return await self.service.predict(*self.service.reader.rows(body))

    async def infer(self, request: Request) -> Response:
        """Predict rows given as one tensor for each feature."""
        return _json(await self.service.work(request, self.service.infer))

    async def explain(self, request: Request) -> Response:
        """Say how the prediction changes when one feature at a time is what is typical of the training rows."""
        found = await self.service.work(request, self._varied)
        prediction = self.service.predictions(found[:1])[0]
        changes = explaining.changes(self.model, found)
        return _json({**self.named, "prediction": prediction, "method": explaining.METHOD, "changes": changes})

    async def _varied(self, body: bytes) -> Floats:
        row = self.model.columns.of([self.service.reader.row(body)])
        return await self.service.runner.predict(explaining.variants(self.model, row))

    async def live(self, request: Request) -> Response:
        """Depends on nothing outside the process, nor on the model."""
        return _json({"live": True, **self.named})

    async def ready(self, request: Request) -> Response:
        """Loaded, self-tested on the golden row, and not about to end."""
        self.service.self_test()
        why = self.service.not_ready
        return _json({"ready": not why, **({"error": why} if why else {}), **self.named}, 503 if why else 200)

    async def model_ready(self, request: Request) -> Response:
        """The same for the one model there is."""
        self.service.self_test()
        why = self.service.not_ready
        value = {"name": self.model.name, "ready": not why, **({"error": why} if why else {}), **self.named}
        return _json(value, 503 if why else 200)

    async def server(self, request: Request) -> Response:
        """Name and version, as the protocol asks."""
        return _json({"name": self.model.name, "version": self.model.version.name, "extensions": []})

    async def metadata(self, request: Request) -> Response:
        """Inputs and outputs of the model, as the protocol asks."""
        return _json(tensors.metadata(self.model))

    async def card(self, request: Request) -> Response:
        """The manifest's facts (lineage, libraries, schema) and the model's card, where the service was given one."""
        manifest = self.model.manifest
        told = ("task", "target", "classes", "features", "input_schema", "lineage", "libraries", "split", "personal")
        facts = {key: manifest[key] for key in (*told, "serving") if key in manifest}
        return _json({**self.named, "runtime": self.model.runtime, **facts, "card": self.service.card})

    async def metrics(self, request: Request) -> Response:
        """Counters and histograms in Prometheus' text form."""
        return Response(self.service.measures.text(), media_type=measures.CONTENT_TYPE)


def _identifier(method: str, path: str) -> str:
    return method + "".join(character if character.isalnum() else "_" for character in path)


def _described(schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def _exactly(**properties: Any) -> dict[str, Any]:
    """A JSON schema of an object with these properties, all required, and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _row_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "$schema"}


TEXT, NUMBER, TRUTH = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
NAMED = {"model": TEXT, "version": TEXT}
ERROR = _exactly(error=TEXT, **NAMED)
LIVENESS = _exactly(live=TRUTH, **NAMED)
READINESS = {"type": "object", "properties": {"ready": TRUTH, "error": TEXT, **NAMED}, "required": ["ready"]}
MODEL_READINESS = {**READINESS, "properties": {"name": TEXT, **READINESS["properties"]}}  # type: ignore[dict-item]
CHANGE = _exactly(feature=TEXT, change=NUMBER)
EXPLANATION = _exactly(**NAMED, prediction={"type": "object"}, method=TEXT, changes={"type": "array", "items": CHANGE})
IDS = {
    "type": "array",
    "items": {
        "anyOf": [
            {"type": "string", "minLength": 1, "maxLength": LONGEST_ID},
            {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        ]
    },
    "description": "what each row is called, for the prediction log",
}
SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**31}, "minItems": 1, "maxItems": 2}
TENSOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 500},
        "shape": SHAPE,
        "datatype": {"type": "string", "maxLength": 10},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
    "required": ["name", "shape", "datatype", "data"],
    "additionalProperties": False,
}
OUTPUT = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 500}, "parameters": {"type": "object"}},
    "required": ["name"],
    "additionalProperties": False,
}
INFER = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "maxLength": 200},
        "parameters": {"type": "object", "properties": {"ids": IDS}},
        "inputs": {"type": "array", "items": TENSOR, "minItems": 1, "maxItems": tensors.MOST_TENSORS},
        "outputs": {"type": "array", "items": OUTPUT, "maxItems": 100},
    },
    "required": ["inputs"],
    "additionalProperties": False,
}
INFERRED = {
    "type": "object",
    "properties": {"model_name": TEXT, "model_version": TEXT, "id": TEXT, "outputs": {"type": "array"}},
    "required": ["model_name", "model_version", "outputs"],
}


def _prediction_schema(classes: list[Any] | None) -> dict[str, Any]:
    if classes is None:
        return _exactly(**NAMED, predictions={"type": "array", "items": _exactly(value=NUMBER)})
    probabilities = {
        "type": "array",
        "items": {"type": "number", "minimum": 0, "maximum": 1},
        "description": "in the order of `classes`",
    }
    one = _exactly(label={"enum": classes}, probabilities=probabilities)
    return _exactly(**NAMED, classes={"type": "array"}, predictions={"type": "array", "items": one})


def _example_tensors(model: Any, row: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": one["name"], "shape": [1], "datatype": one["datatype"], "data": [row.get(one["name"])]}
        for one in tensors.metadata(model)["inputs"]
    ]
