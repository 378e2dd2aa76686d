"""`python -m serve` is `serve`."""

import sys

from serve.cli import main

sys.exit(main())
