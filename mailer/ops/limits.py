"""How often somebody may try what strangers, or a slip of the hand, would do too often."""

from __future__ import annotations

import math
from typing import NamedTuple

from flask import current_app
from limits import RateLimitItem, parse

from ..state import current
from ..web.limits import key


class Limit(NamedTuple):
    """At most so many tries in a moving window, for each of whom it is about."""

    name: str
    rate: RateLimitItem

    def take(self, who: str) -> int | None:
        """Count a try. None when it may go on, else the seconds to wait."""
        taken = current().rates.take(self.rate, self._key(who))
        return None if taken.granted else taken.reset_seconds

    def give_back(self, who: str) -> None:
        """Count one try less."""
        current().rates.give_back(self.rate, self._key(who), 1)

    def _key(self, who: str) -> str:
        return key(current_app.config["SECRET_KEY"], f"console {self.name}", who)


TESTS = Limit("test", parse("30/hour"))
"""Messages that a member sends to addresses of their choice, to try a template or a transport."""


def in_words(wait: int) -> str:
    """Say when to come back."""
    return f"Please try again in {math.ceil(wait / 60)} min."
