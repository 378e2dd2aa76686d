"""A `gh` and a `cml` for the tests: they keep GitHub's side in one JSON file, and take only what the real ones take.

Copied onto the PATH under either name. Whatever is not exactly what GitHub (2022-11-28) or CML 0.20.6 understands is
written down as wrong, ends with 64, and fails the test that uses the fixture `hub`. Standard library only.
"""

import contextlib
import fcntl
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

STATE = "FAKE_GITHUB"
SEEN_BY_CML = 30


@contextlib.contextmanager
def state(path: Path) -> Iterator[dict[str, Any]]:
    """GitHub's side, for one program at a time; what is changed in it is kept."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        value = json.loads(path.read_text(encoding="utf-8"))
        try:
            yield value
        finally:
            path.write_text(json.dumps(value), encoding="utf-8")


def wrong(world: dict[str, Any], said: str) -> NoReturn:
    """This is not how the real program is called."""
    world["wrong"].append(said)
    print(said, file=sys.stderr)
    raise SystemExit(64)


def answer(status: int, value: Any) -> NoReturn:
    """What gh prints, and how it ends."""
    if value is not None:
        print(json.dumps(value), end="")
    if status >= 400:
        print(f"gh: {value['message']} (HTTP {status})", file=sys.stderr)
        raise SystemExit(1)
    raise SystemExit(0)


def gh(world: dict[str, Any], arguments: list[str]) -> None:
    """`gh api PATH --method M [--paginate --slurp] [--input -]`."""
    world["calls"].append(arguments)
    if not os.environ.get("GH_TOKEN"):
        print("gh: To get started with GitHub CLI, please run:  gh auth login", file=sys.stderr)
        raise SystemExit(4)
    if world.get("down"):
        print("error connecting to api\ncheck your internet connection", file=sys.stderr)
        raise SystemExit(1)
    if arguments[0] == "release":
        release(world, arguments)
    if len(arguments) < 4 or arguments[0] != "api" or arguments[2] != "--method":
        wrong(world, f"gh {arguments}")
    path, method, flags = arguments[1], arguments[3], arguments[4:]
    paged = flags[:2] == ["--paginate", "--slurp"]
    flags = flags[2:] if paged else flags
    if flags not in ([], ["--input", "-"]):
        wrong(world, f"gh flags {flags}")
    body = json.loads(sys.stdin.read()) if flags else None
    for pattern, status in world["fail"].items():
        if re.fullmatch(pattern, f"{method} {path}"):
            answer(status, {"message": world.get("said", "Resource not accessible by integration")})
    url = urlsplit(path)
    for route_method, pattern, function in ROUTES:
        found = re.fullmatch(pattern, url.path)
        if found and route_method == method:
            value = function(world, parse_qs(url.query), body, *found.groups())
            if paged and isinstance(value, dict) and "total_count" in value:
                answer(200, [value])
            if paged != (route_method == "GET" and isinstance(value, list)):
                wrong(world, f"pages of {path}")
            if paged:
                size = int(parse_qs(url.query).get("per_page", ["30"])[0])
                value = [value[n : n + size] for n in range(0, len(value), size)] or [[]]
            answer(200, value)
    wrong(world, f"{method} {path}")


def release(world: dict[str, Any], arguments: list[str]) -> NoReturn:
    """`gh release download TAG --repo R --pattern ASSET --output FILE`; the asset is this file, as `cml`."""
    asked = re.fullmatch(
        r"release download v0\.20\.6 --repo iterative/cml --pattern cml-linux-(?:x64|arm64) --output (/\S+/cml)",
        " ".join(arguments),
    )
    if not asked:
        wrong(world, f"gh {arguments}")
    if not world.get("released"):
        print("release not found", file=sys.stderr)
        raise SystemExit(1)
    Path(asked[1]).write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    raise SystemExit(0)


def _comments(world: dict[str, Any], query: Any, body: Any, number: str) -> Any:
    return world["comments"][number]


def _create(world: dict[str, Any], query: Any, body: Any, number: str) -> Any:
    if set(body) != {"body"} or len(body["body"]) > 65_536:
        answer(422, {"message": "Validation Failed", "errors": [{"message": "body is too long"}]})
    world["last"] += 1
    user = {"login": world["viewer"], "type": "Bot"}
    world["comments"][number].append({"id": world["last"], "user": user, "body": body["body"]})
    return world["comments"][number][-1]


def _find(world: dict[str, Any], number: str) -> tuple[list[Any], Any]:
    for found in world["comments"].values():
        for one in found:
            if one["id"] == int(number):
                return found, one
    answer(404, {"message": "Not Found"})


def _update(world: dict[str, Any], query: Any, body: Any, number: str) -> Any:
    _, one = _find(world, number)
    one["body"] = body["body"]
    return one


def _delete(world: dict[str, Any], query: Any, body: Any, number: str) -> None:
    found, one = _find(world, number)
    found.remove(one)


def _pull(world: dict[str, Any], query: Any, body: Any, number: str) -> Any:
    for one in world["pulls"]:
        if one["number"] == int(number):
            return one
    answer(404, {"message": "Not Found"})


def _pulls(world: dict[str, Any], query: Any, body: Any) -> Any:
    if query.get("state") != ["open"] or ":" not in query.get("head", [""])[0]:
        wrong(world, f"pulls {query}")
    branch = query["head"][0].partition(":")[2]
    return [one for one in world["pulls"] if one["head"]["ref"] == branch and one["state"] == "open"]


def _commit(world: dict[str, Any], query: Any, body: Any, sha: str) -> Any:
    if sha not in world["parents"]:
        answer(404, {"message": "No commit found"})
    return {"sha": sha, "parents": [{"sha": one} for one in world["parents"][sha]]}


def _dispatch(world: dict[str, Any], query: Any, body: Any, workflow: str) -> None:
    world["dispatched"].append([workflow, body["ref"], body["inputs"]])


def _graphql(world: dict[str, Any], query: Any, body: Any) -> Any:
    if body != {"query": "query { viewer { login } }"}:
        wrong(world, f"graphql {body}")
    return {"data": {"viewer": {"login": world["viewer"]}}}


def _rulesets(world: dict[str, Any], query: Any, body: Any) -> Any:
    return [{key: one[key] for key in ("id", "name", "target", "enforcement")} for one in world["rulesets"]]


def _ruleset(world: dict[str, Any], query: Any, body: Any, number: str) -> Any:
    return next(one for one in world["rulesets"] if one["id"] == int(number))


def _add_ruleset(world: dict[str, Any], query: Any, body: Any) -> Any:
    world["last"] += 1
    world["rulesets"].append(_as_github(world["last"], body))
    return world["rulesets"][-1]


def _put_ruleset(world: dict[str, Any], query: Any, body: Any, number: str) -> Any:
    one = _ruleset(world, query, body, number)
    world["rulesets"][world["rulesets"].index(one)] = _as_github(int(number), body)
    return _as_github(int(number), body)


def _as_github(number: int, body: Any) -> Any:
    """GitHub adds what it knows, and parameters that nobody gave."""
    value = json.loads(json.dumps(body))
    for rule in value["rules"]:
        if rule["type"] == "pull_request":
            rule["parameters"].setdefault("allowed_merge_methods", ["merge", "squash", "rebase"])
    return value | {
        "id": number,
        "source_type": "Repository",
        "source": "acme/models",
        "node_id": "RRS_x",
        "created_at": "2026-11-01T00:00:00Z",
        "updated_at": "2026-11-01T00:00:00Z",
        "current_user_can_bypass": "never",
        "_links": {},
    }


def _owners(world: dict[str, Any], query: Any, body: Any) -> Any:
    if world["owners"] is None:
        answer(404, {"message": "Not Found"})
    return {"errors": world["owners"]}


def _setting(world: dict[str, Any], query: Any, body: Any, place: str = "") -> Any:
    """What a test says that GitHub has at an address of the repository; its query must be known too."""
    asked = "&".join(f"{key}={value[0]}" for key, value in sorted(query.items()) if key != "per_page")
    for key in (f"{place}?{asked}", place):
        if key in world["settings"]:
            return world["settings"][key]
    answer(404, {"message": "Not Found"})


REPO = r"repos/acme/models"
ROUTES: list[tuple[str, str, Any]] = [
    ("GET", rf"{REPO}/issues/(\d+)/comments", _comments),
    ("POST", rf"{REPO}/issues/(\d+)/comments", _create),
    ("PATCH", rf"{REPO}/issues/comments/(\d+)", _update),
    ("DELETE", rf"{REPO}/issues/comments/(\d+)", _delete),
    ("GET", rf"{REPO}/pulls/(\d+)", _pull),
    ("GET", rf"{REPO}/pulls", _pulls),
    ("GET", rf"{REPO}/commits/([0-9a-f]{{40}})", _commit),
    ("POST", rf"{REPO}/actions/workflows/([\w.-]+)/dispatches", _dispatch),
    ("POST", r"graphql", _graphql),
    ("GET", rf"{REPO}/codeowners/errors", _owners),
    ("GET", rf"{REPO}/rulesets", _rulesets),
    ("POST", rf"{REPO}/rulesets", _add_ruleset),
    ("GET", rf"{REPO}/rulesets/(\d+)", _ruleset),
    ("PUT", rf"{REPO}/rulesets/(\d+)", _put_ruleset),
    ("GET", REPO, _setting),
    ("GET", rf"{REPO}/((?:actions|branches|environments)(?:/.+)?)", _setting),
]


def cml(world: dict[str, Any], arguments: list[str]) -> None:
    """`cml comment update --target=pr/N --publish=false --watermark-title=T FILE`, as version 0.20.6 does it."""
    world["cml"].append(arguments)
    if arguments[:2] != ["comment", "update"] or len(arguments) != 6:
        wrong(world, f"cml {arguments}")
    target, publish, title = arguments[2:5]
    number = re.fullmatch(r"--target=pr/(\d+)", target)
    label = re.fullmatch(r"--watermark-title=([a-z-]+)", title)
    if not number or publish != "--publish=false" or not label:
        wrong(world, f"cml {arguments}")
    if os.environ.get("ITERATIVE_DO_NOT_TRACK") != "1" or not os.environ.get("REPO_TOKEN"):
        wrong(world, "cml would track, or has no token")
    if os.environ.get("CML_REPO") != f"{os.environ['GITHUB_SERVER_URL']}/acme/models":
        wrong(world, f"CML_REPO is {os.environ.get('CML_REPO')}")
    if world.get("cml fails"):
        print("Error: HttpError: Resource not accessible by integration", file=sys.stderr)
        raise SystemExit(1)
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    sha = event["pull_request"]["head"]["sha"] if "pull_request" in event else os.environ["GITHUB_SHA"]
    image = "https://cml.dev/watermark.png"
    body = Path(arguments[5]).read_text(encoding="utf-8") + f'\n\n![]({image}#{sha} "CML watermark {label[1]}")'
    known = re.compile(rf'!\[\]\({re.escape(image)}#[0-9a-fA-F]+ "CML watermark {label[1]}"\)')
    first = world["comments"][number[1]][:SEEN_BY_CML]
    mine = next((one for one in reversed(first) if known.search(one["body"])), None)
    if world.get("cml says it did"):
        return
    if mine:
        mine["body"] = body
    else:
        _create(world, None, {"body": body}, number[1])


def main() -> None:
    """Under which name was this called?"""
    with state(Path(os.environ[STATE])) as world:
        {"gh": gh, "cml": cml}[Path(sys.argv[0]).name](world, sys.argv[1:])


if __name__ == "__main__":
    main()
