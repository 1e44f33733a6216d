"""What a server said, as a value."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..words import one_line

_ENHANCED = re.compile(rb"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")


class Reply(NamedTuple):
    """A server's reply; ``text`` is its lines without the codes, as they came."""

    code: int
    text: bytes

    def read(self) -> tuple[str | None, str]:
        """Return the enhanced status code (RFC 2034), if any, and the words as one clean line."""
        enhanced = None
        words = ""
        for line in self.text.splitlines():
            status = _ENHANCED.match(line)
            if status is not None and int(status[1]) == self.code // 100:
                enhanced = status[0].decode()
                line = line[status.end() :]  # noqa: PLW2901 - the rest of the line is meant
            words += " " + line.decode("utf-8", "replace")
        return enhanced, one_line(words)
