"""The catcher: an SMTP server for development and tests that keeps every email and delivers none.

`Catcher` runs it in a thread, ``python -m mailer.dev.catcher`` as a process; both have a web
page, the inbox, and both can be scripted to refuse, defer, hang or drop at any stage.
"""

from mailer.dev.catcher.catcher import Catcher
from mailer.dev.catcher.message import CaughtMessage
from mailer.dev.catcher.rules import Rule

__all__ = ["Catcher", "CaughtMessage", "Rule"]
