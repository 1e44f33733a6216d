"""``MAILER_TRANSPORTS``: named addresses of SMTP servers, with their limits and rules.

``NAME=SCHEME://USER:PASSWORD@HOST:PORT?OPTION=VALUE&...``, separated by commas. The scheme says how
the conversation is secured: ``smtp`` not at all, ``smtp+starttls``, ``smtps``. Reserved characters
of user and password are percent-encoded.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from .models import LANES
from .quota import UNLIMITED, Limits
from .smtp import EXTENSIONS, Server

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"
_NEXT = re.compile(rf",\s*(?={_NAME}=[a-z+]+://)")
_ONE = re.compile(rf"({_NAME})=(.*)", re.DOTALL)
_EXPECTED = "NAME=smtp+starttls://USER:PASSWORD@HOST:PORT?rate=14, NAME=..."
_ENCODED = "HOST:PORT and options after a ?; write / ? # @ : of a password as %2F %3F..."

_SCHEMES: dict[str, tuple[Literal["none", "starttls", "tls"], int]] = {
    "smtp": ("none", 25),
    "smtp+starttls": ("starttls", 587),
    "smtps": ("tls", 465),
}


class Rule(NamedTuple):
    """Which emails a transport takes; an empty set: all."""

    lanes: frozenset[str] = frozenset()
    senders: frozenset[str] = frozenset()
    """Domains of the From address, in lower case."""
    recipients: frozenset[str] = frozenset()
    """Domains, in lower case."""
    is_test: bool = False
    """It takes test mail, which goes nowhere else, and nothing else."""


class Dsn(NamedTuple):
    """One named transport, as it was written. ``None`` takes what ``MAIL_*`` says."""

    name: str
    security: Literal["none", "starttls", "tls"]
    host: str
    port: int
    username: str | None = None
    password: str | None = None
    weight: int | None = None
    """Neighbours that have one share the mail in this proportion; without: by preference."""
    rule: Rule = Rule()
    limits: Limits = UNLIMITED
    domain_limits: Limits = UNLIMITED
    """For the emails to any one recipient domain."""
    connect_timeout: float | None = None
    timeout: float | None = None
    final_timeout: float | None = None
    without: frozenset[str] = frozenset()
    """Extensions that are not used, whatever the server offers."""

    def __repr__(self) -> str:
        return f"<Dsn {self.name} {self.host}:{self.port}>"

    def server(self, defaults: Mapping[str, Any]) -> Server:
        """Return the server; what the address does not say is as in the settings ``MAIL_*``."""

        def seconds(given: float | None, name: str) -> float:
            return given if given is not None else float(defaults[f"MAIL_{name}_SECONDS"])

        return Server(
            host=self.host,
            port=self.port,
            security=self.security,
            username=self.username,
            password=self.password,
            local_hostname=defaults["MAIL_LOCAL_HOSTNAME"],
            ca_file=defaults["MAIL_CA_FILE"],
            connect_timeout=seconds(self.connect_timeout, "CONNECT_TIMEOUT"),
            timeout=seconds(self.timeout, "TIMEOUT"),
            final_timeout=seconds(self.final_timeout, "FINAL_TIMEOUT"),
            without=self.without,
        )


def parse(value: Any) -> tuple[Dsn, ...]:
    """Return the transports in their order. ``value`` is text, or a mapping of names to addresses.

    Raises ValueError, which says what was expected, and shows no password.
    """
    if isinstance(value, tuple) and all(isinstance(one, Dsn) for one in value):
        return value
    if isinstance(value, Mapping):
        named = [(str(name), str(address)) for name, address in value.items()]
        for name, _ in named:
            if not re.fullmatch(_NAME, name):
                raise ValueError(f"a name of letters, digits, _ and - instead of {name!r}")
    elif isinstance(value, str):
        parts = [_ONE.fullmatch(part.strip()) for part in _NEXT.split(value.strip().rstrip(","))]
        named = [(part[1], part[2]) for part in parts if part]
        if len(named) != len(parts):
            raise ValueError(_EXPECTED)
    else:
        raise ValueError(_EXPECTED)
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"each name once, and {name} is there {names.count(name)} times")
    found = tuple(_dsn(name, address) for name, address in named)
    _refuse_gaps(found)
    return found


def _refuse_gaps(dsns: tuple[Dsn, ...]) -> None:
    """Mail that no transport takes would wait for ever."""
    for lane in LANES:
        if not any(
            (not one.rule.lanes or lane in one.rule.lanes)
            and not (one.rule.senders or one.rule.recipients or one.rule.is_test)
            for one in dsns
        ):
            raise ValueError(
                f"a transport for lane {lane} without a rule for senders or recipients, and not"
                " for test, or some of its mail could never leave"
            )


def _dsn(name: str, address: str) -> Dsn:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{name}: an address such as smtps://USER:PASSWORD@HOST:465") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"{name}: one of {', '.join(_SCHEMES)} before ://")
    is_host = re.fullmatch(r"[A-Za-z0-9._:-]+", host)
    if not is_host or port == 0 or parts.path.strip("/") or parts.fragment:
        raise ValueError(f"{name}: {_ENCODED}")
    security, default_port = _SCHEMES[parts.scheme]
    username, password = _login(name, parts)
    options = _Options(name, parts.query)
    dsn = Dsn(
        name=name,
        security=security,
        host=host,
        port=port or default_port,
        username=username,
        password=password,
        weight=options.one("weight", _whole(1, 1000)),
        rule=Rule(
            lanes=options.several("lane", _lane),
            senders=options.several("sender", _domain),
            recipients=options.several("recipient", _domain),
            is_test=options.one("for", _test) is not None,
        ),
        limits=Limits(
            rate=options.one("rate", _number(0.001, 100_000)),
            connections=options.one("connections", _whole(1, 10_000)),
        ),
        domain_limits=Limits(
            rate=options.one("domain_rate", _number(0.001, 100_000)),
            connections=options.one("domain_connections", _whole(1, 10_000)),
        ),
        connect_timeout=options.one("connect_timeout", _number(0.1, 300)),
        timeout=options.one("timeout", _number(0.1, 600)),
        final_timeout=options.one("final_timeout", _number(0.1, 1200)),
        without=options.several("without", _extension),
    )
    options.refuse_others()
    return dsn


def _login(name: str, parts: SplitResult) -> tuple[str | None, str | None]:
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if bool(username) != bool(password):
        raise ValueError(f"{name}: user and password, or neither")
    return username, password


class _Options:
    """What stands after the question mark."""

    def __init__(self, name: str, query: str) -> None:
        self._name = name
        self._query = query
        self._given: dict[str, list[str]] = {}
        for option, value in parse_qsl(query, keep_blank_values=True):
            self._given.setdefault(option, []).append(value)
        self._known: list[str] = []

    def several(self, option: str, read: Callable[[str], str]) -> frozenset[str]:
        self._known.append(option)
        return frozenset(self._read(option, value, read) for value in self._given.get(option, []))

    def one(self, option: str, read: Callable[[str], Any]) -> Any:
        self._known.append(option)
        values = self._given.get(option, [])
        if len(values) > 1:
            raise ValueError(f"{self._name}: {option} once, not {len(values)} times")
        return self._read(option, values[0], read) if values else None

    def refuse_others(self) -> None:
        for option in self._given:
            if option not in self._known:
                if "@" in self._query:  # what looks like an option may be half of a password
                    raise ValueError(f"{self._name}: {_ENCODED}")
                near = difflib.get_close_matches(option, self._known, n=1, cutoff=0)[0]
                raise ValueError(f"{self._name}: no option {option!r}; did you mean {near}?")

    def _read(self, option: str, value: str, read: Callable[[str], Any]) -> Any:
        try:
            return read(value)
        except ValueError as error:
            raise ValueError(f"{self._name}: {option}={error}, got {value!r}") from None


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not (value.isdecimal() and low <= int(value) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return read


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(value: str) -> float:
        expected = f"a number from {low:g} to {high:g}"
        try:
            number = float(value)
        except ValueError:
            raise ValueError(expected) from None
        if not low <= number <= high:
            raise ValueError(expected)
        return number

    return read


def _lane(value: str) -> str:
    if value not in LANES:
        raise ValueError(f"one of {', '.join(LANES)}")
    return value


def _test(value: str) -> str:
    if value != "test":
        raise ValueError("test")
    return value


def _extension(value: str) -> str:
    if value.upper() not in EXTENSIONS:
        raise ValueError(f"one of {', '.join(EXTENSIONS)}")
    return value.upper()


def _domain(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", value.lower()):
        raise ValueError("a domain such as example.com, one of other letters as xn--...")
    return value.lower()
