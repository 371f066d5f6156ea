from __future__ import annotations

from itertools import accumulate
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.block import (
    UNROLLED_AT_ONCE,
    Block,
    DictionaryColumn,
    LateColumn,
    event_class,
    is_block,
    last_ts,
)
from admf.engine.bus import Bus
from admf.engine.events import Event
from admf.engine.subscription import SubscriptionStats


class Quote(Event, frozen=True, gc=False, tag="QUOTE"):
    key_field: ClassVar[str | None] = "symbol"

    symbol: str
    price: float
    levels: tuple[float, ...]
    note: str | None


class Loose(Event, frozen=True, gc=False, tag="LOOSE"):
    value: Any


def quotes(count: int) -> Block[Quote]:
    return Block(
        Quote,
        {
            "ts": np.arange(count) * 10,
            "symbol": DictionaryColumn(np.arange(count) % 3, ["A", "B", "C"]),
            "price": np.arange(count) / 4,
            "levels": np.arange(2.0 * count).reshape(count, 2),
            "note": None,
        },
    )


def row(number: int) -> Quote:
    return Quote(number * 10, "ABC"[number % 3], number / 4, (2.0 * number, 2.0 * number + 1), None)


# -- columns and rows -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 5, UNROLLED_AT_ONCE, 2 * UNROLLED_AT_ONCE + 1])
def test_a_block_is_its_events(count: int):
    expected = [row(number) for number in range(count)]
    assert list(quotes(count)) == expected
    assert quotes(count).events() == expected
    assert len(quotes(count)) == count


def test_the_events_are_made_once_and_shared_by_all_who_ask():
    block = quotes(3 * UNROLLED_AT_ONCE)
    first, second = iter(block), iter(block)
    assert next(first) is next(second)
    everything = block.events()
    assert all(a is b for a, b in zip(everything[1:], first, strict=True))
    assert block.events() is everything


def test_events_are_made_a_chunk_at_a_time():
    block = quotes(3 * UNROLLED_AT_ONCE)
    running = iter(block)
    next(running)
    assert block._events is not None
    assert len(block._events) == UNROLLED_AT_ONCE


def test_slices_selections_and_copies_hold_the_same_events():
    block = quotes(10)
    even = np.arange(10) % 2 == 0
    assert list(block.slice(2, 5)) == [row(number) for number in (2, 3, 4)]
    assert list(block.select(even)) == [row(number) for number in (0, 2, 4, 6, 8)]
    assert list(block.copy()) == list(block)


def late(count: int, asked: list[int]) -> Block[Quote]:
    """Return the same block, with a column that says when it is computed."""
    present = quotes(count)

    def compute() -> np.ndarray:
        asked.append(count)
        return present.column("levels")

    return Block(Quote, {**present.columns, "levels": LateColumn(count, compute)})


def test_a_late_column_is_computed_once_and_only_when_it_is_read():
    asked: list[int] = []
    block = late(4, asked)
    size = block.size_bytes
    assert (len(block), block.column("price").tolist(), asked) == (4, [0.0, 0.25, 0.5, 0.75], [])
    assert list(block) == list(quotes(4))
    assert block.column("levels") is block.column("levels")
    assert (asked, block.size_bytes - size) == ([4], 64)


@pytest.mark.parametrize(
    "taken",
    [
        lambda block: list(block.slice(1, 3)),
        lambda block: list(block.select(np.arange(4) % 2 == 0)),
        lambda block: list(block.copy()),
        lambda block: block.listed("levels"),
        lambda block: block.rows_where("levels", (2.0, 3.0)).tolist(),
    ],
)
def test_a_late_column_reads_as_one_that_is_there(taken: Any):
    assert taken(late(4, [])) == taken(quotes(4))


def test_a_late_column_has_as_many_rows_as_the_others():
    with pytest.raises(ValueError, match="'levels' has 3 rows"):
        Block(Quote, {**quotes(4).columns, "levels": LateColumn(3, lambda: np.zeros((3, 2)))})


def test_a_slice_shares_the_arrays_and_a_copy_does_not():
    block = quotes(10)
    part = block.slice(2, 5)
    assert np.shares_memory(part.ts, block.ts)
    assert not np.shares_memory(part.copy().ts, block.ts)
    symbols, copied = part.columns["symbol"], part.copy().columns["symbol"]
    assert isinstance(symbols, DictionaryColumn)
    assert isinstance(copied, DictionaryColumn)
    assert not np.shares_memory(symbols.codes, copied.codes)


