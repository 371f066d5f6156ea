"""``admf serve``: what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import anyio
import pytest

from admf.engine.storage import LocalStorage
from admf.engine.verification import verify_window
from admf.workflows import cli
from admf.workflows.cli import serve as serve_module
from admf.workflows.cli import server as server_module
from admf.workflows.run import Run
from tests.workflows.cli.conftest import Admf

TOKEN = "long enough to be no guess"  # noqa: S105
PLACE = re.compile(r"serving on (http://\S+)")
STUDY = {
    "workflow": "study",
    "phases": {"search": {"sequence": "parameter_sweep"}},
    "data": {"source": "sample", "symbols": ["GOOG"]},
    "strategy": {"type": "slow_over_http:Slow"},
    "parameter_space": {"after": {"min": 1, "max": 12, "step": 1}},
    "block_size": 16,
}
SLOW = """
from admf.containers.strategies import Strategy

class Slow(Strategy):
    after: int = 1

    def on_bar(self, bar, ctx):
        if ctx.bar_index == self.after:
            ctx.buy()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ADMF_TOKEN", raising=False)
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A strategy for a run that takes a while, and the words that allow it."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "slow_over_http.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return ["--allow-strategy", "slow_over_http:Slow"]


class Visitor:
    """Does something with the service once it serves, and then sends this process signals."""

    def __init__(self, visit: Callable[[str], object], signals: tuple[int, ...]) -> None:
        self.found: Any = None
        self.place = ""
        self._visit = visit
        self._signals = signals
        self._serves = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def say(self, label: str, message: str) -> None:
        match = PLACE.search(message)
        if match:
            self.place = match[1]
            self._serves.set()

    def done(self) -> None:
        self._serves.set()
        self._thread.join()
        if isinstance(self.found, Exception):
            raise self.found

    def _work(self) -> None:
        assert self._serves.wait(30)
        try:
            self.found = self._visit(self.place)
        except Exception as error:  # noqa: BLE001 - for the test's own thread
            self.found = error
        finally:
            for number in self._signals:
                os.kill(os.getpid(), number)


def ask(
    place: str, path: str, body: object = None, *, method: str | None = None, **headers: str
) -> HTTPResponse:
    data = None if body is None else json.dumps(body).encode()
    named = {"content-type": "application/json", **headers}
    request = urllib.request.Request(place + path, data, named, method=method)  # noqa: S310
    response: HTTPResponse = urllib.request.urlopen(request, timeout=30)  # noqa: S310
    return response


def begun(place: str, **headers: str) -> tuple[str, HTTPResponse]:
    """Submit a run and follow it until it is under way; return its id and the stream."""
    with ask(place, "/runs", STUDY, **headers) as response:
        run_id = json.load(response)["id"]
    stream = ask(place, f"/runs/{run_id}/events", **headers)
    for line in stream:
        if line.startswith(b"data: ") and json.loads(line[6:]).get("bars_done"):
            return run_id, stream
    raise AssertionError("it ended before")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])  # noqa: S104
def test_without_a_token_it_is_for_this_machine_alone(admf: Admf, folder: Path, host: str) -> None:
    outcome = admf("serve", "--host", host)
    assert outcome.code == 2
    assert "--token-file" in outcome.err
    assert "ADMF_TOKEN" in outcome.err


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost"])
def test_this_machine_has_several_names(host: str) -> None:
    assert serve_module._is_here(host)


