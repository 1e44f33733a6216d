"""How each transport stands: whether it can be used, what it did lately, its last trouble."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from .circuit import SERIOUS_STAGES, Circuit
from .dsn import Dsn
from .ledger.figures import Figures, Trouble
from .ledger.switches import Pause
from .state import State

ALERTS_SECONDS = 600.0
"""Since the last failure: without mail nobody finds out whether it is mended."""

_NONE = Figures(0, 0, 0, 0)
_SECURITY = {
    "none": "no TLS",
    "starttls": "STARTTLS, verified",
    "tls": "TLS from the first byte, verified",
}


class Standing(NamedTuple):
    """One transport."""

    dsn: Dsn
    now: float
    """Seconds since 1970, by the clock of the circuit."""
    circuit: Circuit
    connections: int
    """How many are open to it, as far as they are limited."""
    paused: Pause | None
    figures: Figures
    trouble: Trouble | None

    @property
    def name(self) -> str:
        return self.dsn.name

    @property
    def server(self) -> str:
        dsn = self.dsn
        return described(dsn.host, dsn.port, dsn.security, dsn.username)

    @property
    def state(self) -> str:
        """``closed``, ``open``, ``half-open`` or ``paused``."""
        return "paused" if self.paused else self.circuit.state(self.now)

    @property
    def word(self) -> str:
        """The state in a word for people, to whom a closed circuit says nothing."""
        return {"closed": "usable", "open": "not usable", "half-open": "probing"}.get(
            self.state, self.state
        )

    @property
    def opened_at(self) -> datetime | None:
        return datetime.fromtimestamp(self.circuit.opened_at, UTC) if self.circuit.trips else None

    @property
    def closed_for(self) -> float:
        """Seconds until somebody tries it again, while its circuit is open."""
        return self.circuit.closed_for(self.now)

    @property
    def limits(self) -> str:
        of_all, of_domain = self.dsn.limits.words(), self.dsn.domain_limits.words()
        return ", ".join([*of_all, *(f"{one} a domain" for one in of_domain)])

    @property
    def takes(self) -> str:
        """Which mail, if not all."""
        dsn = self.dsn
        said = [f"weight {dsn.weight}"] if dsn.weight is not None else []
        if dsn.rule.is_test:
            said.append("only test mail")
        for word, values in (
            ("lane", dsn.rule.lanes),
            ("sender", dsn.rule.senders),
            ("recipient", dsn.rule.recipients),
        ):
            if values:
                said.append(f"only {word} {' or '.join(sorted(values))}")
        return ", ".join(said)

    @property
    def alerts(self) -> list[str]:
        """What somebody has to look at though mail may flow. A catcher may refuse what it
        likes."""
        if self.dsn.rule.is_test:
            return []
        found = []
        circuit, figures = self.circuit, self.figures
        if circuit.stage in SERIOUS_STAGES and self.now - circuit.failed_at < ALERTS_SECONDS:
            found.append(
                f"transport {self.name}: {circuit.stage}: {circuit.code or ''} {circuit.words}"
            )
        if figures.alarming and self.trouble:
            found.append(
                f"transport {self.name}: {figures.refused} of {figures.given} emails refused within"
                f" 10 minutes, the last with {self.trouble.code or ''} {self.trouble.words}"
            )
        return found


def standings(state: State) -> list[Standing]:
    """Return them in the order of preference."""
    now, known = state.traffic.known()
    paused = state.ledger.paused_transports()
    figures, troubles = state.ledger.figures()
    return [
        Standing(
            dsn,
            now,
            known[name].circuit,
            sum(until > now for until in known[name].quota.holders.values()),
            paused.get(name),
            figures.get(name, _NONE),
            _last_trouble(known[name].circuit, troubles.get(name)),
        )
        for name, dsn in state.traffic.dsns.items()
    ]


def described(host: str, port: int, security: str, username: str | None) -> str:
    """Return where a server is and how it is talked to, in a few words, without its password."""
    login = f"login as {username}" if username else "no login"
    return f"{host}:{port}, {_SECURITY[security]}, {login}"


def _last_trouble(circuit: Circuit, trouble: Trouble | None) -> Trouble | None:
    # An email that found another way has no attempt that tells of it.
    at = datetime.fromtimestamp(circuit.failed_at, UTC)
    if circuit.failed_at and (trouble is None or trouble.at < at):
        return Trouble(at, circuit.stage, circuit.code, None, circuit.words)
    return trouble
