"""Ten studies give the very events that were committed; whoever changes one says so."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import pytest

from tests.golden.studies import FOLDER, STUDIES, digest, file_of, trace_of


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_gives_the_events_that_were_committed(study: str, tmp_path: Path) -> None:
    golden, found = file_of(study).read_text().splitlines(), trace_of(study, tmp_path).splitlines()
    for number, (was, now) in enumerate(zip_longest(golden, found), 1):
        assert now == was, f"{study}, line {number}: python -m tests.golden.regenerate renews it"


def test_the_changelog_names_the_traces_as_they_are() -> None:
    changelog = (FOLDER.parents[1] / "CHANGELOG.md").read_text()
    assert f"golden traces {digest()}" in changelog, (
        "the golden traces were changed: say in CHANGELOG.md what is different now, with the words "
        f"'golden traces {digest()}'"
    )


def test_the_traces_show_every_event_of_a_lane() -> None:
    text = "".join(file_of(study).read_text() for study in STUDIES)
    for kind in ("SIGNAL", "ORDER", "REJECT", "CANCEL", "FILL", "POSITION_OPEN", "POSITION_CLOSE"):
        assert text.count(f'"{kind}"') > 10, kind
    for reason in ("stop_loss", "take_profit", "trailing_stop", "max_drawdown", "end", "expired"):
        assert f'"{reason}"' in text, reason
