"""docker/login-action: notes the login where `docker` looks for it, for this job only; asks what the token may do."""

import base64
import json
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from common import Refused, set_environment


def run(inputs: dict[str, str]) -> None:
    """Sign in. A token of this server must be one that may at least read packages; another password is taken."""
    for name in ("username", "password"):
        if not inputs[name]:
            raise Refused(f"{name.capitalize()} required")
    if not inputs["registry"]:
        raise Refused("the double of docker/login-action does not sign in to Docker Hub")
    level = "write"
    if inputs["password"].startswith("ghs_"):
        level = _level(inputs["password"])
        if level not in ("read", "write"):
            raise Refused("denied: the token was not granted packages: read or write")
    # A runner of GitHub is another machine for each job.
    folder = Path(os.environ["ACTING_PROCESS"]) / "docker"
    folder.mkdir(exist_ok=True)
    secret = base64.b64encode(f"{inputs['username']}:{inputs['password']}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {inputs["registry"]: {"auth": secret}}}))
    (folder / "level").write_text(level)
    set_environment("DOCKER_CONFIG", folder)
    print("Login Succeeded!")


def _level(token: str) -> str:
    request = urllib.request.Request(
        f"{os.environ['GITHUB_SERVER_URL']}/_registry", headers={"Authorization": f"token {token}"}
    )
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(), timeout=30) as answer:
            return str(json.load(answer)["packages"])
    except urllib.error.HTTPError as problem:
        raise Refused(json.load(problem)["message"]) from None
