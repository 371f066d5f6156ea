"""Runs the command line as ``python -m admf``."""

from __future__ import annotations

import sys

from admf.workflows.cli import main

if __name__ == "__main__":
    sys.exit(main())
