"""Results that are computed once more from the event log of a lane."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import anyio
import msgspec
import numpy as np
import pytest

from admf.containers.catalog import DataCatalog
from admf.containers.config import LanePruning
from admf.containers.events import Bar, PortfolioUpdate, PositionClose
from admf.containers.lane_log import LANE_EVENTS, LaneTracing
from admf.containers.replay import log_reader, recompute, replay_document
from admf.containers.strategies.base import Context, Strategy
from admf.engine.errors import RegistryError, StorageError, TornFileError
from admf.engine.events import Event, event_name
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import ResultStore
from admf.engine.retention import Minimal, TracingConfig
from admf.engine.storage import MemoryStorage
from admf.engine.topology import Resources
from admf.engine.trace_reader import EventLogReader
from admf.engine.tracer import TraceEnd
from admf.engine.verification import verify_window
from tests.containers import harness
from tests.containers.harness import Lane, Recorder, random_bars
from tests.engine.test_trace_log import frames_by_hand, places_by_hand
from tests.sealing import sealed

BARS = {"A": random_bars(1_300, 1), "B": random_bars(1_300, 2, 40.0)}
SHORT = {name: bars[:150] for name, bars in BARS.items()}
COSTS = {"slippage_bps": 5, "commission": {"type": "rate", "value": 0.001}}
TRACED = ("POSITION_OPEN", "POSITION_CLOSE", "FILL", "PORTFOLIO_UPDATE")
EVERYTHING = (*TRACED, "BAR", "FEATURES", "SIGNAL", "ORDER", "CANCEL", "REJECT", "WINDOW_START")
EMPTY = Registry()


class Restless(Strategy):
    """Trades in every way: brackets, limits, quantities, more than is allowed."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        dice = ctx.rng.integers(6)
        if dice == 0:
            ctx.target(float(ctx.rng.choice([-0.4, 0, 0.4])))
        elif dice == 1:
            ctx.buy(1, limit=bar.close * 0.99, time_in_force="day", stop_loss=bar.close * 0.9)
        elif dice == 2:
            ctx.close()
        elif dice == 3:
            ctx.target(9.0)


