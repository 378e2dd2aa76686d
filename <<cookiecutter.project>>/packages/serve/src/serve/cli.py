"""The command line of the service: `serve run`, `serve score`, `serve check` and `serve probe`.

Each imports only what it needs: an orchestrator probes every few seconds.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from serve.errors import Refusal


class _Parser(argparse.ArgumentParser):
    """A parser that refuses as everything else here does."""

    def error(self, message: str) -> NoReturn:
        raise Refusal(f"{message[:1].upper()}{message[1:]}.", do=f"`{self.prog} --help` shows what it takes.")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(prog="serve", description="Serve an exported model, or score a file with it.", allow_abbrev=False)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser("run", help="serve over HTTP; settings are SERVE_… variables", allow_abbrev=False)
    score = verbs.add_parser("score", help="predict every row of a file", allow_abbrev=False)
    test = verbs.add_parser("check", help="say whether a version would serve", allow_abbrev=False)
    for one in (run, score, test):
        one.add_argument("folder", type=Path, help="an exported model, such as models/<name>/export")
    score.add_argument("--in", dest="source", type=Path, required=True, metavar="FILE", help="Parquet or CSV")
    score.add_argument("--out", dest="target", type=Path, required=True, metavar="FILE", help="Parquet or CSV")
    probe = verbs.add_parser("probe", help="ask the service that runs here", allow_abbrev=False)
    probe.add_argument("path", help="what to GET, such as /v2/health/ready")
    probe.add_argument("--lines", action="store_true", help="POST each line of the input there instead")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb: 0 when done, 1 when a probe got no good answer, 2 when refused, in one or two lines."""
    try:
        return _run(parser().parse_args(arguments))
    except Refusal as refusal:
        print(f"serve: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    if options.verb == "score":
        try:
            from serve import scoring
        except ModuleNotFoundError as missing:
            if missing.name != "polars":
                raise
            do = "Install it, or POST the rows to the service."
            raise Refusal("Files are read with polars, which is not installed here.", do=do) from None
        print(scoring.score(options.folder, options.source, options.target))
        return 0
    from serve import settings

    given = settings.from_environment(os.environ)
    if options.verb == "probe":
        from serve import probe

        return probe.main(options.path, given, lines=options.lines)
    from serve import server

    if options.verb == "check":
        print(server.check(options.folder, given))
        return 0
    return server.run(options.folder, given)
