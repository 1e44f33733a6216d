"""Free ports on the loopback interface."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"

# Below those that the system gives to outgoing connections (Linux: from 32768, macOS: 49152):
# a client that dials a stopped server's port could else be given that very port, and hold it.
_OURS = range(20_000, 32_000)


def is_busy(port: int) -> bool:
    """Whether somebody answers on the port, or it cannot be bound."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        # A listener on every interface does not keep macOS from binding the loopback address.
        if probe.connect_ex((HOST, port)) == 0:
            return True
    with socket.socket() as probe:
        # As servers do: connections of an earlier run that linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def free_port() -> int:
    """Return a port that nobody uses now."""
    shuffled = random.sample(_OURS, len(_OURS))  # nosec B311  # a port is no secret
    return next(port for port in shuffled if not is_busy(port))


def choose(preferred: int) -> int:
    """Return ``preferred`` if it is free, else the next free one above, else any."""
    for port in range(preferred, min(preferred + 20, 65536)):
        if not is_busy(port):
            return port
    return free_port()
