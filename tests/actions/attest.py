"""actions/attest: stores what is claimed about a digest, with the identity of the job that claims it."""

import json
import os
import re
import ssl
import urllib.error
import urllib.request

from common import Refused, flag, inside

PROVENANCE, SBOM = "https://slsa.dev/provenance/v1", "https://spdx.dev/Document/v2.3"


def run(inputs: dict[str, str]) -> dict[str, str]:
    """Attest a subject that is named with its digest: provenance, or a list of parts where one is given."""
    if not os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"):
        raise Refused('missing "id-token" permission. Please add "permissions: id-token: write" to your workflow.')
    if inputs["subject-path"] or inputs["subject-checksums"] or not inputs["subject-name"]:
        raise Refused("the double of actions/attest takes subject-name and subject-digest")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", inputs["subject-digest"]):
        raise Refused('subject-digest must be in the format "sha256:<hex-digest>"')
    if flag(inputs["push-to-registry"]):
        raise Refused("the double of actions/attest does not push to a registry")
    if inputs["sbom-path"] and "SPDX" not in json.loads(inside(inputs["sbom-path"]).read_text()).get("spdxVersion", ""):
        raise Refused("Unsupported SBOM format")
    bundle = {
        "subject": {"name": inputs["subject-name"], "digest": inputs["subject-digest"]},
        "predicate": SBOM if inputs["sbom-path"] else PROVENANCE,
        "signer": f"{os.environ['GITHUB_REPOSITORY']}/{os.environ['ACTING_SIGNER']}",
        "ref": os.environ["GITHUB_REF"],
        "commit": os.environ["GITHUB_SHA"],
    }
    request = urllib.request.Request(
        f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/attestations",
        data=json.dumps({"bundle": bundle}).encode(),
        headers={"Authorization": f"token {inputs['github-token']}"},
    )
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(), timeout=30) as answer:
            return {"attestation-id": str(json.load(answer)["id"])}
    except urllib.error.HTTPError as problem:
        raise Refused(f"Failed to persist attestation: {json.load(problem)['message']}") from None
