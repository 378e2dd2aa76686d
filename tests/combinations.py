"""The one table of what is rendered: every combination of the options that change files."""

import itertools

TASKS = ("classification", "regression")
STORAGES = ("git", "s3", "gs", "azure")
DEPLOYS = ("docker", "kubernetes")
LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary")

COMBINATIONS = [
    {"task": task, "storage": storage, "deploy": deploy, "license": license}
    for task, storage, deploy, license in itertools.product(TASKS, STORAGES, DEPLOYS, LICENSES)
]


def name(answers: dict[str, str]) -> str:
    """How a combination is called in test reports."""
    return "-".join(answers.values())
