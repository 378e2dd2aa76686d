"""What does the proxy read? HAProxy's configuration as text: pure, and the same text for the same servers.

One file for the environment, and one for each model with nothing but its backend, so that models can be deployed at the
same time. A request for `/<model>/…` goes to that model's servers without the prefix. `/<model>/-/traffic` says who
gets how much; a change is in force when it says so.
"""

import hashlib
import json
from collections.abc import Sequence

from mlops.deploying.release import Server

PORT = 8080
"""Where the proxy and the services listen, inside of their containers."""
LONGEST = 15
"""Seconds for a request, more than the service gives it; an old process of the proxy ends after as many."""
IDLE = 5
"""Seconds after which a client's idle connection is closed; so long may an old process wait for one."""
REQUESTS = 64
"""Requests that a container works on at once, by the proxy and by its own setting; others wait for `QUEUE` seconds."""
QUEUE = 1
"""Seconds for which a request waits for its turn, and after which it may come again."""
BASE = "00-environment.cfg"
TRAFFIC = "/-/traffic"

BUSY = '{"error": "There is too much work, or nothing that serves."}'

_BASE = f"""\
# Written by `mlops deploy`. A model's servers are in the file that has its name.
global
    log stdout format raw local0 notice
    maxconn 4096
    hard-stop-after {LONGEST}s

defaults
    mode http
    log global
    option dontlognull
    option forwardfor
    # A client that is about to send gets its answer, also from a process that is about to end.
    option idle-close-on-response
    # A prediction changes nothing, so that another server may be asked when one went away.
    option redispatch
    retries 3
    retry-on conn-failure empty-response
    timeout connect 2s
    timeout client {LONGEST}s
    timeout server {LONGEST}s
    timeout queue {QUEUE}s
    timeout http-request 10s
    timeout http-keep-alive {IDLE}s
    # Who is not served in time, or by nobody, is told so at once and when to come again.
    http-error status 503 content-type application/json string '{BUSY}' hdr Retry-After {QUEUE}

# A container that starts again may have another address.
resolvers engine
    parse-resolv-conf
    hold valid 1s
    resolve_retries 3
    timeout resolve 1s
    timeout retry 1s

frontend requests
    bind :{PORT}
    http-request return status 200 content-type text/plain string "ready" if {{ path /-/ready }}
    use_backend model-%[path,word(1,/)]
    default_backend nothing

backend nothing
    http-request return status 404 content-type application/json string '{{"error": "There is no such model."}}'
"""


def base() -> str:
    """The configuration of the environment."""
    return _BASE


def file(model: str) -> str:
    """The name of a model's file."""
    return f"model-{model}.cfg"


def backend(model: str, servers: Sequence[Server]) -> str:
    """The configuration of one model; without servers every request gets 503."""
    said = report(model, servers)
    lines = [
        f"backend model-{model}",
        "    balance roundrobin",
        f"    acl asked path /{model}{TRAFFIC}",
        f"    http-request return status 200 content-type application/json string '{said}' if asked",
        f"    http-request set-header X-Forwarded-Prefix /{model}",
        r"    http-request replace-path /[^/]*/?(.*) /\1",
        "    option httpchk GET /v2/health/ready",
        "    http-check expect status 200",
        f"    default-server check inter 500ms fall 2 rise 1 maxconn {REQUESTS}",
        "    default-server resolvers engine resolve-prefer ipv4 init-addr last,libc,none",
        *(f"    server {one.name} {one.name}:{PORT} weight {one.weight}" for one in servers),
    ]
    return "\n".join(lines) + "\n"


def report(model: str, servers: Sequence[Server]) -> str:
    """What `/-/traffic` of a model answers: its servers and weights, and a mark by which a change is known."""
    weights = {one.name: one.weight for one in servers}
    mark = hashlib.sha256(json.dumps([model, weights], sort_keys=True).encode()).hexdigest()[:12]
    return json.dumps({"model": model, "servers": weights, "mark": mark}, sort_keys=True)
