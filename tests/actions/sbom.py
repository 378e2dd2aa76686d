"""anchore/sbom-action: writes a list of parts that names the image it was asked about."""

import json
import re

from common import Refused, inside


def run(inputs: dict[str, str]) -> None:
    """Write the file. What the real one would upload by itself is refused: it takes rights that the job lacks."""
    if not re.fullmatch(r"[\w./:-]+@sha256:[0-9a-f]{64}", inputs["image"]):
        raise Refused(f"unable to pull the image {inputs['image']!r}: not named by a digest")
    for name in ("upload-artifact", "upload-release-assets"):
        if inputs[name] != "false":
            raise Refused(f"{name} is on: the list would be uploaded a second time, under a name of its own")
    if inputs["format"] != "spdx-json" or not inputs["output-file"]:
        raise Refused("the double of anchore/sbom-action writes spdx-json into output-file")
    value = {"spdxVersion": "SPDX-2.3", "name": inputs["image"], "packages": [{"name": "scikit-learn"}]}
    inside(inputs["output-file"]).write_text(json.dumps(value))
