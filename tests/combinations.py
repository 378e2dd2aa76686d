"""The one table of what is rendered: every combination of the options that change files."""

import itertools

TASKS = ("classification", "regression")
STORAGES = ("git", "s3", "gs", "azure")
LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary")

COMBINATIONS = [
    {"task": task, "storage": storage, "license": license}
    for task, storage, license in itertools.product(TASKS, STORAGES, LICENSES)
]


def name(answers: dict[str, str]) -> str:
    """How a combination is called in test reports."""
    return "-".join(answers.values())
