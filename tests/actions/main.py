"""Run one double: `python3 main.py <module>`. A refusal is an error annotation and exit code 1, as of a real action."""

import importlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))


def main() -> int:
    """Hand the inputs (text, empty where not given) to the module's `run`; record that the action ran."""
    common = importlib.import_module("common")
    inputs = {key: str(value if value is not None else "") for key, value in common.inputs().items()}
    if record := os.environ.get("ACTING_RECORD"):
        shown = {key: value for key, value in inputs.items() if "token" not in key and "key" not in key}
        line = {"action": os.environ["ACTING_ACTION"], "job": os.environ.get("GITHUB_JOB"), "inputs": shown}
        with open(record, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    try:
        outputs = importlib.import_module(sys.argv[1]).run(inputs) or {}
    except common.Refused as problem:
        print(f"::error::{problem}")
        return 1
    for key, value in outputs.items():
        common.set_output(key, value)
    return 0


if __name__ == "__main__":
    sys.exit(main())
