"""Logins by OpenID Connect (AWS, Google, Azure): refuse where the job was not granted `id-token: write`."""

import os

from common import Refused, set_environment

NEEDED = {
    "aws-actions/configure-aws-credentials": ("role-to-assume", "aws-region"),
    "google-github-actions/auth": ("workload_identity_provider",),
    "azure/login": ("client-id", "tenant-id"),
}


def run(inputs: dict[str, str]) -> dict[str, str]:
    """Log in; what the client then finds in the environment comes from the test (`ACTING_LOGIN_…`)."""
    action = os.environ["ACTING_ACTION"]
    for name in NEEDED[action]:
        if not inputs[name]:
            raise Refused(f"Input required and not supplied: {name}")
    if inputs.get("allow-no-subscriptions") == "false" and not inputs["subscription-id"]:
        raise Refused("Ensure 'subscriptionId' is supplied, or set allow-no-subscriptions")
    if not os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"):
        raise Refused(
            "Unable to get ACTIONS_ID_TOKEN_REQUEST_URL env variable: the job was not granted id-token: write"
        )
    for key, value in os.environ.items():
        if key.startswith("ACTING_LOGIN_"):
            set_environment(key.removeprefix("ACTING_LOGIN_"), value)
    return {}
