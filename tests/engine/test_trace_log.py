from __future__ import annotations

import math
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.errors import StorageError, TornFileError
from admf.engine.events import (
    ENGINE_EVENTS,
    Dropped,
    Envelope,
    Event,
    HandlerFailed,
    WindowEnd,
    WindowStart,
)
from admf.engine.frames import FrameWriter
from admf.engine.journal import Journal, MemoryJournal
from admf.engine.local_folder import LocalFolder
from admf.engine.retention import SlidingWindow, TradeComplete
from admf.engine.trace_frames import EventsFrame, HeadFrame, pack
from admf.engine.trace_log import EVENTS_PER_FRAME, ROWS_PER_FRAME, EventLog
from admf.engine.trace_reader import EventLogReader
from admf.engine.tracer import EventTracer, TraceEnd


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    """What comes from above."""


class Mark(Event, frozen=True, gc=False, tag="MARK"):
    value: float
    count: int


class Note(Event, frozen=True, gc=False, tag="NOTE"):
    text: str
    parts: tuple[float, ...] = ()
    size: float | None = None


class Reply(Event, frozen=True, gc=False, tag="REPLY"):
    text: str


CLASSES = (Mark, Note, Reply, Tick, *ENGINE_EVENTS)
LOGGED = (Mark, Note, Reply, HandlerFailed, Dropped)


class Files:
    """An overflow in memory."""

    active = False

    def __init__(self) -> None:
        self.files: dict[str, Any] = {}

    def journal(self, name: str) -> Journal:
        return MemoryJournal(name, self.files)


def make_log(files: Files | None = None, **options: Any) -> tuple[EventLog, MemoryJournal]:
    files = files or Files()
    journal = MemoryJournal("trace", files.files)
    given_options = {"store": "all", "about": {"id": "a"}, "types": LOGGED, "columns": (Mark,)}
    log = EventLog(journal, files, **{**given_options, **options})
    return log, journal


def content(journal: Journal) -> bytes:
    return journal.read(0, journal.size)


def record_all(log: EventLog, items: Iterable[Event | Block[Any]]) -> None:
    seq = 1
    for item in items:
        log.record(Envelope(seq, 0, "me", item))
        seq += len(item) if isinstance(item, Block) else 1


def written(items: Iterable[Event | Block[Any]], about: object = None, **options: Any) -> bytes:
    log, journal = make_log(**options)
    record_all(log, items)
    log.complete(about=about)
    return content(journal)


def reader(data: bytes, classes: Iterable[type[Event]] = CLASSES) -> EventLogReader:
    return EventLogReader(lambda start, count: data[start : start + count], len(data), classes)


def read_all(data: bytes) -> list[Envelope]:
    return list(reader(data))


def places_by_hand(data: bytes) -> list[int]:
    """Return where each frame begins, and at last the end of the file."""
    places = [8]
    while places[-1] < len(data):
        (length,) = struct.unpack_from("<I", data, places[-1])
        places.append(places[-1] + 8 + length)
    return places


def frames_by_hand(data: bytes) -> list[Any]:
    """Decode a log without any of its code."""
    assert data[:8] == b"ADMFFRM1"
    frames: list[Any] = []
    places = places_by_hand(data)
    for start, stop in pairwise(places):
        length, checksum = struct.unpack_from("<II", data, start)
        packed = data[start + 8 : stop]
        assert checksum == zlib.crc32(data[start : start + 4] + packed)
        if length:
            frames.append(msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(packed)))
    assert places[-1] == len(data)
    assert struct.unpack_from("<I", data, places[-2]) == (0,)
    return frames


def marks(count: int, first: int = 0) -> list[Mark]:
    return [Mark(i, i * 0.1, i * i) for i in range(first, first + count)]


def in_blocks(events: Sequence[Mark], size: int) -> list[Mark | Block[Mark]]:
    if size == 0:
        return list(events)
    return [Block.of(events[i : i + size]) for i in range(0, len(events), size)]


