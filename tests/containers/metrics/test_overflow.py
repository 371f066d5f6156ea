"""Marks and trades that leave memory come back once, in order, and as the same bytes."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.events import Fill, PortfolioUpdate, PositionClose
from admf.containers.metrics import Annualisation, MetricsEventTracer, history_limit
from admf.containers.metrics.history import (
    HELD_MARKS,
    HELD_TRADES,
    EquityHistory,
    TradeHistory,
)
from admf.containers.metrics.series import SeriesHistory
from admf.engine.block import Block
from admf.engine.encoding import iter_json
from admf.engine.errors import StorageError
from admf.engine.events import Envelope, Event
from admf.engine.journal import Journal, MemoryJournal
from admf.engine.local_folder import LocalFolder
from admf.engine.overflow import OverflowFile
from admf.engine.retention import TracingConfig, make_policy

Marks = Callable[..., Block[PortfolioUpdate]]
Close = Callable[..., PositionClose]


class Files:
    """An overflow into memory."""

    def __init__(self, *, active: bool = True) -> None:
        self.active = active
        self.files: dict[str, bytes | bytearray] = {}

    def journal(self, name: str) -> Journal:
        return MemoryJournal(name, self.files)


@settings(deadline=None)
@given(
    portions=st.lists(st.integers(1, 3000) | st.integers(4000, 9000), min_size=2, max_size=7),
    before=st.integers(0, 6),
)
def test_blocks_that_were_kept_whole_leave_memory_as_others_do(
    marks: Marks, portions: list[int], before: int
) -> None:
    whole = marks(np.arange(sum(portions), dtype=np.float64))
    overflow = Files(active=False)
    history, start = EquityHistory(file=OverflowFile(overflow, "equity"), held=500), 0
    for number, portion in enumerate(portions):
        overflow.active = number >= before
        history.fold(whole.slice(start, start + portion))
        start += portion
    assert list(history.values("equity")) == whole.column("equity").tolist()
    assert list(history.values("ts")) == whole.ts.tolist()
    if overflow.active:
        assert history.size_bytes() <= 4 * 1024 * 16


class Folder(LocalFolder):
    """An overflow into files, whose writes and removals can be made to fail."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, self.call)
        self.active = True
        self.failing: tuple[str, ...] = ()

    def call(self, function, /, *args, **kwargs):
        if function.__name__ in self.failing:
            raise OSError(errno.ENOSPC, "no space left")
        return function(*args, **kwargs)


def document(tracer: MetricsEventTracer) -> bytes:
    """The files that a tracer's results go to, as bytes."""
    found = tracer.results()
    body = {
        "metrics": found.metrics.values,
        "trades": found.trades,
        "equity_curve": found.equity_curve,
        "all_trades": tracer.trades(),
        "series": tracer.series(),
    }
    return b"".join(iter_json(body, "results.json"))


def make_tracer(overflow: Files | Folder | None, policy: str = "my_policy") -> MetricsEventTracer:
    tracing = TracingConfig(retention_policy=policy, sliding_window_size=300)
    known = policy if policy != "my_policy" else "minimal"
    return MetricsEventTracer(
        (PositionClose, Fill, PortfolioUpdate),
        make_policy(TracingConfig(retention_policy=known, sliding_window_size=300)),
        initial_capital=100.0,
        annualisation=Annualisation(),
        history=history_limit(tracing),
        series=True,
        overflow=overflow,
    )


def feed(tracer: MetricsEventTracer, *published: Event | Block[Any]) -> None:
    for seq, event in enumerate(published, start=1):
        tracer.record(Envelope(seq, 0, "portfolio_001", event))


