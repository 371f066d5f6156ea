"""The command line ``admf``."""

from __future__ import annotations

from admf.workflows.cli.app import main

__all__ = ["main"]
