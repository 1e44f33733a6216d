"""What is answered to a mail system that reports."""

from __future__ import annotations

from typing import Literal

from .base import Answer


class Kept(Answer):
    """What became of the reports of one request."""

    object: Literal["inbound"] = "inbound"
    stored: int
    known: int
    """Stored before: they were told twice."""
    ignored: int
    """They say nothing about the end of a delivery: delays, opens, clicks."""
    malformed: int
    """They could not be read. Why is in the log."""