@pytest.mark.parametrize("token", ["short", "", "with a line\nend in it", "\u00e9" * 20])
def test_a_token_that_could_be_guessed_or_cannot_be_sent_is_refused(
    admf: Admf, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("ADMF_TOKEN", token)
    outcome = admf("serve", "--port", "0")
    assert outcome.code == 2
    assert "the token" in outcome.err


def test_a_token_file_that_cannot_be_read_is_no_token(admf: Admf, folder: Path) -> None:
    outcome = admf("serve", "--token-file", "nope")
    assert (outcome.code, "nope" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data-root", "nope"], "no such folder"),
        (["--allow-strategy", "nope"], "package.module:Class"),
        (["--port", "70000"], "--port"),
        (["--max-runs", "0"], "1"),
        (["--host", "127.0.0.1:80"], "cannot listen"),
    ],
)
def test_options_that_cannot_be_are_refused(
    admf: Admf, folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setenv("ADMF_TOKEN", TOKEN)
    outcome = admf("serve", "--port", "0", *words)
    assert (outcome.code, said in outcome.err) == (2, True)


def test_a_port_that_is_taken_is_told(admf: Admf, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        outcome = admf("serve", "--port", str(other.getsockname()[1]))
    assert (outcome.code, "cannot listen" in outcome.err) == (2, True)


def test_what_is_missing_is_told_with_its_extra(
    admf: Admf, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, server_module.__name__)
    monkeypatch.delattr(cli, "server")
    outcome = admf("serve", "--port", "0")
    assert outcome.code == 3
    assert "pip install 'admf[server]'" in outcome.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_with_nothing_to_do_it_ends_well(
    admf: Admf, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def visit(place: str) -> bytes:
        with ask(place, "/readyz") as response:
            return response.read()

    visitor = Visitor(visit, (number,))
    monkeypatch.setattr(serve_module, "say", visitor.say)
    assert admf("serve", "--port", "0").code == 0
    visitor.done()
    assert visitor.found == b'{"status":"ok"}'


def test_a_name_that_was_made_to_mean_this_machine_is_not_let_in(
    admf: Admf, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def visit(place: str) -> list[int]:
        codes = []
        for host in ("localhost", "[::1]:80", "example.org"):
            try:
                with ask(place, "/healthz", host=host) as response:
                    codes.append(response.status)
            except urllib.error.HTTPError as error:
                codes.append(error.code)
                error.close()
        return codes

    visitor = Visitor(visit, (signal.SIGINT,))
    monkeypatch.setattr(serve_module, "say", visitor.say)
    assert admf("serve", "--port", "0").code == 0
    visitor.done()
    assert visitor.found == [200, 200, 400]


def test_a_signal_ends_streams_and_flushes_runs_which_can_be_resumed(
    admf: Admf, folder: Path, slow: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "token").write_text(f"{TOKEN}\n")
    headers = {"authorization": f"Bearer {TOKEN}"}
    visitor = Visitor(lambda place: begun(place, **headers), (signal.SIGTERM,))
    monkeypatch.setattr(serve_module, "say", visitor.say)
    assert admf("serve", "--port", "0", "--token-file", "token", *slow).code == 130
    visitor.done()
    run_id, stream = visitor.found
    with stream:
        stream.read()  # it has ended
    assert recorded(folder, run_id)["status"] == "cancelled"
    assert admf("resume", f"results/{run_id}", "--quiet").code == 0
    assert recorded(folder, run_id)["status"] == "completed"


def test_a_second_signal_hurries_the_runs(
    admf: Admf, folder: Path, slow: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried: list[Run] = []

    def hurry(run: Run) -> None:
        hurried.append(run)

    monkeypatch.setattr(Run, "hurry", hurry)
    visitor = Visitor(begun, (signal.SIGINT, signal.SIGTERM))
    monkeypatch.setattr(serve_module, "say", visitor.say)
    monkeypatch.setattr(server_module, "say", lambda *_: None)
    assert admf("serve", "--port", "0", *slow).code == 130
    visitor.done()
    visitor.found[1].close()
    assert len(hurried) == 1


def test_a_process_that_is_asked_to_end_while_it_runs_a_study_leaves_whole_results(
    folder: Path, slow: list[str]
) -> None:
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "admf", "serve", "--port", "0", *slow],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        match = PLACE.search(process.stderr.readline())
        assert match is not None
        run_id, stream = begun(match[1])
        process.send_signal(signal.SIGTERM)
        with stream:
            stream.read()
        assert process.wait(30) == 130
        assert "Traceback" not in process.stderr.read()
    assert recorded(folder, run_id)["status"] == "cancelled"
    windows = list((folder / "results" / run_id / "search").rglob("phase_summary.json"))
    assert windows
    for window in windows:
        place = str(window.parent.relative_to(folder / "results"))
        assert anyio.run(verify_window, LocalStorage(folder / "results"), place).complete


def recorded(folder: Path, run_id: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "results" / run_id / "run.json").read_text())
    return record
