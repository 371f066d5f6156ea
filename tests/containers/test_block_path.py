"""The quick ways of a lane against the reference: each event over the bus, each bar looked at."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.events import Fill
from admf.containers.lane_arrays import LaneArrays
from admf.engine.block import Block
from admf.engine.events import Envelope, Event, WindowEnd, WindowStart
from tests.containers.harness import Lane, Recorder, WindowRun, random_bars, run_lanes, run_window
from tests.containers.random_lanes import RandomTargets, lanes, markets

EXAMPLES = int(os.environ.get("ADMF_EXAMPLES", "120"))
EVENTS = ("POSITION_OPEN", "POSITION_CLOSE", "FILL", "PORTFOLIO_UPDATE", "SIGNAL", "ORDER")


class Envelopes(Recorder):
    """Keeps events with the number of what caused each, by its place among the lane's own."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Event, int, str]] = []
        self._places: dict[int, int] = {}

    def record(self, envelope: Envelope) -> None:
        super().record(envelope)
        found = envelope.event
        events = found.events() if isinstance(found, Block) else [found]
        for offset, event in enumerate(events):
            self._places[envelope.seq + offset] = len(self.told)
            if not isinstance(event, (WindowStart, WindowEnd)):
                self.told.append((event, self._places.get(envelope.cause, -1), envelope.source))


def events_of(lane: Lane, market: Any, **options: Any) -> list[list[tuple[Event, str, str]]]:
    """Return a lane's own events: those with a cause told by what that is, and the marks."""
    recorder = Envelopes()
    run_lanes([lane], market, recorders=[recorder], **options)
    own = [it for it in recorder.told if it[2] not in ("data", "features")]
    told = [(event, repr(recorder.told[at][0]) if at >= 0 else "", who) for event, at, who in own]
    names = {"PortfolioUpdate"}
    return [
        [(e, "" if c.startswith(("Bar", "Features")) else c, w) for e, c, w in told
         if (type(e).__name__ in names) == marks]
        for marks in (False, True)
    ]  # fmt: skip


def files_of(lane: Lane, market: Any, **options: Any) -> WindowRun:
    return run_window([lane], market, **options)


@settings(deadline=None, max_examples=EXAMPLES)
@given(data=st.data(), market=markets(), block_size=st.sampled_from([1, 2, 3, 7, 4096]))
def test_both_ways_tell_the_same_events_with_the_same_causes(
    data: st.DataObject, market: Any, block_size: int
) -> None:
    lane = data.draw(lanes(market))
    reference = events_of(lane, market, dispatch="bus", block_size=4096)
    assert events_of(lane, market, block_size=block_size) == reference


@settings(deadline=None, max_examples=EXAMPLES)
@given(
    data=st.data(),
    market=markets(),
    block_size=st.sampled_from([1, 2, 3, 7, 4096]),
    retention=st.sampled_from(["trade_complete", "sliding_window", "minimal"]),
    traced=st.lists(st.sampled_from(EVENTS), unique=True).map(tuple),
    store=st.sampled_from(["none", "retained", "all"]),
    options=st.fixed_dictionaries(
        {"series": st.booleans(), "benchmark": st.sampled_from([None, "A"])}
    ),
)
def test_both_ways_write_the_same_bytes(
    data: st.DataObject,
    market: Any,
    block_size: int,
    retention: str,
    traced: tuple[str, ...],
    store: Any,
    options: dict[str, Any],
) -> None:
    lane = data.draw(lanes(market))
    settings_ = {"retention": retention, "traced": traced, "store": store, **options}
    reference = files_of(lane, market, dispatch="bus", block_size=4096, **settings_)
    quick = files_of(lane, market, block_size=block_size, **settings_)
    assert quick.files.keys() == reference.files.keys()
    for name, content in reference.files.items():
        assert quick.files[name] == content, name


def test_arrays_are_what_a_plain_columnar_lane_is_computed_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[bool] = []
    compute = LaneArrays.compute

    def watched(self: LaneArrays, *args: Any) -> bool:
        done.append(compute(self, *args))
        return done[-1]

    monkeypatch.setattr(LaneArrays, "compute", watched)
    lane = Lane(RandomTargets, {"seed": 3}, sizing={"type": "fixed_units", "value": 10.0})
    (run,) = run_lanes([lane], random_bars(300), block_size=100)
    assert done == [True] * 3
    assert len(run.of(Fill)) > 50


def test_a_subscriber_in_the_lane_gets_each_event_before_the_next_is_made() -> None:
    """As over the bus: whoever listens sees the account as it is at that event."""
    lane = Lane("sma_cross", {"fast": 2, "slow": 5}, sizing={"type": "fixed_units", "value": 10.0})
    seen: list[tuple[int, float]] = []

    class Listening(Recorder):
        def record(self, envelope: Envelope) -> None:
            super().record(envelope)

    (run,) = run_lanes([lane], random_bars(200), recorders=[Listening()], listen=(Fill, seen))
    assert [order for order, _ in seen] == [fill.order_id for fill in run.of(Fill)]
    held = 0.0
    for fill, (_, quantity) in zip(run.of(Fill), seen, strict=True):
        held += fill.quantity if fill.side == "buy" else -fill.quantity
        assert quantity == held
