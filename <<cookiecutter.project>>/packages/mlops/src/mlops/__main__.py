"""Run the command line: `python -m mlops`."""

from mlops.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
