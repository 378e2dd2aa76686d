"""The command line of the service: `serve run FOLDER` and `serve score FOLDER --in FILE --out FILE`."""

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
    for one in (run, score):
        one.add_argument("folder", type=Path, help="an exported model, such as models/<name>/export")
    score.add_argument("--in", dest="source", type=Path, required=True, metavar="FILE", help="Parquet or CSV")
    score.add_argument("--out", dest="target", type=Path, required=True, metavar="FILE", help="Parquet or CSV")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb: 0 when it was done, 2 when it was refused, in one or two lines."""
    try:
        options = parser().parse_args(arguments)
        if options.verb == "run":
            from serve import server, settings

            return server.run(options.folder, settings.from_environment(os.environ))
        from serve import scoring

        print(scoring.score(options.folder, options.source, options.target))
    except Refusal as refusal:
        print(f"serve: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
