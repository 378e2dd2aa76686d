"""What the Kubernetes manifests ask of an image, in the words of `docker run`, so that a real engine can show it."""

from typing import Any

import yaml

from tests.rendering import PRODUCT

WORKLOAD = PRODUCT / "deploy" / "kubernetes" / "base" / "workload.yaml"


def docker_flags() -> list[str]:
    """The security context of the pods as flags of `docker run`; one that has no flag here is an error.

    What needs no flag is checked and left out: Docker does what `seccompProfile: RuntimeDefault` says anyway, `fsGroup`
    is the group of a volume, and `privileged: false` is the default.
    """
    spec = yaml.safe_load(WORKLOAD.read_text(encoding="utf-8"))["spec"]["template"]["spec"]
    pod, container = dict(spec["securityContext"]), dict(spec["containers"][0]["securityContext"])
    flags: list[str] = []
    if container.pop("readOnlyRootFilesystem"):
        flags += ["--read-only"]
    capabilities: dict[str, Any] = container.pop("capabilities")
    flags += [word for one in capabilities.pop("drop") for word in ("--cap-drop", one)]
    if not container.pop("allowPrivilegeEscalation"):
        flags += ["--security-opt", "no-new-privileges"]
    flags += ["--user", f"{pod.pop('runAsUser')}:{pod.pop('runAsGroup')}"]
    assert pod.pop("runAsNonRoot") is True
    assert pod.pop("seccompProfile") == {"type": "RuntimeDefault"}
    assert container.pop("privileged") is False
    pod.pop("fsGroup")
    assert not pod, pod
    assert not container, container
    assert not capabilities, capabilities
    return flags


def writable() -> list[str]:
    """The folders that a pod may write to."""
    spec = yaml.safe_load(WORKLOAD.read_text(encoding="utf-8"))["spec"]["template"]["spec"]
    return [one["mountPath"] for one in spec["containers"][0].get("volumeMounts", []) if not one.get("readOnly")]