def test_a_log_decoded_by_hand_holds_what_was_recorded() -> None:
    notes = [Note(i, f"n{i}", (1.5, i), None if i % 2 else 2.0) for i in range(300)]
    rows = marks(2_500)
    frames = frames_by_hand(written([*notes, Block.of(rows)], {"seen": 7}))
    kinds = [frame["frame"] for frame in frames]
    assert kinds == ["head", "events", "events", "columns", "columns", "columns", "end"]
    assert frames[0] == {"frame": "head", "format": 1, "store": "all", "about": {"id": "a"}}
    assert [frame["first"] for frame in frames[1:-1]] == [1, 257, 0, 1024, 2048]
    told = [row for frame in frames[1:3] for row in frame["rows"]]
    assert told == [
        [0, "me", {"event": "NOTE", "ts": n.ts, "text": n.text, "parts": list(n.parts),
                   "size": n.size}]
        for n in notes
    ]  # fmt: skip
    found = {
        name: np.concatenate([np.frombuffer(it["values"][name], dtype) for it in frames[3:6]])
        for name, dtype in (("ts", "<i8"), ("value", "<f8"), ("count", "<i8"))
    }
    assert found["ts"].tolist() == [mark.ts for mark in rows]
    assert found["value"].tolist() == [mark.value for mark in rows]
    assert found["count"].tolist() == [mark.count for mark in rows]
    end = {"frame": "end", "events": 300, "columns": {"MARK": 2500}, "about": {"seen": 7}}
    assert frames[-1] == end


def test_what_is_read_back_is_what_was_recorded() -> None:
    items = [Note(1, "ü", (math.inf, -0.0)), Reply(2, ""), Dropped(3, "a", "NOTE", 2)]
    rows = marks(3)
    log = reader(written([*items, *rows]))
    found = list(log)
    assert [it.event for it in found[:3]] == items
    assert [(it.seq, it.cause, it.source) for it in found[:3]] == [(n, 0, "me") for n in (1, 2, 3)]
    assert found[3].event.events() == rows
    assert log.about(dict[str, str]) == {"id": "a"}
    assert log.store == "all"
    assert next(iter(log)) == found[0]  # and once more


def test_numbers_keep_their_type_and_those_of_numpy_become_plain() -> None:
    data = written([Note(1, "a", (1,), 2), Note(2, "b", (), np.float64(3.5))])  # type: ignore[arg-type]
    sizes = [it.event.size for it in read_all(data)]
    assert [(type(it), it) for it in sizes] == [(int, 2), (float, 3.5)]


def test_an_empty_log_is_whole() -> None:
    data = written([])
    assert read_all(data) == []
    assert [it["frame"] for it in frames_by_hand(data)] == ["head", "end"]


@pytest.mark.parametrize("size", [1, 7, 100, 1024, 5000])
def test_the_bytes_do_not_depend_on_the_size_of_blocks_nor_on_where_they_stand(size: int) -> None:
    rows = marks(5_000)
    notes = [Note(i, str(i)) for i in range(1_000)]
    expected = written([*notes, *rows])
    assert written([*notes, *in_blocks(rows, size)]) == expected
    blocks = in_blocks(rows, size)
    mixed: list[Any] = []
    for place, block in enumerate(blocks):
        mixed += [block, *notes[place * 1000 // len(blocks) : (place + 1) * 1000 // len(blocks)]]
    assert written(mixed) == expected
    assert written([*in_blocks(rows, size), Block.of(notes)]) == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 1_500)), max_size=6))
def test_any_portions_give_the_same_bytes(portions: list[tuple[int, int]]) -> None:
    items: list[Any] = []
    rows: list[Mark] = []
    for notes, count in portions:
        items += [Note(len(items), "x")] * notes
        more = marks(count, len(rows))
        items.append(Block.of(more))
        rows += more
    singles = [it for it in items if isinstance(it, Note)]
    assert written(items) == written([*singles, *rows])


