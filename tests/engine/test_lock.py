"""Who may write into a run's folder: one at a time, and after a crash whoever comes next."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path

import anyio
import msgspec
import psutil
import pytest
from anyio.lowlevel import checkpoint

from admf.engine import lock_owner as module
from admf.engine.clock import SimulatedClock
from admf.engine.errors import FolderInUseError, MissingFileError, StorageError
from admf.engine.lock import LOCK_FOLDER, RunLock, read_lock
from admf.engine.lock_owner import LockOwner, is_stale
from admf.engine.storage import LocalStorage, MemoryStorage, Storage
from admf.engine.testing import FaultStorage

pytestmark = pytest.mark.anyio

NOW_NS = 1_750_000_000 * 10**9
SECOND = 10**9
RUN = "studies/goog"
FOLDER = f"{RUN}/{LOCK_FOLDER}"


class Ticking(SimulatedClock):
    """A clock on which waiting takes no time, and something may happen meanwhile."""

    def __init__(self, meanwhile: Callable[[], Awaitable[object]] = checkpoint) -> None:
        super().__init__(NOW_NS)
        self._meanwhile = meanwhile

    async def sleep(self, seconds: float) -> None:
        self.advance_to(self.now_ns() + round(max(seconds, 0.5) * SECOND))
        await self._meanwhile()


class Meddled(MemoryStorage):
    """A storage in which something happens once, right after the first file is written."""

    def __init__(self, meddle: Callable[[Meddled], Awaitable[object]]) -> None:
        super().__init__()
        self._meddle: Callable[[Meddled], Awaitable[object]] | None = meddle

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        await super().write_atomic(path, chunks)
        meddle, self._meddle = self._meddle, None
        if meddle is not None:
            await meddle(self)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return LocalStorage(tmp_path / "results") if request.param == "local" else MemoryStorage()


@pytest.fixture(scope="module")
def gone_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def owner(**changes: object) -> LockOwner:
    """This process, as owner of some other lock."""
    return msgspec.structs.replace(module.this_process(NOW_NS), **changes)


def far(**changes: object) -> LockOwner:
    return owner(**{"host": "elsewhere", "pid": 4711, "token": "far", **changes})


async def plant(storage: Storage, content: LockOwner | bytes, number: int = 1) -> None:
    data = module.encode_owner(content) if isinstance(content, LockOwner) else content
    await storage.write_atomic(f"{FOLDER}/{number}/owner.json", [data])


async def assert_free(storage: Storage) -> None:
    """A lock that is taken now was left by nobody, and leaves nothing."""
    lock = await RunLock.acquire(storage, RUN, clock=Ticking())
    assert lock.taken_over is None
    await lock.release()
    assert not await storage.exists(FOLDER)


# One holder


async def test_a_lock_tells_who_holds_it(storage: Storage) -> None:
    clock = Ticking()
    lock = await RunLock.acquire(storage, RUN, clock=clock)
    found = await read_lock(storage, RUN)
    assert found == lock.owner
    assert (found.pid, found.host) == (os.getpid(), socket.gethostname())
    assert found.taken_at_ns == found.heartbeat_at_ns == NOW_NS
    assert found.describe(NOW_NS + 3 * SECOND) == (
        f"pid {os.getpid()} on host {socket.gethostname()}, last heard of 3 s ago"
    )
    assert not is_stale(found, clock.now_ns())
    assert lock.taken_over is None


async def test_a_lock_that_is_released_leaves_nothing(storage: Storage) -> None:
    lock = await RunLock.acquire(storage, RUN)
    await lock.release()
    await lock.release()
    assert not await storage.exists(FOLDER)
    assert await storage.list_files(RUN) == []
    assert await read_lock(storage, RUN) is None
    await assert_free(storage)


async def test_the_folder_may_be_the_root_of_the_storage(storage: Storage) -> None:
    lock = await RunLock.acquire(storage, "")
    assert await read_lock(storage, "") == lock.owner
    with pytest.raises(FolderInUseError, match=r"remove .*\.lock$"):
        await RunLock.acquire(storage, "")
    await lock.release()
    assert not await storage.exists(LOCK_FOLDER)


async def test_a_second_run_is_refused_and_told_what_to_do(storage: Storage) -> None:
    lock = await RunLock.acquire(storage, RUN)
    with pytest.raises(FolderInUseError) as caught:
        await RunLock.acquire(storage, RUN)
    assert caught.value.exit_code == 6
    assert str(caught.value) == (
        f"{storage.locate(RUN)} is in use by pid {os.getpid()} on host {socket.gethostname()}, "
        "last heard of 0 s ago: wait for it, or stop it; if you are sure that it is gone, "
        f"remove {storage.locate(RUN)}/.lock"
    )
    await lock.beat()
    await lock.release()


async def test_two_runs_in_two_folders_do_not_meet(storage: Storage) -> None:
    for name in ("a", "b", "a/c"):
        assert (await RunLock.acquire(storage, name)).taken_over is None


@pytest.mark.parametrize("before", ["nobody", "a dead process", "many dead processes"])
async def test_of_twenty_contenders_one_wins(storage: Storage, before: str, gone_pid: int) -> None:
    dead = [owner(pid=gone_pid, token=str(number)) for number in range(5)]
    dead = {"nobody": [], "a dead process": dead[:1], "many dead processes": dead}[before]
    for number, each in enumerate(dead, start=1):
        await plant(storage, each, number)
    won: list[RunLock] = []
    refused: list[str] = []

    async def contend() -> None:
        try:
            won.append(await RunLock.acquire(storage, RUN))
        except FolderInUseError as error:
            refused.append(str(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(contend)
    assert (len(won), len(refused)) == (1, 19)
    assert all(f"pid {os.getpid()} " in message for message in refused)
    assert won[0].taken_over == (dead[-1] if dead else None)
    assert await read_lock(storage, RUN) == won[0].owner
    await won[0].beat()
    await won[0].release()
    await assert_free(storage)


class Jittery(MemoryStorage):
    """A storage whose operations take longer or shorter, by chance."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    async def _enter(self, path: str) -> None:
        for _ in range(self._random.choice((1, 1, 2, 3, 60))):
            await checkpoint()
        await super()._enter(path)

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        await self._enter(path)
        await super().write_atomic(path, chunks)
        await self._enter(path)


