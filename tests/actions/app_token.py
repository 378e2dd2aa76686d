"""actions/create-github-app-token: asks the loopback server for a token of an App that a test installed there."""

import json
import os
import ssl
import urllib.error
import urllib.request

from common import Refused


def run(inputs: dict[str, str]) -> dict[str, str]:
    """A token with the permissions that were asked for, in this repository only."""
    if not inputs["private-key"]:
        raise Refused("Input required and not supplied: private-key")
    client = inputs["client-id"] or inputs["app-id"]
    if not client:
        raise Refused("The 'client-id' input must be set to a non-empty string.")
    for name in ("owner", "repositories", "enterprise"):
        if inputs[name] and inputs[name] not in os.environ["GITHUB_REPOSITORY"].split("/"):
            raise Refused(f"the App is not installed in {inputs[name]}")
    asked = {key.removeprefix("permission-"): value for key, value in inputs.items() if key.startswith("permission-")}
    body = {"client_id": client, "permissions": {key: value for key, value in asked.items() if value}}
    request = urllib.request.Request(
        f"{inputs['github-api-url']}/app/installations/1/access_tokens",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {inputs['private-key']}"},
    )
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(), timeout=30) as answer:
            token = json.load(answer)["token"]
    except urllib.error.HTTPError as problem:
        raise Refused(json.load(problem)["message"]) from None
    print(f"::add-mask::{token}")
    return {"token": token, "installation-id": "1", "app-slug": "app"}
