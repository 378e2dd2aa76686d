"""Which panels does the dashboard have? One table; `python3 monitoring/grafana/dashboard.py` writes what Grafana reads.

Each panel says its unit, what it shows and when to worry. A test holds the committed JSON to this page, so it is never
edited by hand, nor in a browser. Standard library only.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

TARGET = Path(__file__).parent / "dashboards" / "serving.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH = 24
"""Columns of Grafana's grid."""
SCHEMA = 41
"""Of the dashboard's JSON; Grafana brings an older one up to date when it loads it."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture: `queries` are PromQL by legend."""

    title: str
    unit: str
    about: str
    queries: dict[str, str]
    kind: Literal["timeseries", "stat", "state-timeline"] = "timeseries"
    width: int = 8
    least: float | None = 0.0
    most: float | None = None
    """The ends of the axis, where there are some."""


M = 'model=~"$model"'
PREDICTING = f'{M}, route=~"/predict|.+/infer"'

ROWS: dict[str, Sequence[Panel]] = {
    "At a glance": (
        Panel(
            title="Ready replicas",
            unit="none",
            about="Replicas that may be sent requests. None: alert NotReady.",
            queries={"{{model}}": f"sum by (model) (serve_ready{{{M}}})"},
            kind="stat",
            width=4,
        ),
        Panel(
            title="Failed requests",
            unit="percentunit",
            about="Share of the requests for predictions in the last hour that failed (5xx, or the client gave up).",
            queries={"{{model}}": f"model:error_ratio:rate1h{{{M}}}"},
            kind="stat",
            width=4,
        ),
        Panel(
            title="99 of 100 answered within",
            unit="s",
            about="The 99th percentile of the last five minutes, of requests for predictions.",
            queries={"{{model}}": f"model:latency:p99_5m{{{M}}}"},
            kind="stat",
            width=4,
        ),
        Panel(
            title="Age of the version's data",
            unit="s",
            about="Time since the last day whose rows made the version that serves; of two, the newer one.",
            queries={"{{model}}": f"time() - max by (model) (serve_model_data_timestamp_seconds{{{M}}})"},
            kind="stat",
            width=4,
        ),
        Panel(
            title="Versions",
            unit="none",
            about="Versions that serve side by side; more than one only during a deployment.",
            queries={"{{model}}": f"count by (model) (count by (model, version) (serve_model_info{{{M}}}))"},
            kind="stat",
            width=4,
        ),
        Panel(
            title="Alerts",
            unit="none",
            about="Alerts that fire now, of all models. What each means: monitoring/README.md.",
            queries={"alerts": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
            kind="stat",
            width=4,
        ),
    ),
    "Traffic": (
        Panel(
            title="Requests for predictions",
            unit="reqps",
            about="Requests per second. Nothing where there was something a week ago: alert NoPredictions.",
            queries={"{{model}}": f"model:requests:rate5m{{{M}}}"},
        ),
        Panel(
            title="Answers by status",
            unit="reqps",
            about="2xx answered, 4xx refused (the client's doing), 503 too much work, 499 the client gave up.",
            queries={"{{model}} {{code}}": f"sum by (model, code) (rate(serve_requests_total{{{PREDICTING}}}[5m]))"},
        ),
        Panel(
            title="Rows predicted",
            unit="cps",
            about="Rows per second, by version; a request may hold many.",
            queries={
                "{{model}} {{version}}": f"sum by (model, version) (rate(serve_prediction_count{{{M}}}[5m]))",
            },
        ),
    ),
    "Errors": (
        Panel(
            title="Share that fails",
            unit="percentunit",
            about="Of the requests for predictions, in five minutes and in an hour, beside the budget of 30 days.",
            queries={
                "{{model}} 5 min": f"model:error_ratio:rate5m{{{M}}}",
                "{{model}} 1 h": f"model:error_ratio:rate1h{{{M}}}",
                "{{model}} budget": f"model:error_budget:ratio{{{M}}}",
            },
        ),
        Panel(
            title="Speed at which the budget burns",
            unit="none",
            about="1 uses the budget up in 30 days. Above 14.4 for an hour, or 6 for six: alert ErrorsFast.",
            queries={
                "{{model}} 1 h": f"model:error_ratio:rate1h{{{M}}} / on (model) model:error_budget:ratio",
                "{{model}} 6 h": f"model:error_ratio:rate6h{{{M}}} / on (model) model:error_budget:ratio",
            },
        ),
        Panel(
            title="Failures by route",
            unit="reqps",
            about="5xx answers and clients that gave up, on every route.",
            queries={
                "{{model}} {{route}} {{code}}": (
                    f'sum by (model, route, code) (rate(serve_requests_total{{{M}, code=~"5..|499"}}[5m]))'
                ),
            },
        ),
    ),
    "Latency": (
        Panel(
            title="Time to answer",
            unit="s",
            about="Of requests for predictions: the middle one and the 99th of 100, beside the limit of LatencyHigh.",
            queries={
                "{{model}} p50": f"model:latency:p50_5m{{{M}}}",
                "{{model}} p99": f"model:latency:p99_5m{{{M}}}",
                "{{model}} limit": f"model:latency_limit:seconds{{{M}}}",
            },
            width=12,
        ),
        Panel(
            title="Time to answer by route",
            unit="s",
            about="The 99th percentile of each route; health checks and scrapes show how busy the process itself is.",
            queries={
                "{{model}} {{route}}": (
                    "histogram_quantile(0.99, sum by (model, route, le) "
                    f"(rate(serve_request_duration_seconds_bucket{{{M}}}[5m])))"
                ),
            },
            width=12,
        ),
    ),
    "Saturation": (
        Panel(
            title="Requests in flight",
            unit="percentunit",
            about="Of those that a replica takes at once (SERVE_MAX_REQUESTS). Above 80 %: alert Saturated.",
            queries={"{{model}} {{instance}}": f"instance:requests_in_flight:ratio5m{{{M}}}"},
            width=6,
            most=1.0,
        ),
        Panel(
            title="Processor",
            unit="percentunit",
            about="Of one processor, which is what one process uses. Above 90 %: alert Saturated.",
            queries={"{{model}} {{instance}}": f"instance:cpu:ratio5m{{{M}}}"},
            width=6,
        ),
        Panel(
            title="Memory",
            unit="bytes",
            about="Resident memory of each replica; it should not grow for ever.",
            queries={
                "{{model}} {{instance}}": (
                    f"process_resident_memory_bytes * on (job, instance) group_left (model) (serve_model_info{{{M}}})"
                ),
            },
            width=6,
        ),
        Panel(
            title="Rows lost by the prediction log",
            unit="cps",
            about="Rows per second that the log could not take; drift is judged without them. Any: alert LogDropped.",
            queries={"{{model}}": f"sum by (model) (rate(serve_log_dropped_total{{{M}}}[5m]))"},
            width=6,
        ),
    ),
    "Predictions": (
        Panel(
            title="Predicted values",
            unit="none",
            about="The 10th, 50th and 90th percentile of an hour; of classes, the probability of the one chosen.",
            least=None,
            queries={
                f"{{{{model}}}} {{{{version}}}} p{round(share * 100)}": (
                    f"histogram_quantile({share}, version_le:prediction:ratio1h{{{M}}})"
                )
                for share in (0.1, 0.5, 0.9)
            },
        ),
        Panel(
            title="Share of each class",
            unit="percentunit",
            about="Of the rows of an hour, by the class chosen; only classification has any.",
            queries={"{{model}} {{version}}: {{label}}": f"version_label:prediction:ratio1h{{{M}}}"},
            most=1.0,
        ),
        Panel(
            title="Shift of the predictions",
            unit="percentunit",
            about="How far an hour lies from the day, at most; above the limit: alert PredictionsShifted.",
            queries={
                "{{model}} {{version}}": f"version:prediction_shift:ratio1h{{{M}}}",
                "{{model}} limit": f"model:shift_limit:ratio{{{M}}}",
            },
        ),
    ),
    "Drift": (
        Panel(
            title="Columns furthest from the reference window",
            unit="none",
            about="Population stability index at the last look of `mlops watch`, the ten highest, beside drift.psi.",
            queries={
                "{{model}} {{side}} {{column}}": (f"topk(10, max by (model, side, column) (watch_drift_psi{{{M}}}))"),
                "{{model}} limit": f"max by (model) (watch_drift_limit{{{M}}})",
            },
            width=12,
        ),
        Panel(
            title="What watch says",
            unit="none",
            about="0 quiet, 1 not evaluated, 2 alarm, for each thing that `mlops watch` looks at.",
            queries={
                "{{model}} {{kind}}": (
                    f'2 * max by (model, kind) (watch_state{{{M}, state="alarm"}})'
                    f' + max by (model, kind) (watch_state{{{M}, state="not evaluated"}})'
                ),
            },
            kind="state-timeline",
            width=12,
        ),
    ),
    "Freshness and age": (
        Panel(
            title="Age of the newest row",
            unit="s",
            about="Of the model's source, at the last look, beside what the data contract bears: alert DataStale.",
            queries={
                "{{model}}": f"time() - max by (model) (watch_data_newest_timestamp_seconds{{{M}}})",
                "{{model}} limit": f"max by (model) (watch_data_limit_seconds{{{M}}})",
            },
        ),
        Panel(
            title="Time since the last look",
            unit="s",
            about="Since `mlops watch` last wrote what it found, beside the limit of WatchSilent.",
            queries={
                "{{model}}": f"time() - max by (model) (watch_run_timestamp_seconds{{{M}}})",
                "{{model}} limit": f"model:watch_limit:seconds{{{M}}}",
            },
        ),
        Panel(
            title="Age of each version's data",
            unit="s",
            about="Since the last day whose rows made the version, beside the limit of ModelOld.",
            queries={
                "{{model}} {{version}}": (
                    f"time() - max by (model, version) (serve_model_data_timestamp_seconds{{{M}}})"
                ),
                "{{model}} limit": f"model:age_limit:seconds{{{M}}}",
            },
        ),
    ),
    "Version": (
        Panel(
            title="Replicas by version",
            unit="none",
            about="Two versions for more than two hours: alert VersionsDiffer.",
            queries={
                "{{model}} {{version}} ({{runtime}})": (
                    f"count by (model, version, runtime) (serve_model_info{{{M}}})"
                ),
            },
            width=12,
        ),
        Panel(
            title="Time since the start",
            unit="s",
            about="Of each replica; a line that falls to zero again and again is a process that dies.",
            queries={
                "{{model}} {{instance}}": (
                    "time() - process_start_time_seconds * on (job, instance) group_left (model) "
                    f"(serve_model_info{{{M}}})"
                ),
            },
            width=12,
        ),
    ),
}

LOOKS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "none",
        "graphMode": "area",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value_and_name",
    },
    "state-timeline": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "mergeValues": True,
        "showValue": "never",
    },
}
STATES = {
    "0": {"color": "green", "index": 0, "text": "quiet"},
    "1": {"color": "yellow", "index": 1, "text": "not evaluated"},
    "2": {"color": "red", "index": 2, "text": "alarm"},
}


