"""The thread that serves the inbox."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from werkzeug.serving import WSGIRequestHandler, make_server

from mailer.dev.catcher.inbox import create_inbox
from mailer.dev.catcher.listening import HOST

if TYPE_CHECKING:
    from mailer.dev.catcher.catcher import Catcher


class InboxServer:
    """Werkzeug's threaded server on a socket that listens already (which it duplicates)."""

    def __init__(self, listening: socket.socket, catcher: Catcher) -> None:
        self._store = catcher.store
        self._stopping = threading.Event()
        port = listening.getsockname()[1]
        self._server = make_server(
            HOST,
            port,
            create_inbox(catcher, self._stopping.is_set),
            threaded=True,
            request_handler=_QuietRequestHandler,
            fd=listening.fileno(),
        )
        self._thread = threading.Thread(target=self._run, name="catcher-inbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._store.wake()
        self._server.shutdown()
        self._thread.join()

    def _run(self) -> None:
        # How often it looks whether to stop; tests stop catchers by the dozen.
        self._server.serve_forever(poll_interval=0.02)


class _QuietRequestHandler(WSGIRequestHandler):
    def log_request(self, *_args: object) -> None:
        """Say nothing: a line per request would bury the developer's own log."""
