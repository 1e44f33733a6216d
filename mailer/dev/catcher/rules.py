"""Scripted replies: what the catcher does instead of accepting, at which stage, how often."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

STAGES = ("connect", "ehlo", "auth", "mail", "rcpt", "data", "dot", "quit")
_WITH_ADDRESS = frozenset({"mail", "rcpt", "data", "dot"})
# At these stages a scripted success could not be told from the real thing.
_REFUSAL_ONLY = frozenset({"connect", "auth", "data"})
_REPLY = re.compile(r"[2-5]\d\d [^\r]*")


@dataclass(slots=True)
class Rule:
    """At ``stage``, do ``do`` instead of the usual. Raises ValueError when that makes no sense."""

    stage: str
    """One of `STAGES`; ``ehlo`` includes HELO, ``dot`` is the end of the message."""
    do: str
    """A reply (``"451 4.2.0 Try later"``; more lines after ``\\n``), ``"hang"`` or ``"drop"``.
    A 2xx reply only replaces the words; 421 also closes the connection."""
    address: str | None = None
    """Glob, compared in lower case with the sender (mail), the recipient (rcpt), or both (data,
    dot: any one of them). None matches always."""
    times: int | None = None
    """How often it applies before it is removed. None: for ever."""
    stored: bool = False
    """For ``dot``: keep the message first, so that the client cannot know what became of it."""
    id: int = 0
    used: int = 0
    """How often it applied."""

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"stage: expected one of {', '.join(STAGES)}, got {self.stage!r}")
        if self.do not in {"hang", "drop"}:
            if not _REPLY.fullmatch(self.do):
                raise ValueError(f"do: expected 'hang', 'drop' or '451 words', got {self.do!r}")
            if self.stage in _REFUSAL_ONLY and self.do[0] in "23":
                raise ValueError(f"do: stage {self.stage!r} takes a 4xx or 5xx, got {self.do!r}")
        if self.address is not None and self.stage not in _WITH_ADDRESS:
            raise ValueError(f"address: stage {self.stage!r} has no address to compare with")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times: expected None or a number from 1, got {self.times}")
        if self.stored and self.stage != "dot":
            raise ValueError(f"stored: only for stage 'dot', got {self.stage!r}")

    def matches(self, stage: str, addresses: Iterable[str]) -> bool:
        if stage != self.stage:
            return False
        if self.address is None:
            return True
        pattern = self.address.lower()
        return any(fnmatchcase(address.lower(), pattern) for address in addresses)

    def reply(self) -> str:
        """Return the reply as it goes over the wire, without the last line break."""
        code, lines = self.do[:3], self.do[4:].split("\n")
        return "\r\n".join(
            f"{code}{'-' if more else ' '}{line}"
            for line, more in zip(lines, range(len(lines) - 1, -1, -1), strict=True)
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Rules:
    """The rules in force, in the order they were added: the first that matches applies."""

    def __init__(self) -> None:
        self._rules: dict[int, Rule] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> Rule:
        with self._lock:
            rule.id = next(self._ids)
            self._rules[rule.id] = rule
        return rule

    def take(self, stage: str, addresses: Iterable[str] = ()) -> Rule | None:
        """Return the rule that applies now, counted as used; None for the usual behaviour."""
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules.values():
                if rule.matches(stage, addresses):
                    rule.used += 1
                    if rule.used == rule.times:
                        del self._rules[rule.id]
                    return rule
        return None

    def remove(self, rule_id: int) -> bool:
        """Remove a rule; False when it is not there (any more)."""
        with self._lock:
            return self._rules.pop(rule_id, None) is not None

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def all(self) -> list[Rule]:
        with self._lock:
            return list(self._rules.values())