def dashboard() -> dict[str, Any]:
    """What Grafana reads."""
    return {
        "uid": "serving",
        "title": "Models that serve",
        "description": "Made by monitoring/grafana/dashboard.py; what each alert means is in monitoring/README.md.",
        "tags": ["models"],
        "schemaVersion": SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source(), _model()]},
        "annotations": {"list": []},
        "links": [],
        "panels": list(_panels()),
    }


def _source() -> dict[str, Any]:
    return {"type": "datasource", "name": "source", "label": "Prometheus", "query": "prometheus", "hide": 0}


def _model() -> dict[str, Any]:
    query = "label_values(serve_model_info, model)"
    return {
        "type": "query",
        "name": "model",
        "label": "Model",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "model"},
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "includeAll": True,
        "multi": True,
        # When the time range changes, so do the models that there were.
        "refresh": 2,
        "sort": 1,
        "hide": 0,
    }


def _panels() -> Iterator[dict[str, Any]]:
    """Rows and their panels from left to right, each at its place on the grid."""
    number, top = 0, 0
    for title, panels in ROWS.items():
        number += 1
        place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        top, left = top + 1, 0
        height = 4 if panels[0].kind == "stat" else 8
        for panel in panels:
            number += 1
            yield _panel(panel, number, {"h": height, "w": panel.width, "x": left, "y": top})
            left += panel.width
        top += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    ends = {name: end for name, end in (("min", panel.least), ("max", panel.most)) if end is not None}
    defaults: dict[str, Any] = {"unit": panel.unit, "color": {"mode": "palette-classic"}, "mappings": [], **ends}
    if panel.kind == "state-timeline":
        defaults["mappings"] = [{"type": "value", "options": STATES}]
    targets = [
        {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query, "legendFormat": legend, "range": True}
        for place, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": LOOKS[panel.kind],
        "targets": targets,
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8", newline="\n")
