"""Doubles of the actions that the generated workflows use: what does each take, and what stands in for it?

`ACTIONS` has, for every action, the inputs and outputs of its real `action.yml` (of the pinned commit, or the nearest
public version of it); an input that is not there is refused. `write` makes a folder per action that act can run: a
composite action whose one step is a module of this package.
"""

import json
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
NO_DEFAULT = None
Inputs = Mapping[str, str | None]

_CACHE_OUTPUTS = ("cache-hit", "cache-primary-key", "cache-matched-key")
_PERMISSIONS = (
    "actions",
    "administration",
    "checks",
    "contents",
    "deployments",
    "environments",
    "issues",
    "metadata",
    "packages",
    "pull-requests",
    "statuses",
    "workflows",
)


def _optional(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


# Name (and folder in its repository) → module, inputs with their defaults, outputs.
ACTIONS: dict[str, tuple[str, Inputs, tuple[str, ...]]] = {
    "actions/checkout": (
        "checkout",
        {
            "repository": "${{ github.repository }}",
            "token": "${{ github.token }}",
            "persist-credentials": "true",
            "clean": "true",
            "sparse-checkout-cone-mode": "true",
            "fetch-depth": "1",
            "fetch-tags": "false",
            "show-progress": "true",
            "lfs": "false",
            "submodules": "false",
            "set-safe-directory": "true",
            "ssh-strict": "true",
            "ssh-user": "git",
            "allow-unsafe-pr-checkout": "false",
            **_optional("ref", "ssh-key", "ssh-known-hosts", "path", "filter", "sparse-checkout", "github-server-url"),
        },
        ("ref", "commit"),
    ),
    "actions/upload-artifact": (
        "upload",
        {
            "name": "artifact",
            "if-no-files-found": "warn",
            "compression-level": "6",
            "overwrite": "false",
            "include-hidden-files": "false",
            **_optional("path", "retention-days"),
        },
        ("artifact-id", "artifact-url", "artifact-digest"),
    ),
    "actions/download-artifact": (
        "download",
        {
            "merge-multiple": "false",
            "repository": "${{ github.repository }}",
            "run-id": "${{ github.run_id }}",
            **_optional("name", "artifact-ids", "path", "pattern", "github-token"),
        },
        ("download-path",),
    ),
    "astral-sh/setup-uv": (
        "setup_uv",
        {
            "version": "",
            "version-file": "",
            "activate-environment": "false",
            "venv-path": "",
            "no-project": "false",
            "working-directory": "${{ github.workspace }}",
            "github-token": "${{ github.token }}",
            "enable-cache": "auto",
            "cache-dependency-glob": "**/pyproject.toml\n**/uv.lock\n",
            "restore-cache": "true",
            "save-cache": "true",
            "cache-local-path": "",
            "prune-cache": "false",
            "cache-python": "false",
            "ignore-nothing-to-cache": "false",
            "ignore-empty-workdir": "false",
            "download-from-astral-mirror": "true",
            "add-problem-matchers": "true",
            "quiet": "false",
            "resolution-strategy": "highest",
            **_optional("python-version", "checksum", "cache-suffix", "tool-dir", "tool-bin-dir", "manifest-file"),
        },
        ("uv-version", "uv-path", "uvx-path", "cache-hit", "cache-key", "venv", "python-version", "python-cache-hit"),
    ),
    "actions/cache/restore": (
        "restore",
        {
            "enableCrossOsArchive": "false",
            "fail-on-cache-miss": "false",
            "lookup-only": "false",
            **_optional("path", "key", "restore-keys"),
        },
        _CACHE_OUTPUTS,
    ),
    "actions/cache/save": (
        "save",
        {"enableCrossOsArchive": "false", **_optional("path", "key", "upload-chunk-size")},
        (),
    ),
    "actions/create-github-app-token": (
        "app_token",
        {
            "skip-token-revoke": "false",
            "github-api-url": "${{ github.api_url }}",
            **_optional("client-id", "app-id", "private-key", "owner", "repositories", "enterprise"),
            **_optional(*(f"permission-{name}" for name in _PERMISSIONS)),
        },
        ("token", "installation-id", "app-slug"),
    ),
    "aws-actions/configure-aws-credentials": (
        "login",
        {
            "audience": "sts.amazonaws.com",
            **_optional("aws-region", "role-to-assume", "role-session-name", "role-duration-seconds"),
            **_optional("allowed-account-ids", "mask-aws-account-id", "unset-current-credentials"),
        },
        ("aws-account-id",),
    ),
    "google-github-actions/auth": (
        "login",
        {
            "create_credentials_file": "true",
            "export_environment_variables": "true",
            "cleanup_credentials": "true",
            **_optional("project_id", "workload_identity_provider", "service_account", "audience", "token_format"),
        },
        ("project_id", "credentials_file_path", "access_token"),
    ),
    "docker/login-action": (
        "registry",
        {
            "ecr": "auto",
            "logout": "true",
            **_optional("registry", "username", "password", "scope", "registry-auth"),
        },
        (),
    ),
    "anchore/sbom-action": (
        "sbom",
        {
            "path": ".",
            "format": "spdx-json",
            "github-token": "${{ github.token }}",
            "dependency-snapshot": "false",
            "upload-artifact": "true",
            "upload-artifact-retention": "0",
            "upload-release-assets": "true",
            **_optional("file", "image", "registry-username", "registry-password", "artifact-name", "output-file"),
            **_optional("syft-version", "sbom-artifact-match", "config"),
        },
        (),
    ),
    "anchore/scan-action": (
        "scan",
        {
            "fail-build": "true",
            "output-format": "sarif",
            "severity-cutoff": "medium",
            "only-fixed": "false",
            "add-cpes-if-none": "false",
            "by-cve": "false",
            "cache-db": "false",
            **_optional("image", "path", "sbom", "output-file", "registry-username", "registry-password"),
            **_optional("grype-version", "vex", "config"),
        },
        ("sarif", "json", "cyclonedx-xml", "cyclonedx-json"),
    ),
    "actions/attest": (
        "attest",
        {
            "push-to-registry": "false",
            "create-storage-record": "true",
            "show-summary": "true",
            "github-token": "${{ github.token }}",
            **_optional("subject-path", "subject-digest", "subject-name", "subject-checksums", "subject-version"),
            **_optional("sbom-path", "predicate-type", "predicate", "predicate-path"),
        },
        ("bundle-path", "attestation-id", "attestation-url", "storage-record-ids"),
    ),
    "azure/login": (
        "login",
        {
            "environment": "azurecloud",
            "allow-no-subscriptions": "false",
            "audience": "api://AzureADTokenExchange",
            **_optional("client-id", "tenant-id", "subscription-id"),
        },
        (),
    ),
}


def known(uses: str) -> tuple[str, tuple[str, Inputs, tuple[str, ...]]] | None:
    """The name and the entry of the action that `owner/name[/folder]@ref` asks for; GitHub does not mind case."""
    name = uses.partition("@")[0].lower()
    return (name, ACTIONS[name]) if name in ACTIONS else None


def write(folder: Path) -> dict[str, Path]:
    """Write every double into a folder of its repository: `owner/name` → that folder, ready for act."""
    made = {}
    for name, (module, inputs, outputs) in ACTIONS.items():
        owner, repository, *rest = name.split("/")
        root = folder / owner / repository
        place = root.joinpath(*rest)
        place.mkdir(parents=True, exist_ok=True)
        value = {
            "name": name,
            "description": f"Stands in for {name}",
            "inputs": {
                key: {"description": key} if default is NO_DEFAULT else {"description": key, "default": default}
                for key, default in inputs.items()
            },
            "outputs": {
                key: {"description": key, "value": "${{ steps.double.outputs." + key + " }}"} for key in outputs
            },
            "runs": {
                "using": "composite",
                "steps": [
                    {
                        "id": "double",
                        "shell": "bash",
                        # Isolated from the checked-out code: only this package is on the path of modules.
                        "run": 'python3 -I "$ACTING_DOUBLES/main.py" "$ACTING_MODULE"',
                        "env": {
                            "ACTING_ACTION": name,
                            "ACTING_MODULE": module,
                            "ACTING_INPUTS": "${{ toJSON(inputs) }}",
                            "ACTING_WORKSPACE": "${{ github.workspace }}",
                            "ACTING_TOKEN": "${{ github.token }}",
                        },
                    }
                ],
            },
        }
        # JSON is YAML, and needs no library.
        (place / "action.yml").write_text(json.dumps(value, indent=2), encoding="utf-8")
        made[f"{owner}/{repository}"] = root
    return made
