"""Which settings keep the tools that we call from reporting home? Standard library only.

Nothing leaves for a third party: the command line applies these before it starts any verb.
"""

import os

SILENCE = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def apply() -> None:
    """Set them for this process and for all that it starts."""
    os.environ.update(SILENCE)
