"""The transports of one app, and what all its workers know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import circuit as circuits
from .circuit import Circuit
from .dsn import Dsn
from .outcome import Outcome
from .quota import Quota
from .routing import steps
from .shared import Shared
from .transport import Transport


class Known(NamedTuple):
    """What all workers know of a transport, or of a recipient domain over it."""

    circuit: Circuit = Circuit()
    quota: Quota = Quota()

    @classmethod
    def read(cls, value: Any) -> Known:
        """Return it from the JSON of `written`; anything else tells nothing."""
        try:
            known = cls(Circuit(**value["circuit"]), Quota(**value["quota"]))
        except (TypeError, KeyError):
            return cls()
        return known if known._is_sound() else cls()

    def _is_sound(self) -> bool:
        circuit, quota = self
        numbers = (
            *(circuit.failures, circuit.failed_at, circuit.trips),
            *(circuit.opened_at, circuit.open_until, circuit.probed_until),
            *(quota.tokens, quota.refilled_at),
        )
        return all(isinstance(one, (int, float)) for one in numbers) and all(
            isinstance(instants, dict)
            and all(isinstance(one, (int, float)) for one in instants.values())
            for instants in (quota.lines, quota.holders)
        )

    def written(self) -> dict[str, Any]:
        return {"circuit": self.circuit._asdict(), "quota": self.quota._asdict()}


class Traffic:
    """The transports of one app, by name."""

    def __init__(
        self,
        dsns: Sequence[Dsn],
        transports: Mapping[str, Transport],
        shared: Shared,
        *,
        email_seconds: float,
        turn_seconds: float,
    ) -> None:
        """``email_seconds``: what one email may take at worst; ``turn_seconds``: a whole drain."""
        self.dsns = {one.name: one for one in dsns}
        self.order = steps(dsns)
        self.transports = transports
        self.shared = shared
        self.email_seconds = email_seconds
        self.turn_seconds = turn_seconds
        self.takes_test = any(one.rule.is_test for one in dsns)
        self.is_limited = any(one.limits or one.domain_limits for one in dsns)
        self.turns: set[str] = set()
        """The holders of this process that live."""

    def known(self) -> tuple[float, dict[str, Known]]:
        """Return the time, and what is known of each transport."""
        seen = self.shared.read(map(key, self.dsns))
        return seen.now, {name: Known.read(seen.values.get(key(name))) for name in self.dsns}

    def note(self, name: str, outcome: Outcome) -> tuple[Circuit, Circuit, float]:
        """Let all workers know what an outcome tells of a transport. Return what was known of it,
        what is known now, and the time."""

        def change(value: Any, now: float) -> tuple[Any, tuple[Circuit, Circuit, float]]:
            known = Known.read(value)
            changed = circuits.after(known.circuit, outcome, now)
            return known._replace(circuit=changed).written(), (known.circuit, changed, now)

        return self.shared.update(key(name), change)

    def close(self) -> None:
        """Close the connections that are kept."""
        for transport in self.transports.values():
            transport.close()
        self.shared.close()

    def forget(self) -> None:
        """In a forked child: drop every inherited connection."""
        for transport in self.transports.values():
            transport.forget()
        self.shared.forget()


def key(name: str, domain: str | None = None) -> str:
    """Return where is shared what is known of a transport, or of a recipient domain over it."""
    return f"transport:{name}:{domain}" if domain else f"transport:{name}"