async def run_on_a_bus(size: int, failing: bool = False) -> tuple[bytes, list[Envelope]]:
    """Have a scope answer ticks, which come in blocks of a size; keep what it publishes."""
    root = Bus()
    scope = root.scope("lane")
    log, journal = make_log()
    tracer = EventTracer((), TradeComplete(), log=log)
    scope.attach_tracer(tracer)
    seen: list[Envelope] = []

    class Recorder:
        types = frozenset(LOGGED)

        def record(self, envelope: Envelope) -> None:
            seen.append(envelope)

    def on_tick(tick: Tick) -> None:
        if tick.ts % 3 == 0:
            scope.publish(Note(tick.ts, "why"), source="strategy")
        scope.publish(Mark(tick.ts, float(tick.ts), 1), source="portfolio")

    def on_note(note: Note) -> None:
        scope.publish(Reply(note.ts, "because"), source="risk")
        if failing:
            raise ValueError("no")

    scope.attach_tracer(Recorder())
    scope.subscribe(Tick, on_tick)
    scope.subscribe(Note, on_note, name="on_note", on_error="isolate")
    ticks = [Tick(i) for i in range(400)]
    for start in range(0, 400, size):
        root.publish(Block.of(ticks[start : start + size]))
        await root.drain()
    file = tracer.trace()
    assert file is not None
    file.sync()
    return content(journal), seen


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 7, 400])
@pytest.mark.parametrize("failing", [False, True])
async def test_a_log_is_what_a_scope_published_with_numbers_of_its_own(
    size: int, failing: bool
) -> None:
    data, seen = await run_on_a_bus(size, failing)
    found = read_all(data)
    told = [it for it in seen if not isinstance(it.event, Mark)]
    number = {it.seq: place for place, it in enumerate(told, 1)}
    expected: list[Envelope] = []
    for it in told:
        event = it.event
        if isinstance(event, HandlerFailed):
            event = msgspec.structs.replace(event, failed_seq=number[event.failed_seq])
        expected.append(Envelope(number[it.seq], number.get(it.cause, 0), it.source, event))
    assert found[: len(told)] == expected
    replies = [it for it in found if isinstance(it.event, Reply)]
    assert replies
    assert all(found[it.cause - 1].event.ts == it.event.ts for it in replies)
    rows = [row for it in found[len(told) :] for row in it.event]
    assert rows == [it.event for it in seen if isinstance(it.event, Mark)]


def test_a_cause_is_found_up_to_a_frame_back_and_is_0_further_back() -> None:
    log, journal = make_log()
    for seq in range(1, 2_000):
        log.record(Envelope(2 * seq, max(0, 2 * seq - 2 * EVENTS_PER_FRAME), "", Reply(seq, "")))
    log.record(Envelope(5_000, 2, "", Reply(0, "")))
    log.record(Envelope(5_002, 3_999, "", Reply(0, "")))
    log.complete()
    causes = [it.cause for it in read_all(content(journal))]
    assert causes[:EVENTS_PER_FRAME] == [0] * EVENTS_PER_FRAME
    assert causes[EVENTS_PER_FRAME:1999] == list(range(1, 1999 - EVENTS_PER_FRAME + 1))
    assert causes[1999:] == [0, 0]


def test_a_tracer_counts_what_is_traced_and_not_in_the_log() -> None:
    log, journal = make_log(columns=())
    tracer = EventTracer((Tick, Note), SlidingWindow(5), log=log)
    assert {Tick, Mark, Note} <= tracer.types
    items = (Block.of([Tick(1), Tick(2)]), Note(3, ""), Reply(4, ""), Mark(5, 1.0, 1))
    for seq, event in enumerate(items, 1):
        tracer.record(Envelope(seq, 0, "", event))
    assert tracer.size_bytes() > tracer.policy.size_bytes()
    file = tracer.trace()
    assert file is not None
    file.sync()
    log_read = reader(content(journal))
    assert [type(it.event) for it in log_read] == [Note, Reply, Mark]
    assert log_read.about_end(TraceEnd) == TraceEnd({"TICK": 2})
    tracer.release()
    assert file.size == journal.size > 0