@pytest.mark.parametrize("seed", range(10))
async def test_no_two_hold_it_in_whatever_order_things_happen(seed: int, gone_pid: int) -> None:
    """Here a claimant may be slower than the others' patience, die as holder, or come late."""
    storage, chance = Jittery(seed), random.Random(seed)
    clock = Ticking()
    holders: list[RunLock] = []
    outcomes: list[str] = []

    async def contend() -> None:
        for _ in range(6):
            try:
                lock = await RunLock.acquire(storage, RUN, clock=clock)
            except FolderInUseError:
                outcomes.append("refused")
                for _ in range(chance.randrange(200)):
                    await checkpoint()
                continue
            holders.append(lock)
            for _ in range(chance.randrange(20)):
                await checkpoint()
                assert holders == [lock]
            outcomes.append("released" if "died" in outcomes[-4:] else "died")
            if outcomes[-1] == "died":
                dead = msgspec.structs.replace(lock.owner, pid=gone_pid)
                storage._files[f"{lock._claim}/owner.json"] = module.encode_owner(dead)
            holders.remove(lock)
            if outcomes[-1] == "released":
                await lock.release()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(contend)
    assert len(outcomes) == 36
    assert {"refused", "died", "released"} == set(outcomes)


# Who is gone


async def test_the_lock_of_a_dead_process_is_taken_over_at_once(
    storage: Storage, gone_pid: int
) -> None:
    dead = owner(pid=gone_pid)
    await plant(storage, dead)
    assert await read_lock(storage, RUN) == dead
    assert is_stale(dead, NOW_NS)
    clock = Ticking()
    lock = await RunLock.acquire(storage, RUN, clock=clock)
    assert clock.now_ns() == NOW_NS
    assert lock.taken_over == dead
    assert await read_lock(storage, RUN) == lock.owner
    await lock.release()
    await assert_free(storage)


async def test_another_process_with_the_pid_of_the_owner_is_not_the_owner(storage: Storage) -> None:
    reused = owner(started_s=owner().started_s - 100)
    await plant(storage, reused)
    lock = await RunLock.acquire(storage, RUN, clock=Ticking())
    assert lock.taken_over == reused


