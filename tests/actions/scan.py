"""anchore/scan-action: finds in a list of parts what the test says there is (`ACTING_VULNERABILITY`, a severity)."""

import json
import os

from common import Refused, flag, inside

SEVERITIES = ("negligible", "low", "medium", "high", "critical")


def run(inputs: dict[str, str]) -> None:
    """Fail for a finding at or above the cutoff, unless the build is not to fail; nothing is found in no list."""
    if sum(bool(inputs[name]) for name in ("image", "path", "sbom")) != 1:
        raise Refused("The following options are mutually exclusive: image, path, sbom")
    if not inputs["sbom"]:
        raise Refused("the double of anchore/scan-action reads a list only")
    if inputs["severity-cutoff"] not in SEVERITIES:
        raise Refused(f"Invalid severity-cutoff value: {inputs['severity-cutoff']}")
    json.loads(inside(inputs["sbom"]).read_text())
    found = os.environ.get("ACTING_VULNERABILITY", "")
    if found and SEVERITIES.index(found) >= SEVERITIES.index(inputs["severity-cutoff"]) and flag(inputs["fail-build"]):
        raise Refused(f"Failed minimum severity level. Found vulnerability with level '{found}' or higher")
