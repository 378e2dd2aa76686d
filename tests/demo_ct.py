"""Shows the CT loop on this machine: time passes and a version is proposed, the data drifts, and watch asks for one.

    python -m tests.demo_ct build/demo-ct

Everything that happens is typed in the generated project, and shown. The days are those of the story, not today's; the
clinics of the story are in `tests/clinic.py`. It may be run again, as `make demo` may: what has happened stays.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.rendering import ROOT
from tests.showing import Demo

OLD, QUIET, DRIFT = "2026-08-20", "2026-09-02", "2026-09-10"
"""The days on which the model is due by its age, looked at in peace, and looked at after the scanner was replaced."""
ALARMED = 2
"""The code of make when what it ran found something: an alarm of watch, a verdict that is not passed."""
EXAMPLE = {
    'source = "replay"': 'source = "../../clinic/20*.parquet"',
    'log = ""': 'log = "../../clinic/served.parquet"',
}
"""What a team would write in `model.toml`: where its rows are, and the prediction log of its service."""


def main() -> int:
    """Tell the story; 0 when it was told to its end, whatever the gate decided."""
    demo = Demo(name="make demo-ct", steps=7, project=Path(sys.argv[1]).resolve())
    demo.start()
    story = Story(demo)
    for number, (text, part) in enumerate(
        (
            ("A repository with a model, and the data of a clinic", story.begin),
            ("A first version is the champion on main", demo.first_version),
            (f"Time passes. On {OLD} the clinic has delivered new rows: which models are due?", story.due),
            ("What CT does every morning, on this machine: train, judge, propose", story.by_age),
            (f"The champion serves. On {QUIET} watch looks at what it was asked in a week", story.quiet),
            (f"Drift: a second clinic joins, with another scanner. On {DRIFT} watch looks again", story.drift),
            ("What CT does because of the alarm: train, and let the gate decide", story.by_alarm),
        ),
        start=1,
    ):
        demo.step(number, text)
        part()
    demo.finish()
    story.end()
    return 0


class Story:
    """The parts of the story; each looks what has happened already, and so may be told again."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.demo.model

    def begin(self) -> None:
        """Generate and install a project, whose data is what the clinic delivers."""
        self.demo.generate()
        self.demo.make("setup")
        folder = self.demo.project / "clinic"
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        toml = self.demo.project / "models" / self.model / "model.toml"
        text = toml.read_text(encoding="utf-8")
        for old, new in EXAMPLE.items():
            if new not in text:
                assert old in text, f"{toml} lacks {old}"
                text = text.replace(old, new)
        if text != toml.read_text(encoding="utf-8"):
            toml.write_text(text, encoding="utf-8")
            self.demo.commit("Read the clinic's rows, and the prediction log")
        self._world("deliver", "2026-07")

    def due(self) -> None:
        """New rows are there, and the data of the champion is old."""
        self._world("deliver", "2026-08")
        if self._tried() < OLD:
            self.demo.make("due", f"TODAY={OLD}")
        else:
            self._done()

    def by_age(self) -> None:
        """The model is trained anew; a person reads what is proposed, and merges it."""
        if self._tried() < OLD:
            self._retrain(OLD)
        branch, message = f"ct/{self.model}", f"Merge ct/{self.model}"
        if self._tried() > OLD:
            self._done()
        elif self._read("retraining")["kind"] == "proposed":
            print(f"\nA person reads that, and merges the branch.\n$ git merge {branch}", flush=True)
            self.demo.git("merge", "--quiet", "--no-ff", "--message", message, branch)
            self.demo.make("pull", f"MODEL={self.model}", "REPLACE=1")
        else:
            print("\nSo the champion stays.")

    def quiet(self) -> None:
        """The prediction log of an ordinary week."""
        self._look("quiet", QUIET, accept=(0,))

    def drift(self) -> None:
        """The prediction log of the week in which the second clinic came, and its rows."""
        self._world("deliver", "2026-09")
        if self._look("drift", DRIFT, accept=(ALARMED,)):
            self._show("watch.md")

    def by_alarm(self) -> None:
        """The alarm makes the model due; the gate compares on rows of the second clinic too."""
        if self._tried() < DRIFT:
            self.demo.make("due", f"TODAY={DRIFT}")
            self._retrain(DRIFT)
        else:
            self._done()

    def end(self) -> None:
        """Where all of it can be read."""
        last = self._read("retraining")
        reports, branch = f"{self.demo.short}/reports", f"ct/{self.model}"
        print(f"\n{self.model}: {last['kind']} on {last['day']}.")
        print(f"\nReport: {self.demo.project / 'reports' / 'report.html'}")
        print(f"The look that alarmed: {reports}/{self.model}/watch.md")
        print(f"What a pull request or an issue would say: {reports}/{self.model}/retraining.md")
        print(f"\nNext, in {self.demo.short}:")
        if last["kind"] == "proposed":
            print(f"  git log --stat main..{branch}    what would be merged")
        print("""  make due                             which models are due today
  make retrain REASON="to see it"      train one anew, due or not
  docs/how-to/retrain.md               the same on GitHub, every morning""")

    def _look(self, week: str, day: str, *, accept: tuple[int, ...]) -> bool:
        """Look at a week of requests; whether that was not done before."""
        if self._read("watch").get("today", "") >= day:
            self._done()
            return False
        self._world("ask", str(self.demo.project / "models" / self.model), week)
        self.demo.make("watch", f"MODEL={self.model}", f"TODAY={day}", accept=accept)
        return True

    def _retrain(self, day: str) -> None:
        self.demo.make("retrain", f"MODEL={self.model}", f"TODAY={day}", accept=(0, ALARMED))
        if self._tried() != day:
            self.demo.stop("the model could not be trained anew; the lines above say why.")
        self._show("retraining.md")

    def _tried(self) -> str:
        """The day of the last training by CT's rules; empty before the first."""
        return str(self._read("retraining").get("day", ""))

    def _read(self, name: str) -> dict[str, Any]:
        path = self.demo.project / "reports" / self.model / f"{name}.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return found

    def _show(self, name: str) -> None:
        """What a report says, where there is one."""
        page = self.demo.project / "reports" / self.model / name
        if page.is_file():
            print(f"\n  {page.relative_to(self.demo.project)}:\n")
            print("".join(f"  | {line}\n" for line in page.read_text(encoding="utf-8").splitlines()), flush=True)

    def _world(self, what: str, *words: str) -> None:
        """Let the clinics do something; they have the project's Python."""
        python = self.demo.project / ".venv" / "bin" / "python"
        command = [str(python), str(ROOT / "tests" / "clinic.py"), what, str(self.demo.project / "clinic"), *words]
        if subprocess.run(command, check=False).returncode:
            self.demo.stop("the clinics did nothing; the lines above say why.")

    def _done(self) -> None:
        print("It has happened already.")


if __name__ == "__main__":
    raise SystemExit(main())
