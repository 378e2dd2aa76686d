"""Which variables and secrets of GitHub do the workflows read, and which of them is useless without which others?"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One name that a workflow reads; `needs` are those without which it does harm or nothing."""

    name: str
    kind: Literal["variable", "secret"]
    environments: tuple[str, ...] = ()
    """Where else than for the whole repository it may be kept: all jobs that read it belong to one of these."""
    needs: tuple[str, ...] = ()


STORAGE = ("STORAGE_READER", "STORAGE_REALM", "STORAGE_WRITER")
"""What a sign-in to a bucket takes."""
TARGETS = ("staging", "production")
"""What is deployed to."""

SETTINGS = (
    Setting(name="APP_CLIENT_ID", kind="variable", environments=("storage",), needs=("APP_PRIVATE_KEY",)),
    Setting(name="APP_PRIVATE_KEY", kind="secret", environments=("storage",), needs=("APP_CLIENT_ID",)),
    Setting(name="ATTESTATIONS", kind="variable"),
    Setting(name="BASE_IMAGE", kind="variable", environments=("registry",)),
    Setting(name="DEPLOY_FREEZE", kind="variable", environments=TARGETS),
    Setting(name="DEPLOY_KNOWN_HOSTS", kind="variable", environments=TARGETS),
    Setting(name="DEPLOY_KUBECONFIG", kind="secret", environments=TARGETS),
    Setting(name="DEPLOY_SSH_KEY", kind="secret", environments=TARGETS),
    Setting(name="MLFLOW_TRACKING_TOKEN", kind="secret", environments=("record",), needs=("MLFLOW_TRACKING_URI",)),
    Setting(name="MLFLOW_TRACKING_URI", kind="variable", environments=("record",)),
    Setting(name="PRODUCTION_ADDRESS", kind="variable"),
    Setting(name="REGISTRY", kind="variable", needs=("REGISTRY_USER", "REGISTRY_PASSWORD")),
    Setting(name="REGISTRY_PASSWORD", kind="secret", environments=("registry", *TARGETS), needs=("REGISTRY",)),
    Setting(name="REGISTRY_USER", kind="variable", environments=("registry", *TARGETS), needs=("REGISTRY",)),
    Setting(name="RETRAIN_FREEZE", kind="variable"),
    Setting(name="STAGING_ADDRESS", kind="variable"),
    Setting(name="STORAGE_READER", kind="variable", needs=STORAGE),
    Setting(name="STORAGE_REALM", kind="variable", needs=STORAGE),
    Setting(name="STORAGE_WRITER", kind="variable", environments=("storage",), needs=STORAGE),
    Setting(name="WATCH_TOKEN", kind="secret", environments=("watch",)),
    Setting(name="WEBHOOK_URL", kind="secret", environments=("watch",)),
)
KEPT = ("storage", "registry", "record", "watch", *TARGETS)
"""The environments of the workflows' jobs."""
