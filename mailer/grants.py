"""Grants: what a key of the HTTP API may do."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache

from limits import RateLimitItem, parse

from .models import LANES

SCOPES = ("send", "read", "manage", "inbound")
"""``send`` emails; ``read`` what became of them; ``manage``: retry, cancel, reschedule, keys;
``inbound``: report what became of them, as a mail server."""
PATTERNS_MAX = 50
RATE_MAX = 100_000
_RATE = re.compile(
    r"(?P<number>[0-9]{1,6}) ?(/|per) ?(?P<times>[1-9][0-9]{0,2})? ?"
    r"(?P<unit>second|minute|min|hour|day|month)s?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a key may do. Patterns have ``*`` for any characters and ``?`` for one; none: any."""

    scopes: frozenset[str]
    senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    lane: str | None = None
    """The lane of all that it sends."""
    rate: str | None = None
    """How many emails, such as ``100/minute``."""
    is_test: bool = False
    expires_at: datetime | None = None

    @property
    def is_limited(self) -> bool:
        """Say whether there is something that it may not send."""
        return bool(self.senders or self.recipients or self.templates or self.lane or self.rate)

    def may_send_as(self, address: str) -> bool:
        return matches(address.lower(), self.senders)

    def may_mail(self, address: str) -> bool:
        return matches(address.lower(), self.recipients)

    def may_use(self, template: str | None) -> bool:
        return not self.templates or (template is not None and matches(template, self.templates))

    def lacks(self, other: Grant) -> str | None:
        """Return what ``other`` may and this may not, in words; None when there is nothing."""
        return next(self._lacking(other), None)

    def _lacking(self, other: Grant) -> Iterator[str]:
        if missing := other.scopes - self.scopes:
            yield f"scopes: it has no {', '.join(sorted(missing))} itself"
        for name in ("senders", "recipients", "templates"):
            own, wanted = getattr(self, name), getattr(other, name)
            if own and not (wanted and all(_is_covered(one, own) for one in wanted)):
                yield f"{name}: expected some of {', '.join(own)}"
        if self.lane is not None and other.lane != self.lane:
            yield f"lane: expected {self.lane}"
        if self.rate is not None and "send" in other.scopes:
            # Each key is counted for itself: ten of them would be ten times the rate.
            yield f"scopes: expected none to send, because its own rate is {self.rate}"
        if self.is_test and not other.is_test:
            yield "test: expected true"
        ends = self.expires_at
        if ends is not None and (other.expires_at is None or other.expires_at > ends):
            yield f"expires_at: expected {ends:%Y-%m-%dT%H:%M:%SZ} at the latest"


def checked(
    *,
    scopes: Collection[str] = ("send",),
    senders: Sequence[str] = (),
    recipients: Sequence[str] = (),
    templates: Sequence[str] = (),
    lane: str | None = None,
    rate: str | None = None,
    is_test: bool = False,
    expires_at: datetime | None = None,
) -> Grant:
    """Return a grant as it is stored. Raises ValueError, which names what is wrong."""
    if not scopes or set(scopes) - set(SCOPES):
        raise ValueError(f"scopes: expected some of {', '.join(SCOPES)}, got {sorted(scopes)}")
    if lane is not None and lane not in LANES:
        raise ValueError(f"lane: expected one of {', '.join(LANES)}, got {lane!r}")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise ValueError(f"expires_at: expected an instant to come, got {expires_at}")
    return Grant(
        scopes=frozenset(scopes),
        senders=_addresses("senders", senders),
        recipients=_addresses("recipients", recipients),
        templates=_templates(templates),
        lane=lane,
        rate=None if rate is None else _rate(rate),
        is_test=is_test,
        expires_at=expires_at,
    )


@lru_cache(maxsize=1000)
def rate_of(rate: str) -> RateLimitItem:
    """Read a rate as a grant has it."""
    return parse(rate)


def _addresses(name: str, patterns: Sequence[str]) -> tuple[str, ...]:
    for pattern in patterns:
        domain = pattern.rpartition("@")[2]
        # Without an @ it could match the end of another domain, or nothing.
        if not (_is_pattern(pattern, 320) and "@" in pattern and domain and domain.isascii()):
            raise ValueError(
                f"{name}: expected an address or a pattern such as *@example.com (domains of other"
                f" letters as xn--...), got {pattern!r}"
            )
    return _few(name, [pattern.lower() for pattern in patterns])


def _templates(patterns: Sequence[str]) -> tuple[str, ...]:
    for pattern in patterns:
        if not _is_pattern(pattern, 100):
            raise ValueError(
                f"templates: expected a template's name or a pattern such as reset_*,"
                f" got {pattern!r}"
            )
    return _few("templates", patterns)


def _is_pattern(text: str, longest: int) -> bool:
    # Of fnmatch's, sets in brackets are left out: whether one pattern covers another would be hard
    # to tell.
    return bool(re.fullmatch(r"[^\s\[\]]+", text)) and text.isprintable() and len(text) <= longest


def _few(name: str, patterns: Sequence[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(patterns))
    if len(found) > PATTERNS_MAX:
        raise ValueError(f"{name}: expected at most {PATTERNS_MAX}, got {len(found)}")
    return found


def _rate(text: str) -> str:
    found = _RATE.fullmatch(text.strip().lower())
    if found is None or not 1 <= int(found["number"]) <= RATE_MAX:
        expected = f"1 to {RATE_MAX} in a time, such as 100/min or 5000/day"
        raise ValueError(f"rate: expected {expected}, got {text!r}")
    times = f"{found['times']} " if found["times"] else ""
    unit = "minute" if found["unit"] == "min" else found["unit"]
    return f"{int(found['number'])}/{times}{unit}"


def matches(text: str, patterns: Sequence[str]) -> bool:
    """Say whether one of the patterns matches; without any, that it does."""
    return not patterns or any(fnmatchcase(text, pattern) for pattern in patterns)


def _is_covered(pattern: str, patterns: Sequence[str]) -> bool:
    """Whether one of ``patterns`` matches all that ``pattern`` does: a ``*`` only by its own."""
    text = pattern.replace("*", "\0")
    return any(fnmatchcase(text, one.replace("?", "[!\0]")) for one in patterns)
