"""How does a deploying job reach its target? Puts a key, or a kubeconfig, where `ssh` and `kubectl` find it.

A key that an environment of GitHub holds comes as a variable of one step. It is written to the run's temporary folder,
for its owner alone, and never to a home folder: `docker` starts the `ssh` that stands first on the PATH, which is a
line that names this key and these hosts, and accepts no others. Standard library only.
"""

import os
import shlex
import shutil
from pathlib import Path

from mlops import actions
from mlops.cli import Outcome
from mlops.errors import Refusal

KEY, HOSTS, CONFIGURATION = "DEPLOY_SSH_KEY", "DEPLOY_KNOWN_HOSTS", "DEPLOY_KUBECONFIG"

_SETTINGS = """\
Host *
  IdentityFile "{key}"
  IdentitiesOnly yes
  UserKnownHostsFile "{hosts}"
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 15
  ServerAliveInterval 15
  ServerAliveCountMax 4
"""


def reach(root: Path) -> Outcome:
    """Make the keys of this step usable for all later ones; without any, this machine's own settings are used.

    Raises `Refusal` outside of a workflow run, and for a key without the hosts that it may be shown to.
    """
    key, configuration = os.environ.get(KEY, "").strip(), os.environ.get(CONFIGURATION, "").strip()
    if not (key or configuration):
        sentence = f"Neither {KEY} nor {CONFIGURATION} is set: this machine's own settings are used."
        return Outcome(sentence, {"ssh": False, "kubeconfig": False})
    temporary = actions.temporary()
    if temporary is None:
        raise Refusal("This is no workflow run.", do="On a laptop your own ssh and kubectl settings are used.")
    folder = temporary / "reach"
    folder.mkdir(mode=0o700, exist_ok=True)
    said = []
    if key:
        _ssh(folder, key)
        said.append("ssh uses the key of this environment, and knows the hosts of DEPLOY_KNOWN_HOSTS only.")
    if configuration:
        actions.set_variable("KUBECONFIG", str(_private(folder / "kubeconfig", configuration)))
        said.append("kubectl uses the kubeconfig of this environment.")
    return Outcome("\n".join(said), {"ssh": bool(key), "kubeconfig": bool(configuration)})


def _ssh(folder: Path, key: str) -> None:
    hosts = os.environ.get(HOSTS, "").strip()
    if not hosts:
        raise Refusal(
            f"{KEY} is set and {HOSTS} is not: the key would be shown to whoever answers.",
            do=f"Set the variable {HOSTS} of this environment to what `ssh-keyscan HOST` prints, once it is checked.",
        )
    program = shutil.which("ssh")
    if program is None:
        raise Refusal("The program `ssh` is not installed.", do="Install OpenSSH's client on this runner.")
    settings = _SETTINGS.format(key=_private(folder / "key", key), hosts=_private(folder / "known_hosts", hosts))
    place = _private(folder / "config", settings)
    programs = folder / "bin"
    programs.mkdir(mode=0o700, exist_ok=True)
    line = f'#!/bin/sh\nexec {shlex.quote(program)} -F {shlex.quote(str(place))} "$@"'
    _private(programs / "ssh", line).chmod(0o700)
    actions.add_path(programs)


def _private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text.replace("\r\n", "\n").rstrip("\n") + "\n")
    return path
