"""A GitHub on this machine, as far as the generated workflows use it: what may a token do, and what did it do?

`GitHub` serves TLS on loopback: the REST API under `/api/v3` (and under `/`, as api.github.com has it), and git over
smart HTTP through git's own `http-backend`. Repositories are private. Every answer depends on the token that asks:
a token is made for one repository with the permissions of one job, and what it may not do is refused with GitHub's own
status and words. What was written (comments, statuses, check runs, pull requests, dispatches, rulesets, pushes) is kept
for the tests; a request for something that is not modelled here gets 501 and is kept in `unknown`, so that a test can
fail instead of a workflow silently taking another path.
"""

import base64
import contextlib
import dataclasses
import datetime as dt
import email.message
import gzip
import http.server
import json
import os
import re
import secrets
import ssl
import subprocess
import threading
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import trustme
import yaml

LONGEST_COMMENT = 65_536
LONGEST_SUMMARY = 65_535
LARGEST_FILE = 100_000_000
READ, WRITE = "read", "write"
NOW = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}T00:00:00Z"
"""What time it is on this server, as long as it runs: the day is that of the jobs, which count days from it."""
INACCESSIBLE = "Resource not accessible by integration"
ADMINISTRATOR = {
    "actions": WRITE,
    "administration": WRITE,
    "checks": WRITE,
    "contents": WRITE,
    "issues": WRITE,
    "pull-requests": WRITE,
    "statuses": WRITE,
    "workflows": WRITE,
}
# What GitHub checks of a push before it takes it: workflow files, file sizes and the protected branch.
PRE_RECEIVE = r"""#!/bin/sh
[ -n "$REMOTE_USER" ] || exit 0 # not over HTTP: a test sets something up
while read -r old new ref; do
    if [ "$ref" = "refs/heads/$PROTECTED" ] && [ -z "$MAY_ADMINISTER" ]; then
        echo "GH013: Repository rule violations found for $ref." >&2
        exit 1
    fi
    case $new in *[!0]*) ;; *) continue ;; esac
    for commit in $(git rev-list "$new" --not --all); do
        if [ -z "$MAY_CHANGE_WORKFLOWS" ] &&
            git diff-tree --no-commit-id --name-only -r -m --root "$commit" | grep -q '^\.github/workflows/'; then
            echo "refusing to allow a GitHub App to create or update workflow without \`workflows\` permission" >&2
            exit 1
        fi
    done
    largest=$(git rev-list --objects "$new" --not --all | cut -d ' ' -f 1 |
        git cat-file --batch-check='%(objectsize)' | sort -n | tail -n 1)
    if [ "${largest:-0}" -gt "$LARGEST_FILE" ]; then
        echo "GH001: Large files detected. You may want to try Git Large File Storage." >&2
        exit 1
    fi
done
"""


class Refused(Exception):
    """A request that is answered with an error: the status, GitHub's message and its further fields."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(f"{status} {message}")
        self.status, self.body = status, {"message": message, **more}


@dataclasses.dataclass(frozen=True)
class Token:
    """What a token may do, in which repository, and in whose name."""

    repository: str
    permissions: Mapping[str, str]
    actor: str = "github-actions[bot]"

    def may(self, permission: str, level: str) -> bool:
        """Whether the permission is granted at that level; to write is to read, too."""
        granted = self.permissions.get(permission, "none")
        return granted in (WRITE, level)


@dataclasses.dataclass(frozen=True)
class App:
    """A GitHub App that is installed in one repository: its tokens never have more than these permissions."""

    slug: str
    client: str
    repository: str
    permissions: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Push:
    """One reference that a push moved (or asked to): `old` and `new` are full commit ids."""

    repository: str
    ref: str
    old: str
    new: str
    actor: str
    forced: bool


@dataclasses.dataclass
class Pull:
    """A pull request; its head is a branch of `head_repository`, which may be a fork."""

    number: int
    title: str
    author: str
    head_repository: str
    head: str
    base: str
    state: str = "open"
    body: str = ""
    merged: str = ""
    """The commit that it became on the base branch."""


@dataclasses.dataclass
class Repository:
    """A bare repository, and everything that GitHub keeps beside it."""

    name: str
    path: Path
    default: str = "main"
    private: bool = True
    may_create_pulls: bool = True
    requires_checks: bool = True
    """Whether a rule holds merges back until a check has passed; without one nothing can wait to merge by itself."""
    merging: list[int] = dataclasses.field(default_factory=list)
    """Pull requests that merge by themselves as soon as they may."""
    comments: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    statuses: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    checks: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    pulls: dict[int, Pull] = dataclasses.field(default_factory=dict)
    dispatches: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    asked: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """The repository dispatches that nothing was started by yet."""
    off: set[str] = dataclasses.field(default_factory=set)
    """Workflows that are switched off."""
    scheduled: dict[str, str] = dataclasses.field(default_factory=dict)
    """When the schedule of a workflow last started it."""
    ended: dict[str, str] = dataclasses.field(default_factory=dict)
    """How a workflow last ended."""
    rulesets: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    artifacts: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    issues: dict[int, dict[str, Any]] = dataclasses.field(default_factory=dict)
    runs: dict[int, dict[str, Any]] = dataclasses.field(default_factory=dict)
    deployments: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    releases: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    attestations: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def number(self) -> int:
        """The number of the next issue or pull request."""
        return len(self.pulls) + len(self.issues) + 1

    def serves(self, environment: str, task: str) -> dict[str, Any] | None:
        """The payload of the deployment that is active; None where none is."""
        found = [one for one in self.deployments if (one["environment"], one["task"]) == (environment, task)]
        active = [one for one in found if one["states"] and one["states"][-1]["state"] == "success"]
        assert len(active) <= 1
        return active[0]["payload"] if active else None

    def git(self, *arguments: str, **settings: str) -> str:
        """What git says in the bare repository."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **settings},
        )
        if done.returncode:
            raise RuntimeError(f"git {' '.join(arguments)} in {self.name}: {done.stderr}")
        return done.stdout.strip()

    def commit(self, revision: str) -> str | None:
        """The full id of a commit, branch or reference; None where there is none."""
        for name in (revision, f"refs/heads/{revision}"):
            with contextlib.suppress(RuntimeError):
                return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        return None

    def pulls_of(self, branch: str) -> list["Pull"]:
        """The open pull requests of a branch."""
        return [pull for pull in self.pulls.values() if (pull.head, pull.state) == (branch, "open")]

    def on(self, number: int) -> list[dict[str, Any]]:
        """The comments on a pull request, oldest first."""
        return [comment for comment in self.comments if comment["issue_url"].endswith(f"/issues/{number}")]