def test_a_tracer_without_a_log_has_no_file() -> None:
    tracer = EventTracer((Tick,), SlidingWindow(5))
    assert tracer.trace() is None
    tracer.release()


def test_what_is_retained_is_written_at_the_end_without_the_times_of_the_computation() -> None:
    log, journal = make_log(store="retained", types=())
    tracer = EventTracer((Event,), SlidingWindow(2), log=log)
    items = [
        WindowStart(99, "w"),
        *(Note(i, "") for i in range(5)),
        *marks(4),
        WindowEnd(9, "", ""),
    ]
    for seq, event in enumerate(items, 1):
        tracer.record(Envelope(seq, 0, "", event))
    assert journal.size == 0
    file = tracer.trace()
    assert file is not None
    file.sync()
    data = content(journal)
    found = reader(data)
    singles, rows = list(found)[:-1], list(found)[-1]
    assert [(it.seq, it.event) for it in singles] == [(1, Note(3, "")), (2, Note(4, ""))]
    assert rows.event.events() == marks(4)[2:]
    assert found.store == "retained"
    file.sync()
    assert content(journal) == data


# -- the file on its way --------------------------------------------------------------------------


def test_nothing_is_made_until_a_frame_is_full_and_an_unfinished_log_goes() -> None:
    files = Files()
    log, journal = make_log(files)
    record_all(log, [Note(i, "") for i in range(EVENTS_PER_FRAME - 1)])
    assert files.files == {}
    record_all(log, [Note(1, ""), Block.of(marks(ROWS_PER_FRAME))])
    assert set(files.files) == {"trace", "trace_mark"}
    with pytest.raises(TornFileError, match="did not come to its end"):
        read_all(content(journal))
    log.release()
    log.release()
    assert files.files == {}


def test_a_complete_log_stays_and_what_waited_goes() -> None:
    files = Files()
    log, _ = make_log(files)
    record_all(log, [Block.of(marks(3_000))])
    log.complete()
    log.release()
    assert set(files.files) == {"trace"}


