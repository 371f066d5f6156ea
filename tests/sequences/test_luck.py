"""A search without skill is not called skilled."""

from __future__ import annotations

import pytest

from tests.sequences.harness import make_phase, run_phase, walk

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", [1, 7])
async def test_random_entries_searched_over_200_seeds_are_not_called_skilled(path) -> None:
    phase = make_phase(
        "parameter_sweep",
        strategy={
            "type": "random_entry",
            "params": {"probability": 0.1, "hold_bars": 5, "mode": "long_short"},
        },
        parameter_space={"seed": {"min": 1, "max": 200}},
    )
    ran = await run_phase(phase, walk(480, seed=path))
    found = ran.outcome.overfitting
    assert ran.outcome.trials.completed == 200
    assert found["trials"] == 200
    assert found["probabilistic_sharpe_ratio"] > 0.95  # what one would believe without deflating
    assert found["deflated_sharpe_ratio"] < 0.9
    assert found["probability_of_backtest_overfitting"] == pytest.approx(0.5, abs=0.2)