class GitHub:
    """The server. Use it as a context manager; `folder` holds its bare repositories and its certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, Token] = {}
        self.apps: dict[str, App] = {}
        # Public repositories: `owner/name` → tag → file → bytes.
        self.releases: dict[str, dict[str, dict[str, bytes]]] = {}
        self.pushes: list[Push] = []
        self.requests: list[str] = []
        self.refusals: list[str] = []
        self.unknown: list[str] = []
        # Reference → what someone else does just before the next push to it is carried out.
        self.faster: dict[str, Callable[[], object]] = {}
        self._ids = iter(range(1, 1_000_000))
        self._lock = threading.RLock()
        authority = trustme.CA()
        certificate = folder / "github.pem"
        folder.mkdir(parents=True, exist_ok=True)
        authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        self._trusted = folder / "trusted.pem"
        known = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        others = Path(known).read_bytes() if known and Path(known).is_file() else b""
        self._trusted.write_bytes(others + b"\n" + authority.cert_pem.bytes())
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": self}))
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._context = context
        self.host = f"localhost:{self._server.server_address[1]}"
        self.url = f"https://{self.host}"

    def __enter__(self) -> "GitHub":
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def environment(self) -> dict[str, str]:
        """The settings by which git, gh, Node and Python trust this server beside all others."""
        names = ("SSL_CERT_FILE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
        return dict.fromkeys(names, str(self._trusted))

    # What a test sets up: repositories, tokens, pull requests, comments.

    def create(self, name: str, source: Path | None = None) -> Repository:
        """A private repository `owner/name`, with all branches of a local one."""
        path = self.folder / f"{name}.git"
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch", "main", str(path)], check=True)
        settings = {
            "uploadpack.allowFilter": "true",
            "uploadpack.allowAnySHA1InWant": "true",
            "gc.auto": "0",
            "receive.autogc": "false",
        }
        for key, value in settings.items():
            subprocess.run(["git", "config", key, value], cwd=path, check=True)
        hook = path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        repository = Repository(name, path)
        self.repositories[name] = repository
        if source is not None:
            subprocess.run(["git", "push", "--quiet", str(path), "refs/heads/*:refs/heads/*"], cwd=source, check=True)
        hook.write_text(PRE_RECEIVE)
        hook.chmod(0o755)
        return repository

    def fork(self, name: str, of: str) -> Repository:
        """A repository with the branches of another, in someone else's name."""
        return self.create(name, self.repositories[of].path)

    def token(
        self, repository: str, permissions: Mapping[str, str], actor: str = "github-actions[bot]"
    ) -> "contextlib.AbstractContextManager[str]":
        """A token that works for as long as the context is open, as the one of a job does."""
        return self._token(Token(repository, dict(permissions), actor))

    @contextlib.contextmanager
    def _token(self, token: Token) -> Iterator[str]:
        secret = "ghs_" + secrets.token_hex(20)
        self.tokens[secret] = token
        try:
            yield secret
        finally:
            del self.tokens[secret]

    def open(self, repository: str, head: str, *, author: str, title: str, fork: str | None = None) -> int:
        """Open a pull request from a branch (of a fork, where one is named) onto the default branch: its number."""
        base = self.repositories[repository]
        number = base.number
        base.pulls[number] = Pull(number, title, author, fork or repository, head, base.default)
        self.synchronise(repository, number)
        return number

    def synchronise(self, repository: str, number: int) -> str:
        """Move `refs/pull/N/head` and `refs/pull/N/merge` to where the branches are now; gives the head's commit.

        Without a clean merge there is no merge commit and GitHub starts nothing: that is a RuntimeError here.
        """
        base = self.repositories[repository]
        pull = base.pulls[number]
        source = self.repositories[pull.head_repository]
        base.git("fetch", "--quiet", str(source.path), f"+refs/heads/{pull.head}:refs/pull/{number}/head")
        head = base.git("rev-parse", f"refs/pull/{number}/head")
        onto = base.git("rev-parse", f"refs/heads/{pull.base}")
        tree = base.git("merge-tree", "--write-tree", onto, head).splitlines()[0]
        author = {f"GIT_{role}_{key}": "Test" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        merged = base.git("commit-tree", tree, "-p", onto, "-p", head, "-m", f"Merge {head} into {onto}", **author)
        base.git("update-ref", f"refs/pull/{number}/merge", merged)
        return head

    def merge(self, repository: str, number: int) -> str:
        """Merge a pull request as its merge commit stands; gives the default branch's new commit."""
        base = self.repositories[repository]
        self.synchronise(repository, number)
        merged = base.git("rev-parse", f"refs/pull/{number}/merge")
        base.git("update-ref", f"refs/heads/{base.default}", merged)
        base.pulls[number].state, base.pulls[number].merged = "closed", merged
        return merged

    def comment(self, repository: str, number: int, body: str, *, author: str) -> dict[str, Any]:
        """Someone comments on a pull request."""
        base = self.repositories[repository]
        return _comment(self, base, number, body, author)

    def next(self) -> int:
        """A number that nothing else on this server has."""
        with self._lock:
            return next(self._ids)

    def check(
        self,
        repository: str,
        commit: str,
        name: str,
        conclusion: str,
        *,
        run: int | None = None,
        event: str = "pull_request",
    ) -> None:
        """A check run, as Actions makes one for each job of a run, which an event has started."""
        base = self.repositories[repository]
        run = run if run is not None else self.next()
        base.runs[run] = {"id": run, "event": event, "head_sha": commit}
        base.checks.append(
            {
                "id": self.next(),
                "details_url": f"{self.url}/{repository}/actions/runs/{run}/job/{self.next()}",
                "name": name,
                "head_sha": commit,
                "status": "completed",
                "conclusion": conclusion,
                "app": {"slug": "github-actions"},
                "output": {"title": None, "summary": None},
            }
        )

    # What comes in over HTTP.

    def authenticate(self, header: str | None) -> Token | None:
        """Whose token a request carries: None without one, 401 with one that is not known."""
        if not header:
            return None
        kind, _, value = header.partition(" ")
        if kind.lower() == "basic":
            value = base64.b64decode(value).decode().partition(":")[2]
        with self._lock:
            token = self.tokens.get(value)
        if token is None:
            raise Refused(401, "Bad credentials")
        return token

    def answer(self, method: str, path: str, header: str | None, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """The REST API: status, JSON value (None for no content) and further headers."""
        address = urllib.parse.urlsplit(path)
        place = urllib.parse.unquote(re.sub(r"^/api/v3", "", address.path)).rstrip("/") or "/"
        query = dict(urllib.parse.parse_qsl(address.query))
        with self._lock:
            if (method, place) == ("POST", "/app/installations/1/access_tokens"):
                return self._installation(header, body)
            token = self.authenticate(header)
            if (method, place) == ("GET", "/meta"):
                return 200, {"installed_version": "3.20.0"}, {}
            if (method, place) == ("POST", "/api/graphql") and token is not None:
                return self._graphql(token, json.loads(body))
            if (method, place) == ("GET", "/_registry") and token is not None:
                # What the registry of this server lets a token do; of no real server.
                return 200, {"packages": token.permissions.get("packages", "none")}, {}
            found = re.fullmatch(RELEASES, place)
            if method == "GET" and token is not None and found and found["name"] in self.releases:
                return self._release(**found.groupdict())
            for verb, pattern, needs, handle in ROUTES:
                found = re.fullmatch(pattern, place)
                if found is None or verb != method:
                    continue
                if token is None:
                    raise Refused(401, "Requires authentication")
                repository = self._repository(found, token)
                if needs and not any(token.may(permission, level) for permission, level in needs):
                    raise Refused(403, INACCESSIBLE, documentation_url="https://docs.github.com/rest")
                value = json.loads(body) if body.strip() else {}
                call = Call(self, repository, token, query, value, address.path)
                names = {key: text for key, text in found.groupdict().items() if key not in ("owner", "name")}
                return handle(call, **names)
            if _modelled(place):
                self.unknown.append(f"{method} {place}")
                raise Refused(501, f"This GitHub does not know {method} {place}")
        raise Refused(404, "Not Found", documentation_url="https://docs.github.com/rest")

    def _installation(self, header: str | None, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """A token of an App. Its private key stands in for what is signed with it; `client_id` comes in the body."""
        app = self.apps.get((header or "").removeprefix("Bearer "))
        asked = json.loads(body)
        if app is None or asked.get("client_id") != app.client:
            raise Refused(401, "A JSON web token could not be decoded")
        wanted: dict[str, str] = asked.get("permissions") or dict(app.permissions)
        token = Token(app.repository, wanted, f"{app.slug}[bot]")
        mine = Token(app.repository, app.permissions)
        if any(not mine.may(permission, level) for permission, level in wanted.items()):
            raise Refused(422, "The permissions requested are not granted to this installation.")
        secret = "ghs_" + secrets.token_hex(20)
        self.tokens[secret] = token
        return 201, {"token": secret, "permissions": wanted}, {}

    def _release(self, name: str, tag: str | None, file: str | None) -> tuple[int, Any, dict[str, str]]:
        """A release of a public repository, which every token may read, or one of its files."""
        tags = self.releases.get(name, {})
        if tag is not None and tag in tags:
            address = f"{self.url}/api/v3/repos/{name}/releases/assets"
            files = [{"name": one, "url": f"{address}/{tag}:{one}", "state": "uploaded"} for one in tags[tag]]
            return 200, {"tag_name": tag, "assets": files, "draft": False}, {}
        version, _, asset = (file or "").partition(":")
        if asset in tags.get(version, {}):
            return 200, tags[version][asset], {"Content-Type": "application/octet-stream"}
        raise Refused(404, "Not Found")

    def _graphql(self, token: Token, asked: Any) -> tuple[int, Any, dict[str, str]]:
        """What is asked this way: whose token is this, and (by gh, beside the REST API) is there a draft release?"""
        query = " ".join(str(asked.get("query")).split())
        if query in ("query { viewer { login } }", "{ viewer { login } }"):
            return 200, {"data": {"viewer": {"login": token.actor}}}, {}
        if query.startswith("query RepositoryReleaseByTag("):
            return 200, {"data": {"repository": {"release": None}}}, {}
        if query.startswith("mutation($pull: ID!) { enablePullRequestAutoMerge(") and token.may("contents", WRITE):
            repository = self.repositories[token.repository]
            if not repository.requires_checks:
                problem = {"type": "UNPROCESSABLE", "message": "Pull request Pull request is in clean status"}
                return 200, {"data": None, "errors": [problem]}, {}
            repository.merging.append(int(asked["variables"]["pull"].removeprefix("PR_")))
            return 200, {"data": {"enablePullRequestAutoMerge": {"clientMutationId": None}}}, {}
        self.unknown.append(f"GraphQL {asked}")
        raise Refused(501, "This GitHub does not know that query")

    def _repository(self, found: "re.Match[str]", token: Token) -> Repository:
        name = f"{found['owner']}/{found['name']}"
        repository = self.repositories.get(name)
        if repository is None or token.repository != name:
            raise Refused(404, "Not Found", documentation_url="https://docs.github.com/rest")
        return repository

    def backend(
        self, method: str, path: str, headers: "email.message.Message[str, str]", body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Git: what `git http-backend` answers to a request whose token may read (or write) the repository."""
        address = urllib.parse.urlsplit(path)
        place = re.fullmatch(r"/(?P<name>[^/]+/[^/]+?)(?:\.git)?/(?P<rest>info/refs|git-[a-z]+-pack)", address.path)
        if place is None or place["name"] not in self.repositories:
            raise Refused(404, "Not Found")
        repository = self.repositories[place["name"]]
        token = self.authenticate(headers.get("Authorization"))
        if token is None:
            raise Refused(401, "Repository not found.")
        if token.repository != repository.name or not token.may("contents", READ):
            raise Refused(404, "Repository not found.")
        writing = "git-receive-pack" in address.path + address.query
        if writing and not token.may("contents", WRITE):
            raise Refused(403, f"Permission to {repository.name}.git denied to {token.actor}.")
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{repository.name}.git/{place['rest']}",
            "REQUEST_METHOD": method,
            "QUERY_STRING": address.query,
            "CONTENT_TYPE": headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": headers.get("Git-Protocol", ""),
            "REMOTE_USER": token.actor,
            "PROTECTED": repository.default,
            "LARGEST_FILE": str(LARGEST_FILE),
            "MAY_ADMINISTER": "yes" if token.may("administration", WRITE) else "",
            "MAY_CHANGE_WORKFLOWS": "yes" if token.may("workflows", WRITE) else "",
        }
        if place["rest"] == "git-receive-pack":
            for line in _packets(body):
                if act := self.faster.pop(line.split(b"\0")[0].decode().split()[2], None):
                    act()
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        found = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(found.pop("Status", "200 OK").split()[0])
        if place["rest"] == "git-receive-pack":
            self._record(repository, body, token)
        return status, found, content

    def _record(self, repository: Repository, body: bytes, token: Token) -> None:
        for line in _packets(body):
            old, new, ref = line.split(b"\0")[0].decode().strip().split(" ", 2)
            if repository.commit(ref) != new and set(new) != {"0"}:
                continue
            forced = set(old) != {"0"} and set(new) != {"0"}
            if forced:
                with contextlib.suppress(RuntimeError):
                    repository.git("merge-base", "--is-ancestor", old, new)
                    forced = False
            with self._lock:
                self.pushes.append(Push(repository.name, ref, old, new, token.actor, forced))
            self._follow(repository, ref)

    def _follow(self, repository: Repository, ref: str) -> None:
        """The open pull requests of a branch stand where it was pushed to."""
        for base in self.repositories.values():
            for pull in base.pulls.values():
                if (pull.state, pull.head_repository, f"refs/heads/{pull.head}") == ("open", repository.name, ref):
                    with contextlib.suppress(RuntimeError):
                        self.synchronise(base.name, pull.number)


def _packets(body: bytes) -> Iterator[bytes]:
    """The commands at the head of a push: pkt-lines up to the first flush."""
    at = 0
    while at + 4 <= len(body):
        length = int(body[at : at + 4], 16)
        if length < 4:
            return
        line = body[at + 4 : at + length]
        if not line.startswith(b"shallow "):
            yield line
        at += length


@dataclasses.dataclass(frozen=True)
class Call:
    """One API request that was let through."""

    github: GitHub
    repository: Repository
    token: Token
    query: Mapping[str, str]
    body: Any
    place: str

    @property
    def api(self) -> str:
        """The repository's address in the API."""
        return f"{self.github.url}/api/v3/repos/{self.repository.name}"

    @property
    def web(self) -> str:
        """The repository's address for people."""
        return f"{self.github.url}/{self.repository.name}"

    def page(self, items: list[Any], wrap: str | None = None) -> tuple[int, Any, dict[str, str]]:
        """One page of a list: 30 items where nothing is asked, 100 at most, with GitHub's Link header."""
        size = min(max(int(self.query.get("per_page", 30)), 1), 100)
        number = max(int(self.query.get("page", 1)), 1)
        last = max((len(items) + size - 1) // size, 1)

        def link(to: int, relation: str) -> str:
            query = urllib.parse.urlencode({**self.query, "per_page": size, "page": to})
            return f'<{self.github.url}{self.place}?{query}>; rel="{relation}"'

        links = [link(number - 1, "prev"), link(1, "first")] if number > 1 else []
        links += [link(number + 1, "next"), link(last, "last")] if number < last else []
        shown: Any = items[(number - 1) * size : number * size]
        if wrap:
            shown = {"total_count": len(items), wrap: shown}
        return 200, shown, {"Link": ", ".join(links)} if links else {}

    def field(self, name: str, resource: str) -> Any:
        """A field of the body that must be there."""
        if not isinstance(self.body, dict) or self.body.get(name) in (None, ""):
            problem = {"resource": resource, "code": "missing_field", "field": name}
            raise Refused(422, "Validation Failed", errors=[problem])
        return self.body[name]


def _id(name: str) -> int:
    """A number that stays with a name."""
    return zlib.crc32(name.encode())


def _user(name: str) -> dict[str, Any]:
    return {"login": name, "id": _id(name), "type": "Bot" if name.endswith("[bot]") else "User"}


def _body(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        problem = {"resource": "IssueComment", "code": "missing_field", "field": "body"}
        raise Refused(422, "Validation Failed", errors=[problem])
    if len(text) > LONGEST_COMMENT:
        problem = {
            "resource": "IssueComment",
            "code": "unprocessable",
            "field": "data",
            "message": f"Body is too long (maximum is {LONGEST_COMMENT} characters)",
        }
        raise Refused(422, "Validation Failed", errors=[problem])
    return text


def _comment(github: GitHub, repository: Repository, number: int, body: str, author: str) -> dict[str, Any]:
    made = github.next()
    value = {
        "id": made,
        "body": _body(body),
        "user": _user(author),
        "issue_url": f"{github.url}/api/v3/repos/{repository.name}/issues/{number}",
        "html_url": f"{github.url}/{repository.name}/pull/{number}#issuecomment-{made}",
        "edits": 0,
    }
    repository.comments.append(value)
    return value


Answer = tuple[int, Any, dict[str, str]]


def _one(items: list[dict[str, Any]], number: str) -> dict[str, Any]:
    for item in items:
        if item["id"] == int(number):
            return item
    raise Refused(404, "Not Found")


def _pull(call: Call, number: str) -> Pull:
    pull = call.repository.pulls.get(int(number))
    if pull is None:
        raise Refused(404, "Not Found")
    return pull


def _discussed(call: Call, number: str) -> None:
    if int(number) not in {*call.repository.pulls, *call.repository.issues}:
        raise Refused(404, "Not Found")


def _list_comments(call: Call, number: str) -> Answer:
    _discussed(call, number)
    return call.page(call.repository.on(int(number)))


def _create_comment(call: Call, number: str) -> Answer:
    _discussed(call, number)
    body = _body(call.body.get("body"))
    return 201, _comment(call.github, call.repository, int(number), body, call.token.actor), {}


def _get_comment(call: Call, number: str) -> Answer:
    return 200, _one(call.repository.comments, number), {}


def _update_comment(call: Call, number: str) -> Answer:
    comment = _one(call.repository.comments, number)
    comment["body"] = _body(call.body.get("body"))
    comment["edits"] += 1
    return 200, comment, {}


def _delete_comment(call: Call, number: str) -> Answer:
    call.repository.comments.remove(_one(call.repository.comments, number))
    return 204, None, {}


def describe_repository(github: GitHub, repository: Repository) -> dict[str, Any]:
    """A repository as the API and the payload of an event show it."""
    owner, _, name = repository.name.partition("/")
    return {
        "id": _id(repository.name),
        "name": name,
        "full_name": repository.name,
        "owner": {"login": owner, "id": _id(owner), "type": "Organization"},
        "private": repository.private,
        "has_issues": True,
        "default_branch": repository.default,
        "html_url": f"{github.url}/{repository.name}",
        "clone_url": f"{github.url}/{repository.name}.git",
    }


def describe_pull(github: GitHub, repository: Repository, pull: Pull) -> dict[str, Any]:
    """A pull request as the API and the payload of an event show it; its base is where the base branch is now."""
    source = github.repositories[pull.head_repository]
    head = repository.git("rev-parse", f"refs/pull/{pull.number}/head")
    return {
        "node_id": f"PR_{pull.number}",
        "number": pull.number,
        "created_at": NOW,
        "title": pull.title,
        "body": pull.body,
        "state": pull.state,
        "merged_at": NOW if pull.merged else None,
        "merge_commit_sha": pull.merged or None,
        "draft": False,
        "user": _user(pull.author),
        "html_url": f"{github.url}/{repository.name}/pull/{pull.number}",
        "head": {
            "ref": pull.head,
            "sha": head,
            "label": f"{source.name.partition('/')[0]}:{pull.head}",
            "repo": {**describe_repository(github, source), "fork": source is not repository},
        },
        "base": {
            "ref": pull.base,
            "sha": repository.git("rev-parse", f"refs/heads/{pull.base}"),
            "label": f"{repository.name.partition('/')[0]}:{pull.base}",
            "repo": {**describe_repository(github, repository), "fork": False},
        },
    }


def _list_pulls(call: Call) -> Answer:
    state, head, base = call.query.get("state", "open"), call.query.get("head"), call.query.get("base")
    found = [describe_pull(call.github, call.repository, pull) for pull in call.repository.pulls.values()]
    found = [pull for pull in found if state in ("all", pull["state"])]
    found = [pull for pull in found if head in (None, pull["head"]["label"]) and base in (None, pull["base"]["ref"])]
    return call.page(found[::-1])


def _get_pull(call: Call, number: str) -> Answer:
    return 200, describe_pull(call.github, call.repository, _pull(call, number)), {}


def _create_pull(call: Call) -> Answer:
    if call.token.actor == "github-actions[bot]" and not call.repository.may_create_pulls:
        raise Refused(403, "GitHub Actions is not permitted to create or approve pull requests.")
    title, head, base = (call.field(name, "PullRequest") for name in ("title", "head", "base"))
    branch = head.rpartition(":")[2]
    if call.repository.commit(branch) is None or base != call.repository.default:
        raise Refused(422, "Validation Failed", errors=[{"resource": "PullRequest", "code": "invalid"}])
    if any(one.head == branch and one.state == "open" for one in call.repository.pulls.values()):
        problem = {"resource": "PullRequest", "code": "custom", "message": f"A pull request already exists for {head}."}
        raise Refused(422, "Validation Failed", errors=[problem])
    number = call.github.open(call.repository.name, branch, author=call.token.actor, title=title)
    call.repository.pulls[number].body = call.body.get("body") or ""
    return 201, describe_pull(call.github, call.repository, call.repository.pulls[number]), {}


def _update_pull(call: Call, number: str) -> Answer:
    pull = _pull(call, number)
    pull.title, pull.body = call.body.get("title", pull.title), call.body.get("body", pull.body)
    return 200, describe_pull(call.github, call.repository, pull), {}


def _pulls_of_commit(call: Call, commit: str) -> Answer:
    found = [describe_pull(call.github, call.repository, pull) for pull in call.repository.pulls.values()]
    return call.page([pull for pull in found if commit in (pull["head"]["sha"], pull["merge_commit_sha"])])


def _commit(call: Call, revision: str) -> str:
    found = call.repository.commit(revision)
    if found is None:
        raise Refused(422, f"No commit found for SHA: {revision}")
    return found


def _get_commit(call: Call, revision: str) -> Answer:
    commit = _commit(call, revision)
    parents = call.repository.git("rev-parse", f"{commit}^@").split()
    message = call.repository.git("show", "--no-patch", "--format=%B", commit)
    value = {"sha": commit, "commit": {"message": message}, "parents": [{"sha": parent} for parent in parents]}
    return 200, value, {}


def _create_status(call: Call, commit: str) -> Answer:
    if re.fullmatch(r"[0-9a-f]{40}", commit) is None:
        raise Refused(422, f"No commit found for SHA: {commit}")
    _commit(call, commit)
    if call.field("state", "Status") not in ("error", "failure", "pending", "success"):
        raise Refused(422, "Validation Failed", errors=[{"resource": "Status", "code": "invalid", "field": "state"}])
    description = call.body.get("description") or ""
    if len(description) > 140:
        problem = "description is too long (maximum is 140 characters)"
        raise Refused(422, "Validation Failed", errors=[problem])
    value = {
        "id": call.github.next(),
        "sha": commit,
        "state": call.body["state"],
        "context": call.body.get("context", "default"),
        "description": description,
        "target_url": call.body.get("target_url"),
        "creator": _user(call.token.actor),
    }
    call.repository.statuses.append(value)
    return 201, value, {}


def _list_statuses(call: Call, commit: str) -> Answer:
    found = _commit(call, commit)
    return call.page([status for status in call.repository.statuses if status["sha"] == found][::-1])


def _combined_status(call: Call, commit: str) -> Answer:
    found = _commit(call, commit)
    latest = {status["context"]: status for status in call.repository.statuses if status["sha"] == found}
    states = {status["state"] for status in latest.values()}
    state = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
    return 200, {"sha": found, "state": state, "statuses": list(latest.values()), "total_count": len(latest)}, {}


def _check(call: Call, value: dict[str, Any]) -> dict[str, Any]:
    output = value.get("output") or {}
    for name in ("summary", "text"):
        if len(output.get(name) or "") > LONGEST_SUMMARY:
            raise Refused(422, f"Invalid request.\n\nOnly {LONGEST_SUMMARY} characters are allowed; output.{name}")
    if value.get("conclusion") is not None:
        value["status"] = "completed"
        allowed = ("action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out")
        if value["conclusion"] not in allowed:
            raise Refused(422, "Invalid request.")
    return value


def _create_check(call: Call) -> Answer:
    call.field("name", "CheckRun")
    _commit(call, call.field("head_sha", "CheckRun"))
    value = {"status": "queued", "conclusion": None, **call.body, "id": call.github.next()}
    value["app"] = {"slug": "github-actions"}
    call.repository.checks.append(_check(call, value))
    return 201, value, {}


def _update_check(call: Call, number: str) -> Answer:
    value = _one(call.repository.checks, number)
    value.update(_check(call, {**value, **call.body}))
    return 200, value, {}


def _list_checks(call: Call, commit: str) -> Answer:
    found, name = _commit(call, commit), call.query.get("check_name")
    checks = [one for one in call.repository.checks if one["head_sha"] == found and name in (None, one["name"])]
    return call.page(checks, wrap="check_runs")


def _get_run(call: Call, run: str) -> Answer:
    if int(run) not in call.repository.runs:
        raise Refused(404, "Not Found")
    return 200, call.repository.runs[int(run)], {}


def _list_issues(call: Call) -> Answer:
    state, labels = call.query.get("state", "open"), set(filter(None, call.query.get("labels", "").split(",")))
    found = [
        one
        for one in call.repository.issues.values()
        if state in ("all", one["state"]) and labels <= {label["name"] for label in one["labels"]}
    ]
    return call.page(found if call.query.get("direction") == "asc" else found[::-1])


def _create_issue(call: Call) -> Answer:
    number = call.repository.number
    value = {
        "number": number,
        "title": call.field("title", "Issue"),
        "body": _body(call.body.get("body")),
        "labels": [{"name": name} for name in call.body.get("labels", [])],
        "state": "open",
        "user": _user(call.token.actor),
        "html_url": f"{call.web}/issues/{number}",
        "updated_at": NOW,
        "edits": 0,
    }
    call.repository.issues[number] = value
    return 201, value, {}


def _update_issue(call: Call, number: str) -> Answer:
    if unknown := set(call.body) - {"title", "body", "state", "state_reason"}:
        raise Refused(422, f"Invalid request: {sorted(unknown)}")
    issue = call.repository.issues.get(int(number))
    if issue is None:
        raise Refused(404, "Not Found")
    issue |= {**call.body, "updated_at": issue["updated_at"]}
    issue["edits"] += 1
    return 200, issue, {}


def _describe_deployment(one: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key != "states"}


def _list_deployments(call: Call) -> Answer:
    asked = {key: value for key, value in call.query.items() if key in ("environment", "task", "ref", "sha")}
    found = [one for one in call.repository.deployments if all(one[key] == value for key, value in asked.items())]
    return call.page([_describe_deployment(one) for one in found[::-1]])


def _short(text: Any) -> str:
    if len(str(text or "")) > 140:
        raise Refused(422, "Validation Failed", errors=["description is too long (maximum is 140 characters)"])
    return str(text or "")


def _create_deployment(call: Call) -> Answer:
    ref = call.field("ref", "Deployment")
    if call.body.get("auto_merge", True) or call.body.get("required_contexts") != []:
        raise Refused(409, "Conflict: Commit status checks failed for that ref, or it would be merged first")
    value = {
        "id": call.github.next(),
        "sha": _commit(call, ref),
        "ref": ref,
        "task": call.body.get("task", "deploy"),
        "environment": call.body.get("environment", "production"),
        "description": _short(call.body.get("description")),
        "payload": call.body.get("payload", {}),
        "creator": _user(call.token.actor),
        "states": [],
    }
    call.repository.deployments.append(value)
    return 201, _describe_deployment(value), {}


def _create_deployment_status(call: Call, number: str) -> Answer:
    value = _one(call.repository.deployments, number)
    known = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")
    if call.field("state", "DeploymentStatus") not in known:
        raise Refused(422, "Validation Failed", errors=["Invalid state"])
    if call.body.get("auto_inactive", True):
        raise Refused(422, "the double does not know auto_inactive: it would end the deployments of other models")
    _short(call.body.get("description"))
    value["states"].append(dict(call.body))
    return 201, {"id": call.github.next(), "state": call.body["state"]}, {}


def _get_release(call: Call, tag: str) -> Answer:
    for one in call.repository.releases:
        if one["tag_name"] == tag:
            return 200, one, {}
    raise Refused(404, "Not Found")


def _create_release(call: Call) -> Answer:
    tag = call.field("tag_name", "Release")
    if any(one["tag_name"] == tag for one in call.repository.releases):
        raise Refused(422, "Validation Failed", errors=[{"resource": "Release", "code": "already_exists"}])
    commit = _commit(call, call.body.get("target_commitish") or call.repository.default)
    call.repository.git("update-ref", f"refs/tags/{tag}", commit)
    value = {"id": call.github.next(), "html_url": f"{call.web}/releases/tag/{tag}", "draft": False, **call.body}
    call.repository.releases.append(value)
    return 201, value, {}


def _update_release(call: Call, number: str) -> Answer:
    value = _one(call.repository.releases, number)
    value.update(call.body)
    return 200, value, {}


def _create_attestation(call: Call) -> Answer:
    call.repository.attestations.append(call.field("bundle", "Attestation"))
    return 201, {"id": call.github.next()}, {}


def _list_attestations(call: Call, digest: str) -> Answer:
    found = [{"bundle": one} for one in call.repository.attestations if one["subject"]["digest"] == digest]
    if not found:
        raise Refused(404, "Not Found")
    return call.page(found, wrap="attestations")


def workflows(repository: Repository, revision: str) -> dict[str, dict[str, Any]]:
    """The workflows of a commit by file name, parsed."""
    listed = repository.git("ls-tree", "--name-only", revision, ".github/workflows/").splitlines()
    found = {}
    for path in listed:
        if path.endswith((".yml", ".yaml")):
            found[Path(path).name] = yaml.load(repository.git("show", f"{revision}:{path}"), Loader=yaml.BaseLoader)
    return found


def _workflow(call: Call, name: str) -> dict[str, Any]:
    for number, (file, text) in enumerate(sorted(workflows(call.repository, call.repository.default).items()), start=1):
        if name in (file, str(number)):
            path = f".github/workflows/{file}"
            state = "disabled_inactivity" if file in call.repository.off else "active"
            return {"id": number, "name": text.get("name", path), "path": path, "state": state}
    raise Refused(404, "Not Found")


def _get_workflow(call: Call, workflow: str) -> Answer:
    return 200, _workflow(call, workflow), {}


def _list_workflows(call: Call) -> Answer:
    files = sorted(workflows(call.repository, call.repository.default))
    return call.page([_workflow(call, file) for file in files], wrap="workflows")


def _enable_workflow(call: Call, workflow: str) -> Answer:
    call.repository.off.discard(Path(_workflow(call, workflow)["path"]).name)
    return 204, None, {}


def _list_runs(call: Call, workflow: str) -> Answer:
    if call.query.get("status") == "completed":
        ended = call.repository.ended.get(Path(_workflow(call, workflow)["path"]).name)
        url = f"{call.web}/actions/runs/1"
        return call.page([{"conclusion": ended, "html_url": url}] if ended else [], wrap="workflow_runs")
    if call.query.get("event") != "schedule":
        raise Refused(501, "This GitHub lists the runs that a schedule started or that have ended, and no others")
    last = call.repository.scheduled.get(Path(_workflow(call, workflow)["path"]).name)
    return call.page([{"event": "schedule", "created_at": last}] if last else [], wrap="workflow_runs")


def _ask(call: Call) -> Answer:
    kind, payload = call.field("event_type", "Dispatch"), call.body.get("client_payload", {})
    if len(kind) > 100 or not isinstance(payload, dict) or len(payload) > 10:
        raise Refused(422, "Invalid request: the event or its payload is too long, or has too many properties")
    call.repository.asked.append({"kind": kind, "payload": payload, "actor": call.token.actor})
    return 204, None, {}


def _dispatch(call: Call, workflow: str) -> Answer:
    found = _workflow(call, workflow)
    file = Path(found["path"]).name
    ref = call.field("ref", "Workflow").removeprefix("refs/heads/")
    if call.repository.commit(f"refs/heads/{ref}") is None:
        raise Refused(422, f"No ref found for: {ref}")
    triggers = workflows(call.repository, f"refs/heads/{ref}").get(file, {}).get("on")
    if not isinstance(triggers, (dict, list)) or "workflow_dispatch" not in triggers:
        raise Refused(422, "Workflow does not have 'workflow_dispatch' trigger")
    known = (triggers.get("workflow_dispatch") or {}) if isinstance(triggers, dict) else {}
    inputs = call.body.get("inputs") or {}
    known = (known or {}).get("inputs") or {} if isinstance(known, dict) else {}
    if unexpected := sorted(set(inputs) - set(known)):
        raise Refused(422, f"Unexpected inputs provided: {unexpected}")
    call.repository.dispatches.append({"workflow": file, "ref": ref, "inputs": inputs, "actor": call.token.actor})
    if call.body.get("return_run_details"):
        run = call.github.next()
        value = {"workflow_run_id": run, "run_url": f"{call.api}/actions/runs/{run}"}
        return 200, {**value, "html_url": f"{call.web}/actions/runs/{run}"}, {}
    return 204, None, {}


def _list_artifacts(call: Call, run: str) -> Answer:
    return call.page(call.repository.artifacts.get(run, []), wrap="artifacts")


def _get_repository(call: Call) -> Answer:
    return 200, describe_repository(call.github, call.repository), {}


def _get_branch(call: Call, branch: str) -> Answer:
    commit = call.repository.commit(f"refs/heads/{branch}")
    if commit is None:
        raise Refused(404, "Branch not found")
    return 200, {"name": branch, "commit": {"sha": commit}, "protected": branch == call.repository.default}, {}


def _get_ref(call: Call, ref: str) -> Answer:
    commit = call.repository.commit(f"refs/{ref}")
    if commit is None:
        raise Refused(404, "Not Found")
    return 200, {"ref": f"refs/{ref}", "object": {"sha": commit, "type": "commit"}}, {}


def _list_rulesets(call: Call) -> Answer:
    brief = ("id", "name", "target", "enforcement", "source", "source_type")
    return call.page([{key: one[key] for key in brief if key in one} for one in call.repository.rulesets])


def _ruleset(call: Call) -> dict[str, Any]:
    call.field("name", "RepositoryRuleset")
    if call.field("enforcement", "RepositoryRuleset") not in ("active", "disabled", "evaluate"):
        raise Refused(422, "Validation Failed", errors=["Invalid enforcement"])
    return {"target": "branch", "source": call.repository.name, "source_type": "Repository", **call.body}


def _create_ruleset(call: Call) -> Answer:
    value = _ruleset(call)
    if any(one["name"] == value["name"] for one in call.repository.rulesets):
        raise Refused(422, "Validation Failed", errors=["Name must be unique"])
    value["id"] = call.github.next()
    call.repository.rulesets.append(value)
    return 201, value, {}


def _get_ruleset(call: Call, number: str) -> Answer:
    return 200, _one(call.repository.rulesets, number), {}


def _update_ruleset(call: Call, number: str) -> Answer:
    value = _one(call.repository.rulesets, number)
    value.update(_ruleset(call))
    return 200, value, {}


def _get_settings(call: Call, setting: str) -> Answer:
    return 200, call.repository.settings.get(setting, {}), {}


def _put_settings(call: Call, setting: str) -> Answer:
    call.repository.settings[setting] = call.body
    return 204, None, {}


def _list_settings(call: Call, setting: str) -> Answer:
    """What a test has put there as a list, under the name that GitHub gives to it."""
    kind = setting.rpartition("/")[2].removeprefix("organization-")
    name = {"deployment-branch-policies": "branch_policies"}.get(kind, kind)
    return call.page(call.repository.settings.get(setting, []), wrap=name)


def _list_owners(call: Call) -> Answer:
    return 200, {"errors": call.repository.settings.get("codeowners/errors", [])}, {}


PLACE = r"environments/[^/]+"
REPOSITORY = r"/repos/(?P<owner>[^/]+)/(?P<name>[^/]+)"
_COMMENTING = (("issues", WRITE), ("pull-requests", WRITE))
_DISCUSSION = (("issues", READ), ("pull-requests", READ))
RELEASES = r"/repos/(?P<name>[^/]+/[^/]+)/releases/(?:tags/(?P<tag>[^/]+)|assets/(?P<file>[^/]+))"
Needs = tuple[tuple[str, str], ...]
# Method, address, the permissions of which one is needed, and what answers.
ROUTES: list[tuple[str, str, Needs, Callable[..., Answer]]] = [
    (method, REPOSITORY + pattern, needs, handle)
    for method, pattern, needs, handle in (
        ("GET", "", (), _get_repository),
        ("GET", r"/issues/(?P<number>\d+)/comments", _DISCUSSION, _list_comments),
        ("POST", r"/issues/(?P<number>\d+)/comments", _COMMENTING, _create_comment),
        ("GET", r"/issues/comments/(?P<number>\d+)", _DISCUSSION, _get_comment),
        ("PATCH", r"/issues/comments/(?P<number>\d+)", _COMMENTING, _update_comment),
        ("DELETE", r"/issues/comments/(?P<number>\d+)", _COMMENTING, _delete_comment),
        ("GET", r"/pulls", (("pull-requests", READ),), _list_pulls),
        ("POST", r"/pulls", (("pull-requests", WRITE),), _create_pull),
        ("GET", r"/pulls/(?P<number>\d+)", (("pull-requests", READ),), _get_pull),
        ("PATCH", r"/pulls/(?P<number>\d+)", (("pull-requests", WRITE),), _update_pull),
        ("GET", r"/commits/(?P<commit>[^/]+)/pulls", (("pull-requests", READ),), _pulls_of_commit),
        ("GET", r"/commits/(?P<commit>[^/]+)/check-runs", (("checks", READ),), _list_checks),
        ("GET", r"/commits/(?P<commit>[^/]+)/statuses", (("statuses", READ),), _list_statuses),
        ("GET", r"/commits/(?P<commit>[^/]+)/status", (("statuses", READ),), _combined_status),
        ("GET", r"/commits/(?P<revision>[^/]+)", (("contents", READ),), _get_commit),
        ("POST", r"/statuses/(?P<commit>[^/]+)", (("statuses", WRITE),), _create_status),
        ("POST", r"/check-runs", (("checks", WRITE),), _create_check),
        ("PATCH", r"/check-runs/(?P<number>\d+)", (("checks", WRITE),), _update_check),
        ("GET", r"/branches/(?P<branch>.+)", (("contents", READ),), _get_branch),
        ("GET", r"/git/ref/(?P<ref>.+)", (("contents", READ),), _get_ref),
        ("GET", r"/actions/workflows", (("actions", READ),), _list_workflows),
        ("GET", r"/actions/workflows/(?P<workflow>[^/]+)", (("actions", READ),), _get_workflow),
        ("POST", r"/actions/workflows/(?P<workflow>[^/]+)/dispatches", (("actions", WRITE),), _dispatch),
        ("PUT", r"/actions/workflows/(?P<workflow>[^/]+)/enable", (("actions", WRITE),), _enable_workflow),
        ("GET", r"/actions/workflows/(?P<workflow>[^/]+)/runs", (("actions", READ),), _list_runs),
        ("POST", r"/dispatches", (("contents", WRITE),), _ask),
        ("GET", r"/actions/runs/(?P<run>\d+)/artifacts", (("actions", READ),), _list_artifacts),
        ("GET", r"/(?P<setting>actions/permissions(?:/workflow)?)", (("administration", READ),), _get_settings),
        ("PUT", r"/(?P<setting>actions/permissions(?:/workflow)?)", (("administration", WRITE),), _put_settings),
        ("GET", r"/(?P<setting>actions/oidc/customization/sub)", (("actions", READ),), _get_settings),
        (
            "GET",
            rf"/(?P<setting>environments|{PLACE}/deployment-branch-policies)",
            (("actions", READ),),
            _list_settings,
        ),
        (
            "GET",
            rf"/(?P<setting>actions/(?:organization-)?variables|{PLACE}/variables)",
            (("variables", READ),),
            _list_settings,
        ),
        (
            "GET",
            rf"/(?P<setting>actions/(?:organization-)?secrets|{PLACE}/secrets)",
            (("secrets", READ),),
            _list_settings,
        ),
        ("GET", r"/codeowners/errors", (("contents", READ),), _list_owners),
        ("GET", r"/actions/runs/(?P<run>\d+)", (("actions", READ),), _get_run),
        ("GET", r"/issues", (("issues", READ),), _list_issues),
        ("POST", r"/issues", (("issues", WRITE),), _create_issue),
        ("PATCH", r"/issues/(?P<number>\d+)", (("issues", WRITE),), _update_issue),
        ("GET", r"/deployments", (("deployments", READ),), _list_deployments),
        ("POST", r"/deployments", (("deployments", WRITE),), _create_deployment),
        ("POST", r"/deployments/(?P<number>\d+)/statuses", (("deployments", WRITE),), _create_deployment_status),
        ("GET", r"/releases/tags/(?P<tag>.+)", (("contents", READ),), _get_release),
        ("POST", r"/releases", (("contents", WRITE),), _create_release),
        ("PATCH", r"/releases/(?P<number>\d+)", (("contents", WRITE),), _update_release),
        ("POST", r"/attestations", (("attestations", WRITE),), _create_attestation),
        ("GET", r"/attestations/(?P<digest>sha256:[0-9a-f]{64})", (("attestations", READ),), _list_attestations),
        ("GET", r"/rulesets", (), _list_rulesets),
        ("POST", r"/rulesets", (("administration", WRITE),), _create_ruleset),
        ("GET", r"/rulesets/(?P<number>\d+)", (), _get_ruleset),
        ("PUT", r"/rulesets/(?P<number>\d+)", (("administration", WRITE),), _update_ruleset),
    )
]


def _modelled(place: str) -> bool:
    """Whether GitHub has something at an address of this kind; elsewhere it says 404 and nothing is amiss here."""
    return re.match(r"/(repos/[^/]+/[^/]+/|graphql|api/graphql|user|orgs/|app)", place) is not None


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection; the TLS handshake is its own thread's work, so that a slow client blocks nobody."""

    github: GitHub
    protocol_version = "HTTP/1.1"
    timeout = 60

    def setup(self) -> None:
        self.request = self.github._context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, ValueError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Quiet: `requests` and `refusals` keep what matters."""

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _serve(self) -> None:
        body = self._read()
        github = self.github
        asked = f"{self.command} {self.path}"
        github.requests.append(asked)
        git = re.search(r"/(info/refs|git-(upload|receive)-pack)(\?|$)", self.path) is not None
        headers: dict[str, str]
        try:
            if git:
                status, headers, content = github.backend(self.command, self.path, self.headers, body)
            else:
                status, value, headers = github.answer(self.command, self.path, self.headers.get("Authorization"), body)
                headers = {"Content-Type": "application/json; charset=utf-8", **headers}
                content = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
        except Refused as refused:
            github.refusals.append(f"{asked}: {refused}")
            status = refused.status
            content = refused.body["message"].encode() if git else json.dumps(refused.body).encode()
            headers = {"Content-Type": "text/plain" if git else "application/json; charset=utf-8"}
            if status == 401:
                headers["WWW-Authenticate"] = 'Basic realm="GitHub"'
        except Exception as problem:
            github.unknown.append(f"{asked}: {problem!r}")
            status, headers, content = 500, {"Content-Type": "text/plain"}, repr(problem).encode()
        self.send_response(status)
        for key, text in headers.items():
            self.send_header(key, text)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = _serve
