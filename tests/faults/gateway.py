"""A way to a server that can lose its connections without telling either end."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mailer.dev.ports import HOST


@contextmanager
def gateway(port: int) -> Iterator[Gateway]:
    """Run a gateway to a port of this machine."""
    running = Gateway(port)
    try:
        yield running
    finally:
        running.close()


class Gateway:
    """Forwards each connection to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._deaf = threading.Event()
        self._connected = 0
        self._kept: list[tuple[socket.socket, socket.socket]] = []
        """Or Python would close what is deaf and forgotten."""
        threading.Thread(target=self._accept, daemon=True).start()

    def deafen(self) -> int:
        """Forward nothing more on what is connected now, and close nothing, as a firewall does
        that forgot its connections; new ones work. Return how many connections that hits."""
        deaf, self._deaf = self._deaf, threading.Event()
        deaf.set()
        number, self._connected = self._connected, 0
        return number

    def close(self) -> None:
        """Close every connection, and take no more."""
        self._listener.close()
        for end in (end for pair in self._kept for end in pair):
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed: the test is over
            far = socket.create_connection((HOST, self._target))
            pair = (near, far)
            self._kept.append(pair)
            self._connected += 1
            for source, sink in (pair, pair[::-1]):
                threading.Thread(
                    target=self._forward, args=(source, sink, self._deaf), daemon=True
                ).start()

    def _forward(self, source: socket.socket, sink: socket.socket, deaf: threading.Event) -> None:
        try:
            while not deaf.is_set():
                if not select.select([source], [], [], 0.05)[0]:
                    continue
                data = source.recv(65536)
                if deaf.is_set():
                    return
                if not data:
                    break
                sink.sendall(data)
        except (OSError, ValueError):
            pass
        for end in (source, sink):
            if not deaf.is_set():
                end.close()