def test_a_log_on_disk_has_the_same_bytes(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    files = Files()
    files.journal = folder.journal  # type: ignore[method-assign]
    journal = folder.journal("a/trace")
    log = EventLog(journal, files, store="all", about={"id": "a"},
                   columns=(Mark,))  # fmt: skip
    items = [Note(1, "a"), Block.of(marks(3_000))]
    record_all(log, items)
    file = log.file(log.complete)
    file.sync()
    log.release()
    assert (tmp_path / "a" / "trace").read_bytes() == written(items) == file.read(0, file.size)
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
    file.append(b"more")
    with pytest.raises(TornFileError, match="follows the end mark"):
        read_all(file.read(0, file.size))
    file.discard()
    assert not (tmp_path / "a" / "trace").exists()


class FullJournal(MemoryJournal):
    """Fails from a given call on."""

    def __init__(self, path: str, files: Any, calls: int) -> None:
        super().__init__(path, files)
        self._calls = calls

    def append(self, data: bytes) -> None:
        self._calls -= 1
        if self._calls < 0:
            raise StorageError("the disk is full")
        super().append(data)


@pytest.mark.parametrize("calls", [0, 1])
def test_a_log_that_could_not_be_written_takes_no_more_and_never_completes(calls: int) -> None:
    files = Files()
    journal = FullJournal("trace", files.files, calls)
    log = EventLog(journal, files, store="all", about=0, columns=(Mark,))
    with pytest.raises(StorageError, match=r"^the disk is full$"):
        record_all(log, [Note(i, "") for i in range(1_000)])
    record_all(log, [Note(1, ""), *marks(3)])
    for _ in range(2):
        with pytest.raises(StorageError, match="log of events is not whole: the disk is full"):
            log.complete()
    log.release()
    assert files.files == {}


def test_columns_that_cannot_wait_break_the_log() -> None:
    files = Files()
    files.journal = lambda name: FullJournal(name, files.files, 1)  # type: ignore[method-assign]
    log, _ = make_log(files)
    with pytest.raises(StorageError, match="full"):
        log.record(Envelope(1, 0, "", Block.of(marks(5_000))))
    with pytest.raises(StorageError, match="not whole"):
        log.complete()


class SlowJournal(MemoryJournal):
    """Returns less than it is asked for, as a system call may."""

    def read(self, start: int, count: int) -> bytes:
        return super().read(start, min(count, 10_000))


def test_columns_that_wait_are_read_back_piece_by_piece_if_need_be() -> None:
    files = Files()
    files.journal = lambda name: SlowJournal(name, files.files)  # type: ignore[method-assign]
    log, journal = make_log(files)
    rows = [Block.of(marks(20_000))]
    record_all(log, rows)
    log.complete()
    assert content(journal) == written(rows)


@pytest.mark.parametrize("damaged", [lambda it: it[:-1], lambda it: b"\x00" + it[1:]])
def test_columns_that_are_not_what_they_were_never_become_a_log(
    damaged: Callable[[bytes], bytes],
) -> None:
    class Damaged(MemoryJournal):
        def read(self, start: int, count: int) -> bytes:
            return damaged(super().read(0, self.size))[start : start + count]

    files = Files()
    files.journal = lambda name: Damaged(name, files.files)  # type: ignore[method-assign]
    log, _ = make_log(files)
    record_all(log, [Block.of(marks(3_000))])
    with pytest.raises(TornFileError, match="waited in 'trace_mark' is not as it was written"):
        log.complete()
    with pytest.raises(StorageError, match="not whole"):
        log.complete()


def test_a_log_that_cannot_be_ended_stays_incomplete() -> None:
    journal = FullJournal("trace", {}, 1)
    log = EventLog(journal, Files(), store="all", about=0)
    with pytest.raises(StorageError, match="full"):
        log.complete()
    with pytest.raises(StorageError, match="not whole"):
        log.complete()
    with pytest.raises(TornFileError):
        read_all(content(journal))


@pytest.mark.parametrize("text", [object(), 1 << 70, "\ud800"], ids=["object", "huge", "surrogate"])
def test_an_event_that_has_no_form_is_refused(text: Any) -> None:
    log, _ = make_log()
    log.record(Envelope(1, 0, "", Note(1, text)))
    with pytest.raises(StorageError, match="cannot be written to the log"):
        log.complete()


def test_only_numbers_become_columns() -> None:
    with pytest.raises(ValueError, match="field 'text' of NOTE is neither int nor float"):
        make_log(columns=(Note,))


def test_memory_stays_flat_however_long_the_log_is(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    files = Files()
    files.journal = folder.journal  # type: ignore[method-assign]
    log = EventLog(folder.journal("trace"), files, store="all", about=0,
                   columns=(Mark,))  # fmt: skip

    def feed(first: int) -> None:
        for ts in range(first, first + 4_000):
            log.record(Envelope(2 * ts, 2 * ts - 2, "me", Note(ts, f"text {ts}")))
            log.record(Envelope(2 * ts + 1, 0, "me", Mark(ts, 1.0 / (ts + 1), ts)))

    feed(1)
    tracemalloc.start()
    try:
        feed(4_001)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for first in range(8_001, 40_001, 4_000):
            feed(first)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    assert peak - before < 400_000
    assert log.size_bytes() < 150_000
    log.complete()


# -- damage ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> bytes:
    return written([*(Note(i, f"n{i}") for i in range(600)), Block.of(marks(2_500))])


def test_a_log_that_is_cut_between_two_frames_is_never_read_as_whole(whole: bytes) -> None:
    for place in [0, *places_by_hand(whole)[:-1]]:
        with pytest.raises(TornFileError):
            read_all(whole[:place])


def test_a_log_that_is_cut_anywhere_is_never_read_as_whole(whole: bytes) -> None:
    rng = random.Random(1)
    for place in rng.sample(range(len(whole)), 200):
        with pytest.raises(TornFileError):
            read_all(whole[:place])


def test_a_flipped_bit_is_always_found(whole: bytes) -> None:
    rng = random.Random(2)
    for place in [
        *range(16),
        *range(len(whole) - 8, len(whole)),
        *rng.sample(range(len(whole)), 200),
    ]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        with pytest.raises(TornFileError):
            read_all(bytes(flipped))


def test_what_follows_the_end_is_found(whole: bytes) -> None:
    with pytest.raises(TornFileError, match="follows the end mark"):
        read_all(whole + b"x")


def test_a_frame_that_is_missing_or_twice_or_elsewhere_is_found(whole: bytes) -> None:
    places = places_by_hand(whole)
    frames = [whole[start:stop] for start, stop in pairwise(places)]
    assert len(frames) == 9  # head, 3 of events, 3 of columns, end, end mark
    for place in range(8):
        with pytest.raises(TornFileError):
            read_all(whole[:8] + b"".join(frames[:place] + frames[place + 1 :]))
        with pytest.raises(TornFileError):
            read_all(whole[:8] + b"".join(frames[: place + 1] + frames[place:]))
        swapped = frames[:place] + frames[place : place + 2][::-1] + frames[place + 2 :]
        with pytest.raises(TornFileError):
            read_all(whole[:8] + b"".join(swapped))


def framed(*frames: object) -> bytes:
    journal = MemoryJournal("x", {})
    writer = FrameWriter(journal)
    for frame in frames:
        writer.append(frame if isinstance(frame, bytes) else pack(frame))
    writer.end()
    return content(journal)


HEAD = HeadFrame(1, "all", msgspec.Raw(pack({"id": "a"})))
END = {"frame": "end", "events": 0, "columns": {}, "about": None}


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        ((), TornFileError, "cut off at its beginning"),
        ((b"\xc1",), TornFileError, "content is not that of a log"),
        ((b"\xa2\xff\xff",), TornFileError, "content is not that of a log"),
        (({"a": 1},), TornFileError, "content is not that of a log"),
        (({"frame": "head", "format": 2},), StorageError, "has format 2, .*it writes 1"),
        ((HEAD, HEAD, END), TornFileError, "frames are not those"),
        ((HEAD, END, END), TornFileError, "frames are not those"),
        ((HEAD,), TornFileError, "is cut"),
        ((HEAD, {"frame": "other"}), TornFileError, "content is not that of a log"),
        ((HEAD, {**END, "events": 1}), TornFileError, "tells of more, or less"),
        ((HEAD, {**END, "columns": {"MARK": 1}}), TornFileError, "tells of more, or less"),
        (
            (HEAD, EventsFrame(1, [(0, "", {"event": "OTHER", "ts": 1})]), END),
            StorageError,
            "holds events 'OTHER', which are not known",
        ),
        (
            (HEAD, EventsFrame(1, [(0, "", {"event": "REPLY", "ts": 1})]), END),
            StorageError,
            "another version",
        ),
        (
            (HEAD, {"frame": "columns", "event": "MARK", "first": 0, "values": {"ts": b""}}, END),
            TornFileError,
            "columns of MARK do not fit",
        ),
        (
            (HEAD, {"frame": "columns", "event": "NOTE", "first": 0, "values": {}}, END),
            TornFileError,
            "columns of NOTE do not fit",
        ),
    ],
)
def test_frames_that_are_no_log_are_refused(
    frames: tuple[object, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_all(framed(*frames))


def test_what_a_log_says_of_itself_must_be_what_is_asked_for() -> None:
    with pytest.raises(TornFileError):
        reader(framed(HEAD)).about(int)
    with pytest.raises(TornFileError):
        reader(b"").about(int)
    with pytest.raises(TornFileError):
        reader(framed(HEAD)).about_end(int)
