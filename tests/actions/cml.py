"""A double of `cml comment create|update` 0.20.6: strict where the real program silently does the wrong thing.

Like the real one it finds the server by the `origin` of the folder it runs in, looks for an earlier comment only among
the first 30, newest first, and appends its watermark. It refuses what must never be typed: `--publish` left on, no
`--target`, a watermark title that would never be found again.
"""

import argparse
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NoReturn


def fail(sentence: str) -> NoReturn:
    """Say why and end with code 1."""
    print(f"Error: {sentence}", file=sys.stderr)
    raise SystemExit(1)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; an option that the real program does not have is refused."""
    parser = argparse.ArgumentParser(prog="cml", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="noun", required=True)
    comment = verbs.add_parser("comment", allow_abbrev=False)
    kinds = comment.add_subparsers(dest="verb", required=True)
    for verb in ("create", "update"):
        kind = kinds.add_parser(verb, allow_abbrev=False)
        kind.add_argument("file")
        kind.add_argument("--target")
        kind.add_argument("--publish", default="true")
        kind.add_argument("--watermark-title", default="")
        kind.add_argument("--rm-watermark", action="store_true")
        kind.add_argument("--log", choices=("error", "warn", "info", "debug"), default="info")
        kind.add_argument("--driver", choices=("github",))
        kind.add_argument("--repo")
        kind.add_argument("--token", "--driver-token")
    found = parser.parse_args(arguments)
    if found.publish != "false":
        fail("--publish is on: local files would be uploaded to a public host; type --publish=false")
    if re.fullmatch(r"pr/[1-9][0-9]*", found.target or "") is None:
        fail(f"--target={found.target}: without pr/<number> the comment may land on a commit")
    if found.rm_watermark and (found.verb == "update" or found.watermark_title):
        fail("watermarks are mandatory for updatable comments")
    if re.search(r"[_*\[<]", found.watermark_title) or not (found.watermark_title or found.rm_watermark):
        fail(f"--watermark-title={found.watermark_title}: such a title is never found again")
    if os.environ.get("ITERATIVE_DO_NOT_TRACK") != "1":
        fail("ITERATIVE_DO_NOT_TRACK is not 1: usage would be reported to a third party")
    return found


class Api:
    """The REST API of the server that `origin` (or --repo) names, as CML builds its address."""

    def __init__(self, repository: str, token: str) -> None:
        address = urllib.parse.urlsplit(repository.removesuffix(".git").rstrip("/"))
        base = "https://api.github.com" if address.hostname == "github.com" else f"https://{address.netloc}/api/v3"
        self.place, self.token = f"{base}/repos{address.path}", token

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the server answers; its refusal ends the program with code 1, as the real one does."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.place + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, context=ssl.create_default_context(), timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as problem:
            fail(f"HttpError: {json.load(problem).get('message')}")


def sha() -> str:
    """The commit in the watermark: the pull request's head, else the one of the run."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text())
    found: str = event.get("pull_request", {}).get("head", {}).get("sha") or os.environ["GITHUB_SHA"]
    return found


def main() -> None:
    """Create or update the comment and print its address."""
    asked = parse(sys.argv[1:])
    token = asked.token or os.environ.get("REPO_TOKEN") or os.environ.get("GITHUB_TOKEN")
    if not token:
        fail("token not found")
    origin = subprocess.run(
        ["git", "config", "--get", "remote.origin.url"], capture_output=True, text=True, check=False
    ).stdout.strip()
    # A settings variable stands for the option of that name.
    repository = asked.repo or os.environ.get("CML_COMMENT_REPO") or os.environ.get("CML_REPO") or origin
    if not repository:
        fail("repo not found")
    api = Api(repository, token)
    number = asked.target.removeprefix("pr/")
    report = Path(asked.file).read_text(encoding="utf-8")
    title = f"CML watermark {asked.watermark_title}".strip()
    if not asked.rm_watermark:
        report = f'{report}\n\n![](https://cml.dev/watermark.png#{sha()} "{title}")'
    if asked.verb == "update":
        mark = re.compile(rf'!\[\]\(https://cml\.dev/watermark\.png#[0-9a-fA-F]+ "{re.escape(title)}"\)')
        for comment in reversed(api("GET", f"/issues/{number}/comments")):
            if mark.search(comment["body"]):
                print(api("PATCH", f"/issues/comments/{comment['id']}", {"body": report})["html_url"])
                return
    print(api("POST", f"/issues/{number}/comments", {"body": report})["html_url"])


if __name__ == "__main__":
    main()
