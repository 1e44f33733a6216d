"""A real PostgreSQL for the tests, started by them when its binaries are there."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg


def binaries() -> Path | None:
    """Return the folder with ``postgres`` and ``initdb``; Debian keeps it off PATH."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def owner() -> int:
    """Return the id of the user that the server runs as: not root, as which it refuses to."""
    return os.getuid() or pwd.getpwnam("nobody").pw_uid


class Server:
    """A server in ``folder``, which can be stopped and started again on its port."""

    def __init__(self, folder: Path) -> None:
        found = binaries()
        assert found is not None
        self._folder = folder
        self._data = folder / "data"
        self._postgres = found / "postgres"
        self._user: dict[str, Any] = {}
        if owner() != os.getuid():
            shutil.chown(folder, owner())
            self._user = {"user": owner(), "group": "nogroup", "extra_groups": []}
        initdb = [str(found / "initdb"), "-D", str(self._data), "-A", "trust", "-U", "postgres"]
        subprocess.run(
            [*initdb, "--no-sync"], check=True, capture_output=True, cwd=folder, **self._user
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        """Its address without a database name."""
        return f"postgresql://postgres@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self._postgres), "-D", str(self._data), "-k", str(self._folder)]
        self._process = subprocess.Popen(
            [*command, "-p", str(self.port), "-h", "127.0.0.1", "-c", "fsync=off"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            **self._user,
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(f"{self.url}/postgres").close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends every connection and tidies up; SIGQUIT is a crash, recovered from later."""
        self._process.send_signal(how)
        self._process.wait(timeout=20)


@contextmanager
def server() -> Iterator[Server]:
    """Run a server in a folder of its own."""
    # Not in pytest's folder: that belongs to root alone, and postgres refuses to run as root.
    with tempfile.TemporaryDirectory(prefix="mailer-postgresql-") as folder:
        running = Server(Path(folder))
        try:
            yield running
        finally:
            running.stop()