async def test_a_clock_that_is_set_does_not_make_another_process_of_the_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = owner()
    boot_s, create_time = psutil.boot_time(), psutil.Process.create_time
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_s + 7200)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + 7200)
    assert not is_stale(before, NOW_NS)


async def test_a_living_process_of_this_host_holds_its_lock_however_silent_it_is(
    storage: Storage,
) -> None:
    await plant(storage, owner(heartbeat_at_ns=NOW_NS - 30 * 86_400 * SECOND))
    with pytest.raises(FolderInUseError, match="last heard of 30 days ago"):
        await RunLock.acquire(storage, RUN, clock=Ticking())


async def test_a_process_that_may_not_be_looked_at_is_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deny(process: psutil.Process) -> float:
        raise psutil.AccessDenied(process.pid)

    mine = owner()
    monkeypatch.setattr(psutil.Process, "create_time", deny)
    assert not is_stale(mine, NOW_NS)


@pytest.mark.parametrize("elsewhere", [{"host": "elsewhere"}, {"pid_space": "another boot"}])
@pytest.mark.parametrize("age_s", [0, 59, -59])
async def test_an_owner_elsewhere_is_alive_while_it_was_heard_of_lately(
    storage: Storage, elsewhere: dict[str, str], age_s: int, gone_pid: int
) -> None:
    other = owner(pid=gone_pid, heartbeat_at_ns=NOW_NS - age_s * SECOND, **elsewhere)
    assert not is_stale(other, NOW_NS)
    await plant(storage, other)
    with pytest.raises(FolderInUseError, match=rf"pid {gone_pid} on host {other.host}, "):
        await RunLock.acquire(storage, RUN, clock=Ticking())


@pytest.mark.parametrize("age_s", [60, 10**6, -3600])
async def test_an_owner_elsewhere_is_gone_after_a_minute_without_a_heartbeat(
    storage: Storage, age_s: int
) -> None:
    other = far(heartbeat_at_ns=NOW_NS - age_s * SECOND)
    assert is_stale(other, NOW_NS)
    await plant(storage, other)
    clock = Ticking()
    lock = await RunLock.acquire(storage, RUN, clock=clock)
    assert lock.taken_over == other
    assert clock.now_ns() - NOW_NS >= 15 * SECOND


async def test_an_owner_elsewhere_whose_clock_is_wrong_is_alive_if_it_beats(
    storage: Storage,
) -> None:
    other = far(heartbeat_at_ns=NOW_NS - 3600 * SECOND)
    await plant(storage, other)
    looks = iter(range(10**6))

    async def beat_now_and_then() -> None:
        if next(looks) == 20:
            heard = other.heartbeat_at_ns + 10 * SECOND
            await plant(storage, msgspec.structs.replace(other, heartbeat_at_ns=heard))

    with pytest.raises(FolderInUseError, match="pid 4711 on host elsewhere"):
        await RunLock.acquire(storage, RUN, clock=Ticking(beat_now_and_then))


def test_where_the_system_does_not_tell_pids_apart_the_name_of_the_host_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "Path", lambda path: tmp_path / "nothing")
    assert owner().pid_space == ""
    assert owner().is_near


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")],
)
def test_the_silence_is_told_in_units_that_suit_it(seconds: int, told: str) -> None:
    described = owner(heartbeat_at_ns=0).describe(seconds * SECOND)
    assert described.endswith(f", last heard of {told} ago")


# Real processes

HOLD = """
import sys, anyio
from admf.engine.errors import FolderInUseError
from admf.engine.lock import RunLock
from admf.engine.storage import LocalStorage

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        lock = await RunLock.acquire(LocalStorage(sys.argv[1]), "studies/goog")
    except FolderInUseError as error:
        print("refused", error, flush=True)
        return
    print("holds", lock.taken_over.pid if lock.taken_over else 0, flush=True)
    sys.stdin.readline()
    await lock.release()

anyio.run(main, backend=sys.argv[2])
"""


@pytest.fixture
def start(tmp_path: Path, anyio_backend: str) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path), anyio_backend]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


