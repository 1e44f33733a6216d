"""The directory in which a development run keeps its state."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import MailerError


class StateDirectory:
    """``var/dev``: ledger, Redis data, logs and the secret key, for their owner's eyes only."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "log"
        self.redis = self.path / "redis"
        for directory in (self.path, self.logs, self.redis):
            directory.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    @property
    def ledger_url(self) -> str:
        """The SQLAlchemy URL of the SQLite ledger."""
        return f"sqlite:///{self.path / 'mailer.sqlite3'}"

    def secret_key(self) -> str:
        """Return the secret key, 256 random bits, which is made once."""
        path = self.path / "secret-key"
        try:
            with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
        except FileExistsError:
            pass
        return path.read_text()

    @contextlib.contextmanager
    def environment_file(self, settings: Mapping[str, str]) -> Iterator[Path]:
        """Keep the app's settings in a file for a shell to read; yields its path.

        It may hold passwords, and names servers that are gone after the run: it ends with it.
        """
        path = self.path / "env"
        path.unlink(missing_ok=True)
        lines = [
            "# Read it in a subshell, (. env && mailer status): what stays exported, the next",
            "# mailer dev would take for your own choice of servers.",
            *(
                f"export {name}={shlex.quote(value)}"
                for name, value in sorted(settings.items())
                # A name that no shell can export, FLASK_A-B say, came from .env.
                if re.fullmatch(r"FLASK_\w+", name, re.ASCII)
            ),
        ]
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.writelines(f"{line}\n" for line in lines)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the directory for ourselves; yields the lock's file descriptor.

        Raises `MailerError` when another run has it. One that was killed still has it until its
        guardian has stopped the services: that is waited for.
        """
        lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            deadline = time.monotonic() + 10
            while not _acquired(lock):
                owner = os.pread(lock, 32, 0).decode().strip()
                if _is_running(owner) or time.monotonic() > deadline:
                    raise MailerError(
                        f"mailer dev already runs in {self.path} (process {owner or 'unknown'}): "
                        "stop it first, or start this one with another directory"
                    )
                time.sleep(0.05)
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
            yield lock
        finally:
            os.close(lock)


def _acquired(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_running(owner: str) -> bool:
    # Empty for the moment between another run's lock and its writing the number: not dead yet.
    if not owner:
        return False
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
