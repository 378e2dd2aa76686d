"""Run the command line: `python -m mlops`, on a Python that may be too old for everything else here."""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit(f"mlops needs Python 3.11 or newer, and this is {sys.version.split()[0]}: install a newer one.")

    from mlops.cli import main

    sys.exit(main())