async def test_a_process_that_lives_keeps_others_out_and_one_that_was_killed_does_not(
    tmp_path: Path, start: Callable[[], subprocess.Popen[str]]
) -> None:
    storage = LocalStorage(tmp_path)
    holder = start()
    say(holder)
    assert [hear(holder), hear(holder)] == ["ready", "holds 0"]
    with pytest.raises(FolderInUseError, match=rf"pid {holder.pid} on host {socket.gethostname()}"):
        await RunLock.acquire(storage, RUN)
    holder.send_signal(signal.SIGKILL)
    ended_but_kept = os.WEXITED | os.WNOWAIT
    await anyio.to_thread.run_sync(os.waitid, os.P_PID, holder.pid, ended_but_kept)
    left = await read_lock(storage, RUN)
    assert left is not None
    assert psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE
    assert is_stale(left, NOW_NS)
    holder.wait()
    assert is_stale(left, NOW_NS)
    lock = await RunLock.acquire(storage, RUN)
    assert lock.taken_over == left
    assert left.pid == holder.pid
    await lock.release()
    assert not await storage.exists(FOLDER)


async def test_of_several_processes_one_takes_over_from_a_dead_one(
    tmp_path: Path, start: Callable[[], subprocess.Popen[str]], gone_pid: int
) -> None:
    storage = LocalStorage(tmp_path)
    await plant(storage, owner(pid=gone_pid))
    processes = [start() for _ in range(3)]
    assert [hear(process) for process in processes] == ["ready"] * 3
    for process in processes:
        say(process)
    answers = {hear(process): process for process in processes}
    winner = answers.pop(f"holds {gone_pid}")
    assert all(line.startswith("refused ") for line in answers)
    assert all(f"pid {winner.pid} on" in line for line in answers)
    say(winner)
    assert winner.wait() == 0
    assert not await storage.exists(FOLDER)


# Owner files that are not what was written


def bits_flipped(content: bytes, count: int) -> Iterator[bytes]:
    chance = random.Random(7)
    for bit in chance.sample(range(8 * len(content)), count):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_a_damaged_owner_file_never_names_another_owner() -> None:
    whole = owner(heartbeat_at_ns=NOW_NS + 1)
    content = module.encode_owner(whole)
    assert module.decode_owner(content) == whole
    cut = [content[:size] for size in range(len(content))]
    for damaged in [*cut, *bits_flipped(content, 500)]:
        assert module.decode_owner(damaged) in {None, whole}


TORN = {
    "empty": b"",
    "cut": module.encode_owner(far())[:50],
    "flipped": next(bits_flipped(module.encode_owner(far()), 1)),
    "another pid": module.encode_owner(far()).replace(b'"pid":4711', b'"pid":4712'),
    "foreign": b'{"pid": 4711, "host": "elsewhere"}',
    "not json": b"4711",
    "not text": b'{"owner":{"host":"\xff"},"sha256":"\xff"}',
    "deep": b'{"owner":' + b"[" * 100_000 + b"]" * 100_000 + b',"sha256":""}',
    "odd pid": module.encode_owner(far(pid=-1)),
}


@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
async def test_a_claim_that_cannot_be_read_is_watched_and_then_taken_over(
    storage: Storage, content: bytes
) -> None:
    await plant(storage, content)
    assert await read_lock(storage, RUN) is None
    clock = Ticking()
    lock = await RunLock.acquire(storage, RUN, clock=clock)
    assert lock.taken_over is None
    assert 15 * SECOND <= clock.now_ns() - NOW_NS < 16 * SECOND
    await lock.release()
    await assert_free(storage)


async def test_a_damaged_file_is_mended_by_the_next_heartbeat_of_a_living_owner(
    storage: Storage,
) -> None:
    lock = await RunLock.acquire(storage, RUN, clock=Ticking())
    await plant(storage, TORN["cut"])
    looks = iter(range(10**6))

    async def beat_once() -> None:
        if next(looks) == 10:
            await lock.beat()

    with pytest.raises(FolderInUseError, match=f"pid {os.getpid()} "):
        await RunLock.acquire(storage, RUN, clock=Ticking(beat_once))
    assert await read_lock(storage, RUN) == lock.owner


