"""Parameter sets that a list names more than once."""

from __future__ import annotations

import pytest

from tests.sequences.harness import make_phase, run_phase, walk

pytestmark = pytest.mark.anyio

POINTS = (
    {"fast": 2, "slow": 8},
    {"fast": 3, "slow": 8},
    {"slow": 8, "fast": 2},
    {"fast": 2, "slow": 8},
    {"fast": 4, "slow": 8},
    {"fast": 3, "slow": 8},
)


@pytest.mark.parametrize("batch_size", [1, 2, 6])
async def test_a_parameter_set_runs_once_and_each_repeat_has_a_record_of_its_own(
    batch_size: int,
) -> None:
    phase = make_phase("parameter_sweep", search={"batch_size": batch_size, "top_k": 6})
    ran = await run_phase(phase, walk(120), points=POINTS)
    trials = ran.files["trials.json"]["trials"]
    assert [it["number"] for it in trials] == [1, 2, 3, 4, 5, 6]
    assert [it.get("repeats") for it in trials] == [None, None, 1, 1, None, 2]
    for trial in trials:
        if "repeats" in trial:
            first = trials[trial["repeats"] - 1]
            assert trial["objectives"] == first["objectives"]
            assert trial["status"] == first["status"]
    lanes = [path for path in ran.files if "/containers/" in path]
    assert len(lanes) == 3
    assert ran.outcome.trials.total == 6
    assert len(ran.outcome.top_parameters) == 3
    assert ran.outcome.overfitting["trials"] == 3


async def test_without_repeats_nothing_is_said_of_them() -> None:
    phase = make_phase("parameter_sweep", parameter_space={"fast": [2, 3], "slow": [8]})
    ran = await run_phase(phase, walk(120))
    assert all("repeats" not in it for it in ran.files["trials.json"]["trials"])


async def test_a_whole_number_and_the_same_as_a_fraction_are_two_parameter_sets() -> None:
    points = ({"risk.stop_loss_pct": 5}, {"risk.stop_loss_pct": 5.0})
    phase = make_phase("parameter_sweep", strategy={"type": "sma_cross"})
    ran = await run_phase(phase, walk(120), points=points)
    assert all("repeats" not in it for it in ran.files["trials.json"]["trials"])


async def test_inner_sequences_do_not_run_again_for_a_repeat() -> None:
    phase = make_phase("parameter_sweep", parameter_sweep={"inner": "train_test"})
    ran = await run_phase(phase, walk(120), points=POINTS[:3])
    assert {it.split("/")[0] for it in ran.windows} == {"trial_001", "trial_002"}
    assert [it.get("repeats") for it in ran.files["trials.json"]["trials"] if not it["search"]] == [
        None,
        None,
        1,
    ]