def course(marks: Marks, close: Close, count: int) -> list[Event | Block[Any]]:
    """Marks in blocks of many sizes, with trades between them."""
    dice = np.random.default_rng(8)
    equity = 100.0 + dice.normal(0.0, 1.0, count).cumsum()
    benchmark = np.where(np.arange(count) < 10, np.nan, 50.0 + np.arange(count))
    whole = marks(equity, step_ns=1_000_000, exposure=np.abs(equity) / 3, benchmark=benchmark)
    published: list[Event | Block[Any]] = []
    start = number = 0
    while start < count:
        size = int(dice.integers(0, 6000))
        part = whole.slice(start, min(start + max(size, 1), count))
        published.append(part if size else part.events()[0])
        closes = [close(float(dice.normal()), number=number + n) for n in range(1, size // 40)]
        published.extend(closes[::2] if size % 2 else [Block.of(closes)] if closes else [])
        start, number = start + len(part), number + len(closes)
    return published


@settings(deadline=None)
@given(
    steps=st.lists(st.integers(0, 40) | st.booleans(), max_size=12),
    held=st.integers(1, 12),
    data=st.data(),
)
def test_a_history_that_overflows_at_any_moment_is_the_one_in_memory(
    marks: Marks, close: Close, steps: list[int | bool], held: int, data: st.DataObject
) -> None:
    overflow = Files(active=False)
    files = [OverflowFile(overflow, name) for name in ("equity", "trades", "series")]
    spilling = (
        EquityHistory(file=files[0], held=held),
        TradeHistory(file=files[1], held=held),
        SeriesHistory(files[2], marks=held, trades=held),
    )
    plain = (EquityHistory(), TradeHistory(), SeriesHistory())
    count = 0
    for step in steps:
        if isinstance(step, bool):
            overflow.active = step
            continue
        closes = [close(float(n), number=n) for n in range(count, count + step)]
        trades: list[Event | Block[Any]] = [Block.of(closes)] if step % 2 else [*closes]
        values = np.arange(count, count + step) / 7
        whole = marks(values, exposure=values * 2, benchmark=values * 3)
        updates = whole.events() if data.draw(st.booleans()) else [whole]
        for equity, trading, series in (spilling, plain):
            for update in updates:
                equity.fold(update)
                series.fold(update)
            for each in closes[::3]:
                series.entered(each.position_id, 1000.0)
            for trade in trades:
                trading.fold(trade)
                series.fold(trade)
        count += step
    for _ in range(2):
        assert everything(*spilling) == everything(*plain)


def everything(
    equity: EquityHistory, trades: TradeHistory, series: SeriesHistory
) -> dict[str, list[object]]:
    columns = {"trades": trades.trades(), **equity.curve()}
    columns.update({f"series of {name}": it for name, it in series.columns().items()})
    return {name: list(column) for name, column in columns.items()}


@pytest.mark.parametrize("switch", [0, 3, 20])
def test_the_bytes_are_the_same_wherever_the_results_went(
    marks: Marks, close: Close, tmp_path: Path, switch: int
) -> None:
    published = course(marks, close, 60_000)
    overflow = Folder(tmp_path)
    overflow.active = False
    held, spilled = make_tracer(None), make_tracer(overflow)
    feed(held, *published)
    feed(spilled, *published[:switch])
    overflow.active = True
    feed(spilled, *published[switch:])
    assert overflow.list_files() == ["equity", "series", "trades"]
    whole = document(held)
    assert whole.count(b'"GOOG-') > 2 * HELD_TRADES
    assert document(spilled) == whole
    assert document(spilled) == whole
    assert spilled.size_bytes() < held.size_bytes() / 5
    spilled.release()
    spilled.release()
    assert overflow.list_files() == []


@pytest.mark.parametrize("policy", ["sliding_window", "minimal"])
def test_what_is_bounded_anyway_does_not_leave_memory(
    marks: Marks, close: Close, policy: str
) -> None:
    overflow = Files()
    held, spilled = make_tracer(None, policy), make_tracer(overflow, policy)
    for tracer in (held, spilled):
        feed(tracer, *course(marks, close, 20_000))
    assert document(spilled) == document(held)
    assert sorted(overflow.files) == ["series"]


def test_few_marks_and_trades_make_no_file(marks: Marks, close: Close) -> None:
    overflow = Files()
    tracer = make_tracer(overflow)
    trades = [close(1.0, number=number) for number in range(HELD_TRADES)]
    feed(tracer, marks(np.arange(float(HELD_MARKS))), *trades)
    assert overflow.files == {}
    feed(tracer, marks([1.0]), trades[0])
    assert sorted(overflow.files) == ["equity", "series", "trades"]
    tracer.release()
    assert overflow.files == {}


def test_who_reads_is_not_disturbed_by_what_arrives(marks: Marks) -> None:
    history = EquityHistory(file=OverflowFile(Files(), "equity"), held=4)
    readers: list[tuple[Iterator[float], int]] = []
    for number in range(40):
        readers.append((history.values("equity"), number))
        history.fold(marks([float(number)]).events()[0])
    for values, count in readers:
        assert list(values) == list(range(count))


def test_a_failed_write_loses_nothing_and_the_next_goes_on(
    marks: Marks, close: Close, tmp_path: Path
) -> None:
    overflow = Folder(tmp_path)
    equity = EquityHistory(file=OverflowFile(overflow, "equity"), held=3)
    trades = TradeHistory(file=OverflowFile(overflow, "trades"), held=3)
    failures = 0
    for number in range(100):
        overflow.failing = ("write",) if number % 7 < 4 else ()
        try:
            equity.fold(marks([float(number)]))
        except StorageError:
            failures += 1
        with suppress(StorageError):
            trades.fold(close(1.0, number=number))
        assert list(equity.values("equity")) == list(range(number + 1))
        assert [trade.id for trade in trades.trades()] == [f"GOOG-{n}" for n in range(number + 1)]
    assert failures >= 40


def test_a_block_is_taken_whole_even_if_nothing_can_be_written(
    marks: Marks, close: Close, tmp_path: Path
) -> None:
    overflow = Folder(tmp_path)
    overflow.failing = ("open",)
    series = SeriesHistory(OverflowFile(overflow, "series"), marks=3, trades=3)
    with pytest.raises(StorageError):
        series.fold(marks(np.arange(5000.0)))
    with pytest.raises(StorageError):
        series.fold(Block.of([close(float(number), number=number) for number in range(50)]))
    columns = series.columns()
    assert list(columns["equity"]) == list(range(5000))
    assert [trade.pnl for trade in columns["trades"]] == list(range(50))


def test_a_file_that_cannot_be_removed_is_told_and_the_others_are_removed(
    marks: Marks, close: Close, tmp_path: Path
) -> None:
    overflow = Folder(tmp_path)
    tracer = make_tracer(overflow)
    feed(tracer, *course(marks, close, 20_000))
    removed: list[str] = []
    call = overflow.call

    def fail_once(function, /, *args, **kwargs):
        if function.__name__ == "unlink":
            removed.append(function.__self__.name)
            if len(removed) == 1:
                raise OSError(errno.EACCES, "not yours")
        return call(function, *args, **kwargs)

    overflow.call = overflow._call = fail_once  # type: ignore[method-assign]
    for file in tracer._files.values():
        file._journal._call = fail_once
    with pytest.raises(StorageError, match="not yours"):
        tracer.release()
    assert sorted(removed) == ["equity", "series", "trades"]
    assert overflow.list_files() == [removed[0]]


def test_the_size_is_that_of_what_is_in_memory(marks: Marks, close: Close) -> None:
    tracer = make_tracer(None)
    empty = tracer.size_bytes()
    feed(tracer, marks(np.arange(100_000.0)))
    assert 100_000 * 48 <= tracer.size_bytes() - empty <= 2 * 100_000 * 48
    before = tracer.size_bytes()
    feed(tracer, *(close(1.0, number=number) for number in range(1000)))
    assert 300_000 < tracer.size_bytes() - before < 1_500_000


def test_a_million_marks_take_little_memory_until_they_are_written(
    marks: Marks, tmp_path: Path
) -> None:
    overflow = Folder(tmp_path)
    history = EquityHistory(file=OverflowFile(overflow, "equity"))
    blocks = [marks(np.arange(10_000.0)) for _ in range(2)]
    tracemalloc.start()
    try:
        for number in range(100):
            history.fold(blocks[number % 2])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.reset_peak()
        size = sum(map(len, iter_json(history.curve(), "results.json")))
        assert size > 20_000_000
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