@pytest.mark.parametrize("name", ["ts", "symbol", "price", "levels", "note"])
def test_a_column_is_an_array_whatever_its_encoding(name: str):
    column = quotes(4).column(name)
    assert isinstance(column, np.ndarray)
    values = [tuple(v) if name == "levels" else v for v in column.tolist()]
    assert values == [getattr(row(number), name) for number in range(4)]


def test_a_tuple_may_be_common_to_all_rows():
    block = Block(Loose, {"ts": np.arange(2), "value": ("a", "b")})
    assert block.column("value").tolist() == [("a", "b"), ("a", "b")]
    assert list(block) == [Loose(0, ("a", "b")), Loose(1, ("a", "b"))]


@pytest.mark.parametrize(
    ("name", "value", "rows"),
    [
        ("symbol", "B", [1, 4]),
        ("symbol", "X", []),
        ("price", 0.5, [2]),
        ("price", "0.5", []),
        ("levels", (4.0, 5.0), [2]),
        ("note", None, [0, 1, 2, 3, 4, 5]),
        ("note", "x", []),
    ],
)
def test_rows_are_found_by_value(name: str, value: object, rows: list[int]):
    found = quotes(6).rows_where(name, value)
    assert found.dtype == np.bool_
    assert np.flatnonzero(found).tolist() == rows


def test_size_bytes_counts_the_arrays():
    block = quotes(8)
    assert block.size_bytes == 8 * (8 + 8 + 8 + 16)


def test_it_says_what_it_is():
    assert repr(quotes(3)) == "<Block of 3 QUOTE>"
    assert (is_block(quotes(1)), is_block(row(1))) == (True, False)
    assert (event_class(quotes(1)), event_class(row(1))) == (Quote, Quote)
    assert (last_ts(quotes(4)), last_ts(row(4))) == (30, 40)
    assert type(last_ts(quotes(4))) is int


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ts": np.arange(2)}, r"do not match its fields: \['value'\]"),
        ({"ts": np.arange(2), "value": 1, "more": 2}, r"\['more'\]"),
        ({"ts": np.arange(2), "value": np.arange(3)}, "'value' has 3 rows, ts has 2"),
        ({"ts": np.arange(2), "value": DictionaryColumn(np.arange(1), "a")}, "has 1 rows"),
        ({"ts": np.arange(2.0), "value": 1}, r"'ts' of a LOOSE block must be int64"),
        ({"ts": [1, 2], "value": 1}, r"'ts' of a LOOSE block must be int64"),
        ({"ts": np.zeros((2, 2), dtype=np.int64), "value": 1}, "must be int64"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Block(Loose, columns)


# -- from events ----------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.text(max_size=3), st.none(),
    st.binary(max_size=3),
)  # fmt: skip
VALUES = st.one_of(
    st.lists(st.floats(), min_size=1, max_size=6),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6),
    st.lists(st.integers(), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=1, max_size=6),
    st.lists(st.text(max_size=3), min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=6),
    st.lists(st.lists(SCALARS, max_size=3).map(tuple), min_size=1, max_size=6),
    st.lists(st.lists(st.floats(), max_size=2), min_size=1, max_size=6),
    st.lists(SCALARS, min_size=1, max_size=6),
)


@given(VALUES)
def test_events_come_back_from_a_block_as_they_were_to_the_last_type(values: list[Any]):
    events = [Loose(ts, value) for ts, value in enumerate(values)]
    back = Block.of(events).events()
    assert [repr(event) for event in back] == [repr(event) for event in events]
    assert msgspec.json.encode(back) == msgspec.json.encode(events)


