"""One SMTP conversation: connect, secure, log in, hand over messages, one or several at a time.

Speaks SMTP (RFC 5321) itself rather than through smtplib, which cannot pipeline, waits without a
deadline for a server that drips, logs in with ASCII only and repeats a wrong password under every
mechanism on offer. Every reply, and every failure of the network, becomes an `Outcome` here.
"""

from .connection import ConnectFailed, Connection, Interrupted
from .envelope import Envelope
from .server import EXTENSIONS, Server
from .wire import Observer

__all__ = [
    "EXTENSIONS",
    "ConnectFailed",
    "Connection",
    "Envelope",
    "Interrupted",
    "Observer",
    "Server",
]
