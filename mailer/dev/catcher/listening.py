"""Sockets on 127.0.0.1 for the catcher's two servers."""

from __future__ import annotations

import errno
import random
import socket

HOST = "127.0.0.1"

# Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections.
# Within those, a client that tries to reach a stopped server can be given the very port it
# dials, and so connect to itself.
_FREE_PORTS = range(20_000, 32_000)


def listen(port: int) -> socket.socket:
    """Return a listening socket; ``port`` 0 finds a free one. Raises OSError for a busy port."""
    for candidate in [port] if port else random.sample(_FREE_PORTS, 100):  # nosec B311  # no secret
        # asyncio sets TCP_NODELAY only where the protocol is given; without it every
        # conversation stands still for 40 ms, again and again.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((HOST, candidate))
            listening.listen(1024)
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE or port:
                raise OSError(error.errno, f"{HOST}:{candidate}: {error.strerror}") from error
        else:
            return listening
    raise OSError(errno.EADDRINUSE, "100 ports tried and none is free")