@given(VALUES)
def test_a_block_that_holds_events_is_the_one_that_is_made_of_them(values: list[Any]):
    events = [Loose(ts, value) for ts, value in enumerate(values)]
    block = Block.holding(events)
    assert (block.cls, len(block), block._columns) == (Loose, len(events), None)
    assert all(a is b for a, b in zip(block.events(), events, strict=True))
    expected = Block.of(events)
    assert repr(block.listed("value")) == repr(expected.listed("value"))
    assert type(block.columns["value"]) is type(expected.columns["value"])
    assert block.columns is block.columns
    assert repr(block.events()) == repr(events)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.5, 2.5], np.float64),
        ([1, 2], np.int64),
        ([True, False], np.bool_),
        ([(1.0, 2.0)], np.float64),
        ([1, 2.0], np.object_),
        ([2**63], np.object_),
        ([("a", "b")], np.object_),
        ([None, "a"], np.object_),
    ],
)
def test_a_column_is_as_compact_as_its_values_allow(values: list[Any], dtype: Any):
    column = Block.of([Loose(0, value) for value in values]).columns["value"]
    assert isinstance(column, np.ndarray)
    assert column.dtype == dtype


def test_texts_are_encoded_by_a_dictionary():
    column = Block.of([Loose(0, text) for text in ("b", "a", "b")]).columns["value"]
    assert isinstance(column, DictionaryColumn)
    assert (column.values, column.codes.tolist(), len(column)) == (("b", "a"), [0, 1, 0], 3)


@pytest.mark.parametrize("value", ["a", None])
def test_a_text_or_nothing_that_all_rows_share_is_there_once(value: str | None):
    assert Block.of([Loose(0, value)] * 3).columns["value"] == value


# -- on the bus -----------------------------------------------------------------------------------


def pieces(events: list[Quote], cuts: list[int]) -> list[Quote | Block[Quote]]:
    """Cut events into blocks of the given lengths; 0 stands for a single event."""
    published: list[Quote | Block[Quote]] = []
    rest = events
    while rest:
        cut = cuts[len(published) % len(cuts)]
        published.append(Block.of(rest[:cut]) if cut else rest[0])
        rest = rest[cut or 1 :]
    return published


@pytest.mark.anyio
@pytest.mark.parametrize("key", [None, "B"])
@pytest.mark.parametrize("cuts", [[0], [1], [7], [0, 3, 1], [100]])
async def test_single_and_block_subscribers_see_the_same_events_in_the_same_order(
    cuts: list[int], key: str | None
):
    bus = Bus()
    events = [row(number) for number in range(50)]
    single: list[Quote] = []
    awaited: list[Quote] = []
    blocks: list[Block[Quote]] = []

    async def keep(event: Quote) -> None:
        awaited.append(event)

    subscriptions = [
        bus.subscribe(Quote, single.append, key=key),
        bus.subscribe(Quote, keep, key=key),
        bus.subscribe(Quote, blocks.append, key=key, blocks=True),
    ]
    seqs = [bus.publish(piece) for piece in pieces(events, cuts)]
    await bus.drain()
    wanted = [event for event in events if key in (None, event.symbol)]
    assert single == awaited == [event for block in blocks for event in block] == wanted
    assert all(len(block) for block in blocks)
    assert {sub.stats for sub in subscriptions} == {
        SubscriptionStats(len(wanted), len(wanted), 0, 0, 0)
    }
    lengths = [len(piece) if is_block(piece) else 1 for piece in pieces(events, cuts)]
    assert [*seqs, bus.publish(row(0))] == [*accumulate(lengths, initial=1)]
    await bus.drain()


@pytest.mark.anyio
async def test_the_rows_of_a_block_have_the_seq_they_would_have_alone():
    async def causes(cuts: list[int]) -> list[tuple[int, int]]:
        bus = Bus()
        echoes = bus.stream(Loose)
        bus.subscribe(Quote, lambda event: bus.publish(Loose(event.ts, None)), key="B")
        for piece in pieces([row(number) for number in range(20)], cuts):
            bus.publish(piece)
        await bus.drain()
        await bus.aclose()
        return [(e.event.ts, e.cause) async for e in echoes]

    alone = await causes([0])
    assert alone == [(10 * number, number + 1) for number in range(1, 20, 3)]
    for cuts in ([1], [7], [20]):
        assert await causes(cuts) == alone


def test_a_compact_block_copies_only_parts_of_arrays():
    block = quotes(10)
    part = block.slice(2, 5)
    assert list(part.compact()) == list(part)
    assert not np.shares_memory(part.compact().ts, block.ts)
    whole = part.copy()
    assert whole.compact().ts is whole.ts