class Fails(Restless):
    """Wants something more, and fails before anybody could hear it."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        super().on_bar(bar, ctx)
        if ctx.bar_index == 90:
            ctx.target(0.1)
            raise ValueError("enough")


LANES = [
    Lane("sma_cross", {"fast": 3, "slow": 20}, execution=COSTS, parameters={"fast": 3}),
    Lane(Restless, risk={"max_leverage": 1.0, "stop_loss_pct": 4}, seed=4, execution=COSTS),
    Lane("buy_and_hold"),
]


@dataclass
class Stored:
    """The files of a window, and what its lanes published."""

    files: dict[str, bytes]
    recorders: list[Recorder]

    def text(self, number: int = 1) -> bytes:
        return self.files[f"containers/portfolio_{number:03d}_results.json"]

    def trace(self, number: int = 1) -> bytes:
        return self.files[f"containers/portfolio_{number:03d}_trace.frames"]

    def log(self, number: int = 1) -> EventLogReader:
        return reader(self.trace(number))

    @property
    def traces(self) -> dict[str, bytes]:
        return {name: data for name, data in self.files.items() if name.endswith(".frames")}

    def replayed(self, number: int = 1, registry: Registry = EMPTY) -> str:
        return replay_document(self.text(number), self.log(number), registry)


def reader(data: bytes) -> EventLogReader:
    return log_reader(lambda start, count: data[start : start + count], len(data))


def run(
    lanes: Sequence[Lane] = LANES,
    bars: Any = SHORT,
    *,
    store: Any = "all",
    traced: Sequence[str] = TRACED,
    retention: str = "trade_complete",
    size: int = 50,
    cut_short: bool = False,
    policy: Any = None,
    on_window: Callable[[Any], None] = lambda window: None,
    **config: Any,
) -> Stored:
    """Run lanes in a window that stores traces."""
    data, frames = harness._frames(bars, None, harness.DAY)
    spec = harness._spec(lanes, data, traced, retention, config)
    tracing = TracingConfig(
        event_tracing=tuple(traced),
        retention_policy=retention,
        sliding_window_size=size,
        store=store,
    )
    spec = msgspec.structs.replace(spec, tracing=tracing)
    registry = harness._registry(lanes)
    if policy is not None:
        registry.register("retention", retention, policy)
    return anyio.run(_run, spec, registry, Resources(DataCatalog(frames)), cut_short, on_window)


async def _run(
    spec: Any, registry: Registry, resources: Any, cut_short: bool, on_window: Any
) -> Stored:
    storage = MemoryStorage()
    results = (await ResultStore.create(storage, "run")).window(spec.phase_name)
    window = LifecycleManager(registry=registry, resources=resources).window(spec, results)
    recorders: list[Recorder] = []
    async with window:
        on_window(window)
        for container in window.containers:
            if container.role == "portfolio":
                recorders.append(Recorder())
                container.scope.attach_tracer(recorders[-1])
        if not cut_short:
            await window.run()
    assert (await verify_window(storage, "run/backtest")).complete
    paths = await storage.list_files("run")
    files = {path.removeprefix("run/backtest/"): await storage.read(path) for path in paths}
    listed = {it["path"] for it in json.loads(files["phase_summary.json"])["files"]}
    assert listed == set(files) - {"phase_summary.json"}  # so nothing is left over either
    return Stored(files, recorders)


@pytest.fixture(scope="module")
def stored() -> Stored:
    return run(bars=BARS, block_size=100)


def test_every_lane_gives_the_same_bytes(stored: Stored) -> None:
    for number in (1, 2, 3):
        assert stored.replayed(number) == ""
    assert json.loads(stored.text(2))["metrics"]["trade_count"] > 50
    assert len(json.loads(stored.text(2))["rejects"]) > 0


@pytest.mark.parametrize("block_size", [1, 7, 4096])
def test_neither_log_nor_results_depend_on_the_size_of_blocks(
    stored: Stored, block_size: int
) -> None:
    assert run(bars=BARS, block_size=block_size).files == stored.files
    assert len(stored.traces) == 3


@pytest.mark.parametrize("block_size", [1, 7, 4096])
@pytest.mark.parametrize("retention", ["trade_complete", "sliding_window", "minimal"])
def test_what_is_retained_does_not_depend_on_the_size_of_blocks(
    retention: str, block_size: int
) -> None:
    options: dict[str, Any] = {"store": "retained", "retention": retention, "traced": EVERYTHING}
    expected = run(LANES[1:2], block_size=100, **options)
    found = run(LANES[1:2], block_size=block_size, **options)
    assert found.files == expected.files
    assert len(expected.traces) == 1


def test_a_log_decoded_by_hand_is_what_the_lane_published(stored: Stored) -> None:
    for number, recorder in enumerate(stored.recorders, 1):
        frames = frames_by_hand(stored.trace(number))
        told = [row for frame in frames if frame["frame"] == "events" for row in frame["rows"]]
        own = [it for it in recorder.events if isinstance(it, LANE_EVENTS)]
        single = [it for it in own if not isinstance(it, PortfolioUpdate)]
        assert [row[2] for row in told] == [_plain(it) for it in single]
        marks = [it for it in own if isinstance(it, PortfolioUpdate)]
        for name in PortfolioUpdate.__struct_fields__:
            parts = [it["values"][name] for it in frames if it["frame"] == "columns"]
            dtype = "<i8" if name == "ts" else "<f8"
            column = np.concatenate([np.frombuffer(part, dtype) for part in parts])
            np.testing.assert_array_equal(column, [getattr(it, name) for it in marks])
        assert {row[1].partition("_")[0] for row in told} <= {
            "strategy", "risk", "execution", "portfolio",
        }  # fmt: skip


def _plain(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.structs.asdict(event)
    return {"event": event_name(type(event)), **fields}


def test_the_causes_in_a_log_are_those_that_there_were(stored: Stored) -> None:
    told = [it for it in stored.log(2) if it.seq]
    names = {"ORDER": {"SIGNAL", "POSITION_OPEN", "FILL"}, "POSITION_OPEN": {"FILL"}}
    names |= {"POSITION_CLOSE": {"FILL"}}
    seen = set()
    for it in told:
        name = event_name(type(it.event))
        if it.cause and name in names:
            seen.add(name)
            assert it.cause < it.seq
            assert event_name(type(told[it.cause - 1].event)) in names[name]
    assert seen == set(names)


def test_a_log_says_what_is_needed_to_compute_its_results(stored: Stored) -> None:
    lane = stored.log().about(LaneTracing)
    assert lane.container_id == "portfolio_001"
    assert lane.initial_capital == 10_000.0
    assert (lane.annualisation.interval, lane.annualisation.periods_per_year) == ("day", 365.0)
    assert lane.tracing.event_tracing == TRACED
    assert (lane.history, lane.return_blocks, lane.returns) == (None, 0, 1_300)
    assert lane.parameters == json.loads(stored.text())["parameters"]


@pytest.mark.parametrize("retention", ["trade_complete", "sliding_window", "minimal"])
@pytest.mark.parametrize(
    "traced", [(), TRACED, EVERYTHING, ("PORTFOLIO_UPDATE",), ("BAR", "WINDOW_END")]
)
def test_every_policy_and_every_choice_of_events_gives_the_same_bytes(
    retention: str, traced: tuple[str, ...]
) -> None:
    found = run(traced=traced, retention=retention, return_blocks=4, benchmark="B", series=True)
    assert [found.replayed(number) for number in (1, 2, 3)] == ["", "", ""]


@pytest.mark.parametrize("block_size", [1, 64, 4096])
def test_a_lane_that_failed_gives_the_same_bytes(block_size: int) -> None:
    found = run([Lane(Fails), LANES[0]], block_size=block_size)
    document = json.loads(found.text())
    assert document["status"] == "failed"
    assert found.replayed() == found.replayed(2) == ""
    names = [event_name(type(it.event)) for it in found.log() if it.seq]
    assert document["activity"]["signals"] == names.count("SIGNAL")
    assert names[-1] == "SIGNAL"  # the last one had no consequences
    assert found.traces == run([Lane(Fails), LANES[0]], block_size=10).traces


def test_a_lane_whose_handler_failed_gives_the_same_bytes() -> None:
    def sabotage(window: Any) -> None:
        risk = next(it for it in window.containers if it.id == "risk_002")

        def on_close(event: PositionClose) -> None:
            raise ValueError("no")

        risk.subscribe(PositionClose, on_close)

    found = run(on_window=sabotage)
    assert json.loads(found.text(2))["status"] == "failed"
    assert [found.replayed(number) for number in (1, 2, 3)] == ["", "", ""]
    told = [it for it in found.log(2) if it.seq]
    failed = next(it.event for it in told if event_name(type(it.event)) == "HANDLER_FAILED")
    assert isinstance(told[failed.failed_seq - 1].event, PositionClose)


def test_a_window_that_was_cancelled_before_its_first_bar_gives_the_same_bytes() -> None:
    found = run(cut_short=True)
    assert json.loads(found.text())["status"] == "cancelled"
    assert [found.replayed(number) for number in (1, 2, 3)] == ["", "", ""]
    assert list(found.log()) == []


def test_a_lane_that_was_pruned_gives_the_same_bytes() -> None:
    rule = LanePruning(after_bars=40, every_bars=10, metric="total_return", threshold=9.0)
    found = run(pruning=rule)
    assert json.loads(found.text())["pruned_at"] is not None
    assert [found.replayed(number) for number in (1, 2, 3)] == ["", "", ""]


def test_a_lane_that_goes_on_with_an_account_gives_the_same_bytes() -> None:
    first = run([LANES[0]], start_ts=harness.day(0), end_ts=harness.day(100))
    rows = json.loads(first.files["aggregate_results.json"])["portfolios"]
    account = msgspec.convert(rows[0]["account"], harness.CarriedAccount)
    lane = Lane("sma_cross", {"fast": 3, "slow": 20}, execution=COSTS, carried=account)
    second = run([lane], start_ts=harness.day(100))
    assert second.replayed() == ""
    assert second.log().about(LaneTracing).initial_capital != 10_000.0


def test_a_policy_of_somebody_else_is_asked_for_by_its_name() -> None:
    found = run(retention="mine", policy=lambda config: Minimal(max_open=1), traced=EVERYTHING)
    registry = Registry()
    registry.register("retention", "mine", lambda config: Minimal(max_open=1))
    assert found.replayed(2, registry) == ""
    with pytest.raises(RegistryError, match="unknown retention policy 'mine'"):
        found.replayed(2)


def test_nothing_is_stored_by_default() -> None:
    found = run(store="none")
    assert found.traces == {}


def test_what_is_retained_is_stored_and_cannot_be_replayed() -> None:
    found = run(store="retained", retention="sliding_window", traced=EVERYTHING, size=20)
    kept = list(found.log(2))
    singles = [it.event for it in kept[:-1]]
    assert isinstance(kept[-1].event.cls, type)
    assert len(kept[-1].event) == 20
    assert {event_name(type(it)) for it in singles} >= {"BAR", "FEATURES", "SIGNAL", "FILL"}
    assert not any(event_name(type(it)) == "WINDOW_START" for it in singles)
    own = found.recorders[1].events
    for name in ("BAR", "FEATURES", "SIGNAL", "ORDER", "FILL", "POSITION_CLOSE"):
        last = [it for it in own if event_name(type(it)) == name][-20:]
        assert msgspec.msgpack.encode([it for it in singles if type(it) is type(last[0])]) == (
            msgspec.msgpack.encode(last)  # which takes one NaN for another
        )
    with pytest.raises(StorageError, match=r"set 'trace: \{store: all\}'"):
        found.replayed(2)


def test_the_summary_of_a_lane_is_that_of_its_policy_whatever_is_stored() -> None:
    documents = [json.loads(run(store=store).text(2)) for store in ("none", "retained", "all")]
    for document in documents:
        document.pop("window"), document.pop("content_sha256")
    assert documents[0] == documents[1] == documents[2]


# -- differences and damage -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def short() -> Stored:
    return run()


def test_every_field_that_the_tracer_contributes_is_recomputed(short: Stored) -> None:
    fields = set(recompute(short.log(2), EMPTY))
    document = json.loads(short.text(2))
    others = {
        "schema_version", "container_id", "role", "workflow_id", "phase_name", "window_id", "lane",
        "data", "window", "parameters", "status", "error", "pruned_at", "open_positions",
        "content_sha256",
    }  # fmt: skip
    assert set(document) - others == fields


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("metrics", "sharpe_ratio"), 9.5, "metrics.sharpe_ratio: the file says 9.5, its log "),
        (("metrics", "total_return"), None, "metrics.total_return: the file says null, its log "),
        (("metrics", "luck"), 1.0, "metrics.luck: the file says 1.0, its log gives nothing"),
        (("approximate",), ["skew"], "approximate: the file says 1 entries, its log gives 0 ent"),
        (("periods_per_year",), 99.0, "periods_per_year: the file says 99.0, its log gives 365.0"),
        (("return_interval",), "bar", 'return_interval: the file says "bar", its log gives "day"'),
        (("tracer", "observed"), 1, "tracer.observed: the file says 1, its log gives "),
        (("rejects",), {}, "rejects."),
        (("activity", "fills"), 0, "activity.fills: the file says 0, its log gives "),
        (("trades", 3, "pnl"), 0.5, "trades[3].pnl: the file says 0.5, its log gives "),
        (("trades",), [], "trades: the file says 0 entries, its log gives "),
        (("equity_curve", "equity", 7), 1.5, "equity_curve.equity[7]: the file says 1.5, its log "),
        (("equity_curve",), None, "equity_curve: the file says null, its log gives {"),
    ],
)
def test_a_field_that_was_changed_is_told(
    short: Stored, path: tuple[Any, ...], value: object, message: str
) -> None:
    document = json.loads(short.text(2))
    place: Any = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    found = replay_document(sealed(document), short.log(2), EMPTY)
    assert found.startswith(message)


def test_a_field_that_is_missing_or_of_another_version_is_told(short: Stored) -> None:
    document = json.loads(short.text(2))
    del document["activity"]
    found = replay_document(sealed(document), short.log(2), EMPTY)
    assert found.startswith('activity: the file says nothing, its log gives {"signals":')
    text = sealed(json.loads(short.text(2))).replace(b"\n", b"\n\n")
    assert replay_document(text, short.log(2), EMPTY) == (
        "the file was not written by this version of admf"
    )


def test_the_log_of_another_container_is_refused(short: Stored) -> None:
    with pytest.raises(TornFileError, match="it is that of 'portfolio_002'"):
        replay_document(short.text(1), short.log(2), EMPTY)


def test_the_log_of_another_run_gives_other_bytes(short: Stored, stored: Stored) -> None:
    assert replay_document(short.text(2), stored.log(2), EMPTY)


def test_a_log_that_is_cut_or_flipped_anywhere_is_never_replayed(short: Stored) -> None:
    data, text = short.trace(2), short.text(2)
    rng = random.Random(5)
    cuts = [
        data[:place] for place in [*places_by_hand(data)[:-1], *rng.sample(range(len(data)), 40)]
    ]
    flips = [bytearray(data) for _ in range(60)]
    for flipped in flips:
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    for damaged in [*cuts, *map(bytes, flips)]:
        with pytest.raises(TornFileError):
            replay_document(text, reader(damaged), EMPTY)


def test_a_log_without_one_of_its_frames_is_never_replayed(short: Stored) -> None:
    data = short.trace(2)
    places = places_by_hand(data)
    for start, stop in pairwise(places):
        with pytest.raises(TornFileError):
            replay_document(short.text(2), reader(data[:start] + data[stop:]), EMPTY)


def test_market_data_of_a_kind_that_is_not_known_is_refused() -> None:
    class Odd(EventLogReader):
        def about_end(self, kind: Any) -> Any:
            return TraceEnd({"ODD": 3})

    data = run().trace()
    log = Odd(lambda start, count: data[start : start + count], len(data), LANE_EVENTS)
    with pytest.raises(StorageError, match="tells of events 'ODD'"):
        recompute(log, EMPTY)
