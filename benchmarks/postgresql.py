"""A PostgreSQL server for the ledger, as it is installed: every commit waits for the disk."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from mailer.dev.guardian import Guardian
from mailer.dev.ports import HOST, free_port


class PostgreSQL(NamedTuple):
    """A server that runs."""

    port: int
    pid: int

    def database(self, name: str) -> str:
        """Make a database and return its URL."""
        server = f"postgresql://postgres@{HOST}:{self.port}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{server}/{name}"


def binaries() -> Path | None:
    """Return the folder with ``postgres`` and ``initdb``; Debian keeps it off PATH."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@contextmanager
def server(*, needed: bool) -> Iterator[PostgreSQL | None]:
    """Run a server in a folder of its own; None if it is not needed, or not installed."""
    found = binaries() if needed else None
    if found is None:
        yield None
        return
    user: dict[str, Any] = {}
    become: list[str] = []
    # Not in our own folder, which may be root's alone: postgres refuses to run as root.
    with tempfile.TemporaryDirectory(prefix="benchmark-postgresql-") as name:
        folder = Path(name)
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            shutil.chown(folder, nobody.pw_uid)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            become = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}"]
            become.append("--clear-groups")
        initdb = [str(found / "initdb"), "-D", str(folder / "data"), "-A", "trust"]
        subprocess.run(
            [*initdb, "-U", "postgres"], check=True, capture_output=True, cwd=folder, **user
        )
        port = free_port()
        command = [*become, str(found / "postgres"), "-D", str(folder / "data")]
        command += ["-k", str(folder), "-p", str(port), "-h", HOST]
        guardian = Guardian()
        with (folder / "log").open("wb") as log:
            process = guardian.launch(command, log=log)
        try:
            _wait(port, folder / "log")
            yield PostgreSQL(port, process.pid)
        finally:
            process.send_signal(signal.SIGINT)  # TERM would wait for every client
            process.wait(20)
            guardian.end(process)
            guardian.close()


def _wait(port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return psycopg.connect(f"postgresql://postgres@{HOST}:{port}/postgres").close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"PostgreSQL does not start: {log.read_text()}") from error
            time.sleep(0.05)