async def test_a_damaged_file_does_not_keep_the_owner_from_releasing(storage: Storage) -> None:
    lock = await RunLock.acquire(storage, RUN)
    await plant(storage, b"")
    await lock.release()
    assert not await storage.exists(FOLDER)


async def test_a_newer_format_with_more_fields_is_read(storage: Storage) -> None:
    newer = json.dumps({"cluster": "a", **msgspec.to_builtins(far())}).encode()
    digest = module.hashlib.sha256(newer).hexdigest()
    content = b'{"format": 2, "owner": %s, "sha256": "%s"}' % (newer, digest.encode())
    await plant(storage, content)
    assert await read_lock(storage, RUN) == far()
    with pytest.raises(FolderInUseError, match="pid 4711 on host elsewhere"):
        await RunLock.acquire(storage, RUN, clock=Ticking())


async def test_files_that_are_not_claims_do_not_matter(storage: Storage) -> None:
    for name in ("notes.txt", "0/owner.json", "x1/owner.json", "1x/owner.json", "-1/owner.json"):
        await storage.write_atomic(f"{FOLDER}/{name}", [module.encode_owner(owner())])
    assert await read_lock(storage, RUN) is None
    await assert_free(storage)


# Claims that come and go


async def test_a_claim_that_does_not_say_whose_it_is_holds_for_two_seconds(
    storage: Storage,
) -> None:
    assert await storage.make_dir(f"{FOLDER}/1")
    assert await storage.make_dir(f"{FOLDER}/2")
    assert await read_lock(storage, RUN) is None
    clock = Ticking()
    lock = await RunLock.acquire(storage, RUN, clock=clock)
    assert 2 * SECOND <= clock.now_ns() - NOW_NS < 3 * SECOND
    assert lock.taken_over is None
    await lock.release()
    await assert_free(storage)


async def test_who_is_just_taking_the_lock_is_waited_for(storage: Storage) -> None:
    assert await storage.make_dir(f"{FOLDER}/1")

    async def tell() -> None:
        await plant(storage, far())

    with pytest.raises(FolderInUseError, match="pid 4711"):
        await RunLock.acquire(storage, RUN, clock=Ticking(tell))
    assert await read_lock(storage, RUN) == far()


async def test_a_claim_that_is_withdrawn_leaves_the_lock_to_who_waits(storage: Storage) -> None:
    assert await storage.make_dir(f"{FOLDER}/1")
    clock = Ticking(lambda: storage.remove_tree(f"{FOLDER}/1"))
    await RunLock.acquire(storage, RUN, clock=clock)
    assert clock.now_ns() - NOW_NS < SECOND


async def test_who_finds_another_claim_after_its_own_withdraws() -> None:
    async def overtake(storage: Meddled) -> None:
        await plant(storage, far(), 2)

    storage = Meddled(overtake)
    with pytest.raises(FolderInUseError, match="pid 4711"):
        await RunLock.acquire(storage, RUN, clock=Ticking())
    assert await storage.list_files(FOLDER) == [f"{FOLDER}/2/owner.json"]


async def test_who_finds_that_a_claim_it_took_for_stale_is_alive_withdraws() -> None:
    async def wake_up(storage: Meddled) -> None:
        await plant(storage, far(), 1)

    storage = Meddled(wake_up)
    assert await storage.make_dir(f"{FOLDER}/1")
    with pytest.raises(FolderInUseError, match="pid 4711"):
        await RunLock.acquire(storage, RUN, clock=Ticking())
    assert await storage.list_files(FOLDER) == [f"{FOLDER}/1/owner.json"]


async def test_who_withdrew_tries_again() -> None:
    storage = Meddled(lambda storage: storage.remove_tree(FOLDER))
    lock = await RunLock.acquire(storage, RUN, clock=Ticking())
    assert await read_lock(storage, RUN) == lock.owner


async def test_files_that_vanish_while_they_are_listed_are_listed_again() -> None:
    class Vanishing(MemoryStorage):
        times = 5

        async def list_files(self, path: str) -> list[str]:
            if self.times:
                self.times -= 1
                raise MissingFileError(path)
            return await super().list_files(path)

    storage = Vanishing()
    await RunLock.acquire(storage, RUN)
    storage.times = 1_000_000
    with pytest.raises(MissingFileError):
        await read_lock(storage, RUN)


