"""The verb `post`: shows the report on the run's page, and in the one comment of the pull request when it may.

The comment is CML's. Where CML would change another one than ours, or cannot be had, `gh` writes the same bytes with
the same watermark, so that CML finds them next time. Afterwards all comments are read again: whatever happened at the
same time, one is left. Standard library only: it runs where nothing is installed, with the base commit's code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops import actions, github
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.files import write_text
from mlops.github import Comment
from mlops.publishing import cml
from mlops.reporting.markdown import LIMIT

MOST_BYTES = 4 * actions.MOST_SUMMARY
"""A larger report is none of ours."""

# CML's watermark is an image of a third party. Inside a comment that nothing closes it is neither shown nor fetched.
_UNSEEN = "\n\n<!-- CML finds this comment again by:"
_TOO_LONG = (
    "## The report is too long for a comment\n\nIt is on the page of the workflow run, and among the run's artifacts.\n"
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do about the comments that are there: which one to change, which ones to take away."""

    ours: Comment | None
    surplus: tuple[Comment, ...]
    is_for_cml: bool
    """Whether CML would do exactly that."""


def plan(comments: Sequence[Comment], *, authors: frozenset[str]) -> Plan:
    """Of all comments, the oldest first, the first report by one of `authors`; all later ones are one too many.

    A comment that holds the watermark and was written by somebody else is never ours.
    """
    reports = [one for one in comments if one.author in authors and cml.marked(one.body)]
    ours = reports[0] if reports else None
    return Plan(
        ours=ours,
        surplus=tuple(reports[1:]),
        is_for_cml=cml.choice(comments) == (ours.id if ours else None),
    )


def comment(report: str, *, commit: str, limit: int = LIMIT) -> str:
    """The file that CML is given: with what CML appends it has at most `limit` characters."""
    text = report.rstrip() + _UNSEEN
    return text if len(text) + len(cml.watermark(commit)) <= limit else _TOO_LONG.rstrip() + _UNSEEN


def silence(event: actions.Event) -> str:
    """Why this run writes no comment, in a sentence; empty when it may."""
    where = "The report is on the page of this run and among its artifacts."
    if not event.name:
        return "This is no workflow run, so there is no pull request to comment on."
    if actions.writable(event):
        return ""
    if event.name == "merge_group":
        return f"A merge queue has no pull request of its own to comment on. {where}"
    if event.number is None:
        return f"This run is about no pull request, so there is no comment. {where}"
    who = "comes from a fork" if event.is_fork else "is by Dependabot"
    return f"There is no comment, because this pull request {who}: GitHub gives its runs no right to write. {where}"


def post(root: Path, with_cml: str | None = None) -> Outcome:
    """Show `reports/report.md`; the value says under which pull request, and who wrote it.

    `with_cml` is a version of CML to fetch where none is installed.

    Raises `Refusal` when there is no report, and when GitHub does not do what the token should allow.
    """
    report = _read(root / "reports" / "report.md")
    _summarise(root, report)
    event = actions.event()
    because = silence(event)
    number = event.number
    if not because and number is None:
        pull = github.pull_request_of(event.branch)
        number = pull.number if pull else None
        because = "" if pull else "No open pull request is about this branch, so there is no comment."
    if because or number is None:
        return _silent(because)
    if not event.head:
        raise Refusal("The measured commit is not known.", do="Look at GITHUB_EVENT_PATH and GITHUB_SHA.")
    authors = frozenset({github.viewer(), github.ACTIONS_BOT})
    comments = github.comments(number)
    because = _overtaken(plan(comments, authors=authors), number=number, head=event.head)
    if because:
        return _silent(because)
    file = root / "reports" / "comment.md"
    write_text(file, comment(report, commit=event.head))
    with cml.program(with_cml) as program:
        said = _write(program, file, comments, authors=authors, number=number, head=event.head)
    return Outcome(" ".join(said.sentences), {"pull_request": number, "by": said.by, "because": ""})


@dataclass(frozen=True)
class _Written:
    by: str
    sentences: tuple[str, ...]


def _write(
    program: cml.Program,
    file: Path,
    comments: Sequence[Comment],
    *,
    authors: frozenset[str],
    number: int,
    head: str,
) -> _Written:
    """Write the comment by the one who can, then make sure that it is there, once."""
    body = file.read_text(encoding="utf-8") + cml.watermark(head)
    before = plan(comments, authors=authors)
    failed = f"of {cml.SEEN} comments it reads, it would not change ours" if not before.is_for_cml else ""
    failed = failed or cml.update(program, file, number=number)
    if failed:
        _order(before.ours, body, number=number)
    after = plan(github.comments(number), authors=authors)
    by = "gh" if failed else "cml"
    if after.ours is None or _plain(after.ours.body) != _plain(body):
        # CML said that it wrote it, or somebody wrote at the same time.
        _order(after.ours, body, number=number)
        by = "gh"
    for one in after.surplus:
        github.delete_comment(one.id)
    said = [f"The report is under pull request {number}, {'updated' if before.ours else 'written'} by {by}."]
    said += [f"CML did not write it: {failed}."] if failed else []
    surplus = len(after.surplus)
    said += [f"{surplus} more of our comments {'was' if surplus == 1 else 'were'} there and taken away."] * bool(
        surplus
    )
    return _Written(by, tuple(said))


def _order(ours: Comment | None, body: str, *, number: int) -> None:
    if ours is None:
        github.create_comment(number, body)
        return
    github.update_comment(ours.id, body)


def _overtaken(found: Plan, *, number: int, head: str) -> str:
    """Why this report is too old to be shown, in a sentence; empty when it is the newest.

    The workflow's own commit of results on top of the measured one is no newer work, until it has a report itself.
    """
    now = github.pull_request(number).head
    if now == head:
        return ""
    shown = cml.marked(found.ours.body) if found.ours else None
    if shown != now and _is_child(now, head):
        return ""
    whose = "which is reported already" if shown == now else "whose own run reports"
    return (
        f"Pull request {number} has moved on from {head[:12]} to {now[:12]}, {whose}, "
        "so this older report is not shown there."
    )


def _is_child(commit: str, parent: str) -> bool:
    try:
        return github.parents(commit) == [parent]
    except github.Failure:
        return False


def _silent(because: str) -> Outcome:
    """Say why there is no comment where a reader looks for it; that is no failure."""
    actions.summary(f"\n> [!NOTE]\n> {because}\n")
    actions.annotate("notice", because, title="No comment")
    return Outcome(because, {"pull_request": None, "by": "", "because": because})


def _summarise(root: Path, report: str) -> None:
    """The whole report on the run's page; the one for the comment where the whole is too long even there."""
    whole = root / "reports" / "summary.md"
    forms = [*([_read(whole)] if whole.is_file() else []), report, _TOO_LONG]
    fitting = (form for form in forms if len(form.encode("utf-8", "replace")) < actions.MOST_SUMMARY)
    actions.summary(next(fitting).rstrip() + "\n")


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Refusal(f"{path.name} has {path.stat().st_size:,} bytes; that is no report of ours.")
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise Refusal("There is no report to post.", do="Run `mlops report` first.") from None


def _plain(body: str) -> str:
    """A body without what GitHub changes in it."""
    return body.replace("\r\n", "\n").strip()
