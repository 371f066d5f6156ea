"""Writes the golden traces anew: ``python -m tests.golden.regenerate``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.golden.studies import STUDIES, digest, file_of, trace_of


def main() -> None:
    for study in STUDIES:
        with tempfile.TemporaryDirectory() as folder:
            file_of(study).write_text(trace_of(study, Path(folder)))
    print(f"write down in CHANGELOG.md what has changed, and: golden traces {digest()}")  # noqa: T201


if __name__ == "__main__":
    main()
