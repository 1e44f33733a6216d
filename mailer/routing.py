"""Which transports an email may take, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from .dsn import Dsn, Rule


class Parcel(NamedTuple):
    """What decides about the way. Domains are in lower case."""

    lane: str
    sender_domain: str
    recipient_domain: str
    is_test: bool
    lot: float
    """From 0 up to 1, the same at each attempt: a server that greylists knows only those that come
    back from where they came."""


def fits(rule: Rule, parcel: Parcel) -> bool:
    return (
        rule.is_test == parcel.is_test
        and (not rule.lanes or parcel.lane in rule.lanes)
        and (not rule.senders or parcel.sender_domain in rule.senders)
        and (not rule.recipients or parcel.recipient_domain in rule.recipients)
    )


def steps(dsns: Iterable[Dsn]) -> list[list[Dsn]]:
    """Return the order of preference: transports of one step share the mail by weight."""
    found: list[list[Dsn]] = []
    for dsn in sorted(dsns, key=lambda one: one.rule.is_test):  # those for test part no neighbours
        if dsn.weight is not None and found and found[-1][-1].weight is not None:
            found[-1].append(dsn)
        else:
            found.append([dsn])
    return found


class Choice(NamedTuple):
    """The transport that an email takes."""

    name: str
    is_full: bool
    """It may not now: it waits for its turn there."""


def choose(
    order: Sequence[Sequence[Dsn]],
    parcel: Parcel,
    *,
    unusable: Collection[str],
    full: Collection[str],
) -> Choice | None:
    """Return the transport to take. None: none can be used.

    What cannot be used is left out, for the next step to take over. What is full for the moment
    only its neighbours take over: a limit is no reason to leave by the emergency exit.
    """
    for step in order:
        usable = [one for one in step if one.name not in unusable and fits(one.rule, parcel)]
        if usable:
            free = [one for one in usable if one.name not in full]
            return Choice(_by_weight(free or usable, parcel.lot), not free)
    return None


def _by_weight(dsns: Sequence[Dsn], lot: float) -> str:
    point = lot * sum(one.weight or 0 for one in dsns)
    for one in dsns:
        point -= one.weight or 0
        if point < 0:
            return one.name
    return dsns[-1].name
