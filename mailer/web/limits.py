"""How often account emails may be asked for: per address and per client.

They stop a stranger from filling somebody's inbox through us. An address is counted whether it has
an account or not, so that being refused tells nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
from typing import NamedTuple

from flask import Flask, current_app, request
from limits import RateLimitItem, parse
from werkzeug.exceptions import TooManyRequests

from .. import state
from ..rates import Rates


class Limit(NamedTuple):
    """At most so many hits in a moving window, for each key."""

    name: str
    rate: RateLimitItem


class Limits:
    """The limits of one app."""

    def __init__(self, rates: Rates, *, secret_key: str, per_address: str, per_client: str) -> None:
        self._rates = rates
        self._secret_key = secret_key
        self._per_address = Limit("address", parse(per_address))
        self._per_client = Limit("client", parse(per_client))

    def hit(self, *, address: str, client: str | None) -> int | None:
        """Count one request. None when it may go on, else the seconds to wait (at least 1).

        ``client`` is an IP address, None when there is none (a unix socket).
        """
        # The client first: one that is refused must not use up what others may ask for an address.
        for limit, who in (
            (self._per_client, client_network(client)),
            (self._per_address, address),
        ):
            taken = self._rates.take(limit.rate, key(self._secret_key, limit.name, who))
            if not taken.granted:
                return taken.reset_seconds
        return None


def init_app(app: Flask) -> None:
    """Give ``app`` its limits."""
    app.extensions["mailer_limits"] = Limits(
        state.of(app).rates,
        secret_key=app.config["SECRET_KEY"],
        per_address=app.config["MAILER_LIMIT_PER_ADDRESS"],
        per_client=app.config["MAILER_LIMIT_PER_CLIENT"],
    )


def check(address: str) -> None:
    """Count this request for ``address``; answer 429, saying when to come back, over a limit."""
    limits: Limits = current_app.extensions["mailer_limits"]
    wait = limits.hit(address=address, client=request.remote_addr)
    if wait is not None:
        minutes = math.ceil(wait / 60)
        raise TooManyRequests(
            f"Too many emails were asked for. Please try again in {minutes} min.", retry_after=wait
        )


def key(secret_key: str, name: str, who: str) -> str:
    """Return under what somebody is counted: Redis learns nobody's name or address, for without the
    key of the app a hash cannot be guessed at."""
    digest = hmac.new(secret_key.encode(), f"limit\0{name}\0{who}".encode(), "sha256")
    return f"{name}:{digest.hexdigest()[:32]}"


def client_network(client: str | None) -> str:
    """Return what one client is counted as: its IPv4 address, or its IPv6 /64, which is what a
    single household gets and can pick any number of addresses from."""
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))