# Heartbeats


async def test_a_heartbeat_is_told(storage: Storage) -> None:
    clock = Ticking()
    lock = await RunLock.acquire(storage, RUN, clock=clock)
    clock.advance_to(NOW_NS + 25 * SECOND)
    await lock.beat()
    found = await read_lock(storage, RUN)
    assert found == lock.owner
    assert found.heartbeat_at_ns - found.taken_at_ns == 25 * SECOND


async def test_a_lock_that_was_taken_over_cannot_be_kept_and_is_not_touched(
    storage: Storage,
) -> None:
    lock = await RunLock.acquire(storage, RUN, clock=Ticking())
    await plant(storage, far(), 2)
    with pytest.raises(FolderInUseError, match=r"was taken over by pid 4711 on host elsewhere"):
        await lock.beat()
    with pytest.raises(FolderInUseError, match="was taken over"):
        await lock.keep()
    await lock.release()
    assert await storage.list_files(FOLDER) == [f"{FOLDER}/2/owner.json"]
    assert await read_lock(storage, RUN) == far()


async def test_a_lock_that_was_removed_cannot_be_kept(storage: Storage) -> None:
    lock = await RunLock.acquire(storage, RUN, clock=Ticking())
    await storage.remove_tree(FOLDER)
    with pytest.raises(FolderInUseError, match="was removed, so this run ends"):
        await lock.keep()
    await lock.release()
    assert not await storage.exists(FOLDER)


async def test_a_lock_that_was_removed_and_taken_by_another_is_not_touched(
    storage: Storage,
) -> None:
    lock = await RunLock.acquire(storage, RUN, clock=Ticking())
    await storage.remove_tree(FOLDER)
    await plant(storage, far())
    with pytest.raises(FolderInUseError, match="was taken over by pid 4711"):
        await lock.beat()
    await lock.release()
    assert await read_lock(storage, RUN) == far()


async def test_a_lock_is_lost_to_a_claim_that_does_not_yet_say_whose_it_is(
    storage: Storage,
) -> None:
    lock = await RunLock.acquire(storage, RUN, clock=Ticking())
    assert await storage.make_dir(f"{FOLDER}/2")
    with pytest.raises(FolderInUseError, match="so this run ends"):
        await lock.beat()


async def test_a_lock_that_is_kept_beats_every_ten_seconds() -> None:
    storage, clock = MemoryStorage(), SimulatedClock(NOW_NS)
    lock = await RunLock.acquire(storage, RUN, clock=clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lock.keep)
        for second in range(1, 36):
            await anyio.wait_all_tasks_blocked()
            clock.advance_to(NOW_NS + second * SECOND)
            await anyio.wait_all_tasks_blocked()
            assert lock.owner.heartbeat_at_ns == NOW_NS + second // 10 * 10 * SECOND
        tasks.cancel_scope.cancel()
    await lock.release()


class Full(MemoryStorage):
    """A storage that has no room from the first write on, until some writes have failed."""

    failures = 0

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        await checkpoint()
        if self.failures:
            self.failures -= 1
            raise StorageError("no room")
        await super().write_atomic(path, chunks)


async def test_heartbeats_that_cannot_be_written_for_a_while_do_not_end_the_run() -> None:
    storage = Full()
    clock = Ticking()
    lock = await RunLock.acquire(storage, RUN, clock=clock)
    beats = iter(range(1, 10**6))

    async def fail_now_and_then() -> None:
        number = next(beats)
        storage.failures = {5: 2, 20: 100}.get(number, storage.failures)

    clock._meanwhile = fail_now_and_then
    with pytest.raises(StorageError, match="no room"):
        await lock.keep()
    assert clock.now_ns() == NOW_NS + 10 * 22 * SECOND
    assert lock._storage is storage
    found = await read_lock(storage, RUN)
    assert found is not None
    assert found.heartbeat_at_ns == NOW_NS + 10 * 19 * SECOND


# Ends that are not clean


