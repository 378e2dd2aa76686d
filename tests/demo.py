"""Shows the template: renders the default project and runs its whole local loop, a first and a second version.

    python -m tests.demo build/demo

It may be run again: what is there is kept and only what changed is done. A project of an older template, or one that
somebody worked in, is not touched; the script says what to do instead.
"""

import json
import sys
from pathlib import Path

from tests.showing import Demo

REFRESHED = "2026-10-01"


def main() -> int:
    """Run the loop; 0 when it ran to its end, whatever the verdict on the second version."""
    demo = Demo(name="make demo", steps=6, project=Path(sys.argv[1]).resolve())
    demo.start()

    demo.step(1, "Generate a repository, as `cookiecutter` would")
    demo.generate()
    demo.step(2, "Install what it needs")
    demo.make("setup")

    model = demo.model
    demo.step(3, "A first version: nothing serves yet, so it must beat the baseline")
    demo.first_version()

    demo.step(4, f"Three months later: new rows up to {REFRESHED}, on a branch")
    is_there = demo.git("branch", "--list", "challenger")
    demo.git("switch", "--quiet", *([] if is_there else ["--create"]), "challenger")
    demo.make("refresh", f"MODEL={model}", f"AS_OF={REFRESHED}")

    demo.step(5, "A second version: champion and challenger on the same rows")
    found = demo.project / "reports" / model / "evidence.json"
    found.unlink(missing_ok=True)
    demo.make("verdict", f"MODEL={model}", accept=(0, 2))
    if not found.is_file():
        demo.stop("the gate could not look at the second version; the lines above say why.")
    demo.commit(f"Retrain on rows up to {REFRESHED}")
    demo.finish()

    demo.step(6, "What a pull request would show")
    evidence = json.loads(found.read_text())
    print(f"{model} {evidence['version']}: {evidence['verdict']['verdict']}")
    print(f"""
Report: {demo.project / "reports" / "report.html"}

Next, in {demo.short}:
  make help                                    what can be typed
  make ui                                      every training run, in MLflow
  make new-model NAME=churn TASK=regression    a second model
  edit models/{model}/model.toml, make verdict  another version: another verdict

And `make demo-ct`, here: time passes, the data drifts, and the model is trained anew.""")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
