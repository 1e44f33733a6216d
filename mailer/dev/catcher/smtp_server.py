"""The thread that serves SMTP."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading

from mailer.dev.catcher.conversation import Conversation
from mailer.dev.catcher.handler import Handler

_END_SECONDS = 2.0


class SmtpServer:
    """An event loop with its conversations, on a socket that listens already (and is its own)."""

    def __init__(
        self,
        listening: socket.socket,
        handler: Handler,
        starttls: ssl.SSLContext | None,
        implicit: ssl.SSLContext | None,
    ) -> None:
        self._listening = listening
        self._handler = handler
        self._starttls = starttls
        self._implicit = implicit
        self._live: set[Conversation] = set()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="catcher-smtp", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await self._loop.create_server(
            lambda: Conversation(
                self._handler, live=self._live, starttls=self._starttls, loop=self._loop
            ),
            sock=self._listening,
            ssl=self._implicit,
        )
        await self._stopping.wait()
        # Who was accepted just now is a task that has yet to become a conversation, and would be
        # left half open by a server that has closed.
        self._loop.remove_reader(self._listening)
        await asyncio.sleep(0)
        server.close()
        until = self._loop.time() + _END_SECONDS
        while (self._live or len(asyncio.all_tasks()) > 1) and self._loop.time() < until:
            for conversation in list(self._live):
                conversation.abort()
            await asyncio.sleep(0)