@pytest.mark.parametrize("gone", [True, False])
async def test_a_claim_that_comes_during_the_release_is_nothing_to_complain_of(
    gone: bool,
) -> None:
    class NotEmpty(MemoryStorage):
        async def remove_tree(self, path: str) -> None:
            if gone:
                await super().remove_tree(f"{path}/1")
            raise StorageError("directory not empty")

    storage = NotEmpty()
    lock = await RunLock.acquire(storage, RUN)
    if gone:
        await lock.release()
    else:
        with pytest.raises(StorageError, match="not empty"):
            await lock.release()
    assert await storage.exists(f"{FOLDER}/1") is not gone


async def test_a_release_is_done_even_if_the_caller_is_cancelled(storage: Storage) -> None:
    lock = await RunLock.acquire(storage, RUN)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await lock.release()
    assert not await storage.exists(FOLDER)


async def test_who_is_cancelled_while_it_takes_the_lock_withdraws() -> None:
    async def hang(storage: Meddled) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    storage = Meddled(hang)
    with anyio.CancelScope() as scope:
        await RunLock.acquire(storage, RUN)
    assert scope.cancelled_caught
    assert await storage.list_files(FOLDER) == []
    await assert_free(storage)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the faults are below it
@pytest.mark.parametrize(
    ("error", "dead", "before"),
    [
        (errno.EIO, False, "nobody"),
        (errno.EIO, True, "a dead process"),
        (errno.ENOSPC, False, "a dead process"),
        (errno.EACCES, False, "a dead process"),
    ],
)
async def test_whichever_operation_fails_the_lock_is_held_or_free_for_the_next(
    tmp_path: Path,
    error: int,
    dead: bool,
    before: str,
    gone_pid: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def prepared(name: str, fail_at: int = 0) -> FaultStorage:
        root = tmp_path / name
        if before != "nobody":
            await plant(LocalStorage(root), owner(pid=gone_pid))
        return FaultStorage(root, fail_at=fail_at, error=error, dead=dead)

    clean = await prepared("clean")
    await RunLock.acquire(clean, RUN)
    assert len(clean.calls) > 20
    kinds: list[type[StorageError]] = []
    for number in range(1, len(clean.calls) + 1):
        storage = await prepared(str(number), number)
        healthy = LocalStorage(storage.folder.root)
        try:
            lock = await RunLock.acquire(storage, RUN, clock=Ticking())
        except StorageError as failure:
            kinds.append(type(failure))
            with monkeypatch.context() as patch:
                if dead:  # then not even its own claim could be withdrawn, and the process ends
                    patch.setattr(module, "_is_running", lambda owner: False)
                lock = await RunLock.acquire(healthy, RUN, clock=Ticking())
            await lock.beat()
            await lock.release()
        else:
            assert await read_lock(healthy, RUN) == lock.owner
            await RunLock(healthy, FOLDER, lock._number, {}, Ticking())._remove(FOLDER)
        assert not await healthy.exists(FOLDER)
    assert kinds
    assert FolderInUseError not in kinds


@pytest.mark.parametrize("link", [LOCK_FOLDER, f"{LOCK_FOLDER}/1", f"{LOCK_FOLDER}/1/owner.json"])
async def test_links_that_somebody_planted_are_refused(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    (outside / "1").mkdir(parents=True)
    (outside / "owner.json").write_bytes(b"mine")
    place = tmp_path / "results" / RUN / link
    place.parent.mkdir(parents=True)
    place.symlink_to(outside / "owner.json" if link.endswith(".json") else outside)
    storage = LocalStorage(tmp_path / "results")
    for attempt in (RunLock.acquire(storage, RUN, clock=Ticking()), read_lock(storage, RUN)):
        with pytest.raises(StorageError, match="symbolic link"):
            await attempt
    assert sorted(it.name for it in outside.rglob("*")) == ["1", "owner.json"]
    assert (outside / "owner.json").read_bytes() == b"mine"


async def test_a_file_in_the_place_of_the_lock_is_refused(storage: Storage) -> None:
    await storage.write_atomic(FOLDER, [b"mine"])
    with pytest.raises(StorageError, match=r"\.lock"):
        await RunLock.acquire(storage, RUN, clock=Ticking())
    assert await storage.read(FOLDER) == b"mine"
