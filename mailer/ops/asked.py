"""Which deliveries the address of a list asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any, NamedTuple

from .. import addresses, instants
from ..errors import NotFound
from ..ledger import Filters, Ledger
from ..ledger.filters import OUTCOMES
from ..models import LANES
from .given import whole

TEXT_MAX = 320
_SURE_ID = 18
"""So many of its characters are no word or number of a subject: the instant and a little more."""
_ID = re.compile(r"<?(?P<id>[0-9a-f][0-9a-f-]{3,35})(?P<domain>@[^@\s<>]+)?>?", re.IGNORECASE)


class Asked(NamedTuple):
    """What was asked for, as far as it can be understood."""

    values: Mapping[str, str]
    """As they were written, by field; those that are empty are not there."""
    filters: Filters
    after: int | None
    before: int | None
    problems: Mapping[str, str]
    """What is wrong with a field, which is left out."""
    email_id: str | None
    """The email that was named, rather than deliveries described."""


def asked(arguments: Mapping[str, str], ledger: Ledger) -> Asked:
    """Read the arguments of an address; ``ledger`` knows which text is the id of an email. Raises
    BadRequest for what nobody types."""
    values = {name: text for name in (*_READERS, "q") if (text := arguments.get(name, "").strip())}
    read: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, text in values.items():
        if name in _READERS:
            try:
                read[name] = _READERS[name](_short(text))
            except ValueError as error:
                problems[name] = str(error)
    after, before = _whole("after", arguments), _whole("before", arguments)
    state = read.pop("state", None)
    filters = Filters(statuses=state and frozenset({state}), **read)
    email_id = None
    if "q" in values:
        try:
            email_id, filters = _searched(_short(values["q"]), filters, ledger)
        except ValueError as error:
            problems["q"] = str(error)
    return Asked(values, filters, after, before, problems, email_id)


def _searched(text: str, filters: Filters, ledger: Ledger) -> tuple[str | None, Filters]:
    """Return the email that a text names, or the filters with what else it says."""
    if match := _ID.fullmatch(text):
        try:
            return ledger.find(match["id"].lower()), filters
        except NotFound as error:
            if len(match["id"]) >= _SURE_ID:
                raise ValueError(str(error)) from error
    if "@" in text and " " not in text.strip("@"):
        if filters.recipient is not None:
            raise ValueError(f"expected no address beside a recipient, got {text!r}")
        return None, replace(filters, recipient=_address(text))
    return None, replace(filters, subject=text)


def _whole(name: str, arguments: Mapping[str, str]) -> int | None:
    return whole(name, arguments[name]) if arguments.get(name) else None


def _short(text: str) -> str:
    if len(text) > TEXT_MAX:
        raise ValueError(f"expected at most {TEXT_MAX} characters, got {len(text)}")
    return text


def _one_of(known: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"expected one of {', '.join(known)}, got {text!r}")
        return text

    return read


def _address(text: str) -> str:
    return addresses.parse(text, allow_test_domains=True).email


def _code(text: str) -> int:
    if not re.fullmatch("[2-5][0-9]{2}", text, re.ASCII):
        raise ValueError(f"expected an SMTP code such as 451, got {text!r}")
    return int(text)


def _tag(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name:
        raise ValueError(f"expected a name, or name=value, got {text!r}")
    return name, value if equals else None


_READERS: dict[str, Callable[[str], Any]] = {
    "state": _one_of(OUTCOMES),
    "template": str,
    "lane": _one_of(LANES),
    "recipient": _address,
    "tag": _tag,
    "transport": str,
    "code": _code,
    "bulk": str,
    # UTC, as a page says instants before the browser makes them local.
    "since": lambda text: instants.past(text, UTC),
    "until": lambda text: instants.past(text, UTC),
}
"""Field -> how it is read. Each raises ValueError."""
