"""A redis-server of the tests' own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

__all__ = ["RedisServer"]


class RedisServer:
    """A server on a free port of the loopback, with its files in a folder.

    Args:
        folder: Where its files are.
        keeps: Whether it writes every change to its disk before it answers.
    """

    def __init__(self, folder: Path, *, keeps: bool = False) -> None:
        self._folder = folder
        self._keeps = keeps
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Return once it answers."""
        program = shutil.which("redis-server")
        assert program is not None
        keeps = ["--appendonly", "yes", "--appendfsync", "always"] if self._keeps else []
        self._process = subprocess.Popen(  # noqa: S603 - found on the path
            [program, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", *keeps],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "Ready to accept connections" in line:
                return
        raise AssertionError(f"redis-server has ended with code {self._process.wait()}")

    def kill(self) -> None:
        """Let it die without a chance to put anything in order."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.communicate()
