"""`gh attestation verify` for act runs, in front of the real `gh`, which does everything else.

The real one checks certificates that only GitHub can give. This one asks the GitHub on this machine what was attested
about a digest, and refuses what the real one would: no login for the registry, nothing attested, another signer or
source. The options are those of gh 2.102.
"""

import argparse
import json
import os
import re
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn


def fail(sentence: str) -> NoReturn:
    """As gh says it."""
    print(f"Error: {sentence}", file=sys.stderr)
    raise SystemExit(1)


def verify(arguments: list[str]) -> None:
    """Verify one image by what was attested about its digest."""
    parser = argparse.ArgumentParser(prog="gh attestation verify", allow_abbrev=False)
    parser.add_argument("subject")
    for name in ("repo", "signer-workflow", "source-ref", "source-digest"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--deny-self-hosted-runners", action="store_true", required=True)
    asked = parser.parse_args(arguments)
    image = re.fullmatch(r"oci://((?:[^/@]+)(?:/[^@]+))@(sha256:[0-9a-f]{64})", asked.subject)
    if not image:
        fail(f"{asked.subject} is not an image by its digest")
    host = image[1].partition("/")[0]
    config = Path(os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker"))) / "config.json"
    if not config.is_file() or host not in json.loads(config.read_text())["auths"]:
        fail(f"failed to fetch remote image: UNAUTHORIZED: authentication required by {host}")
    token = os.environ.get("GH_ENTERPRISE_TOKEN")
    if not token:
        fail("To get started with GitHub CLI, please run: gh auth login")
    address = f"https://{os.environ['GH_HOST']}/api/v3/repos/{asked.repo}/attestations/{image[2]}"
    request = urllib.request.Request(address, headers={"Authorization": f"token {token}"})
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(), timeout=30) as answer:
            bundles = [one["bundle"] for one in json.load(answer)["attestations"]]
    except urllib.error.HTTPError as problem:
        message = json.load(problem)["message"]
        fail(
            f"no attestations found for subject {image[2]}"
            if problem.code == 404
            else f"HTTP {problem.code}: {message}"
        )
    wanted = {
        "predicate": "https://slsa.dev/provenance/v1",
        "signer": asked.signer_workflow,
        "ref": asked.source_ref,
        "commit": asked.source_digest,
    }
    for key, value in wanted.items():
        bundles = [one for one in bundles if one[key] == value]
        if not bundles:
            fail(f"verifying with issuer failed: expected {key} to be {value}")
    if not any(one["subject"]["name"] == image[1] for one in bundles):
        fail(f"the attested subject is not {image[1]}")
    print("Verification succeeded!")


if __name__ == "__main__":
    if sys.argv[1:3] == ["attestation", "verify"]:
        verify(sys.argv[3:])
    else:
        program = str(Path(__file__).with_name("real-gh"))
        os.execv(program, [program, *sys.argv[1:]])
