"""Where the service may be told to send a request: public addresses, and those that are allowed.

Whoever may make a webhook names a server that the service then connects to, from inside its own
network. A name is resolved once; all its addresses are checked, and the connection goes to one of
those that were (`mailer.request`): what the name resolves to a moment later does not count.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

URL_MAX = 2_000
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*", re.ASCII)
_PORTS = {"https": 443, "http": 80}

# The registries of special-purpose addresses (RFC 6890), and multicast.
_NOT_PUBLIC_4 = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: also where clouds keep their credentials
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_PUBLIC_6 = ip_network("2000::/3")  # all that is assigned to be reached
_NOT_PUBLIC_6 = tuple(
    ip_network(text)
    for text in (
        "2001::/23",  # protocols, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: a tunnel to an IPv4 address
        "3fff::/20",  # documentation
    )
)
_NAT64 = ip_network("64:ff9b::/96")

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a name. Raises OSError."""


class Forbidden(ValueError):
    """Nothing is sent there: says where, and what was expected."""


class Destination(NamedTuple):
    """An URL, taken apart."""

    scheme: str
    host: str
    """In lower case; of an IPv6 address without brackets."""
    port: int
    target: str
    """Path and query."""

    @property
    def authority(self) -> str:
        """What the header Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class Allowed:
    """Hosts and networks that are allowed though they are not public, and over http."""

    def __init__(self, entries: Sequence[str] = ()) -> None:
        """Names, addresses and networks such as ``10.1.0.0/16``. Raises ValueError."""
        self._networks = []
        self._names = set()
        for entry in entries:
            try:
                self._networks.append(ip_network(entry))
            except ValueError:
                if not _NAME.fullmatch(entry.lower()) or "/" in entry or _is_number(entry):
                    raise ValueError(entry) from None
                self._names.add(entry.lower())

    def __contains__(self, where: tuple[str, Address]) -> bool:
        host, address = where
        return host in self._names or any(address in network for network in self._networks)


def parse(url: str) -> Destination:
    """Take an URL apart. Raises Forbidden."""
    if len(url) > URL_MAX:
        raise Forbidden(f"expected up to {URL_MAX} characters, got {len(url)}")
    if not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise Forbidden("expected ASCII without spaces (xn--... for other names)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Forbidden(f"expected https://HOST/PATH: {error}") from error
    host = parts.hostname or ""
    if parts.scheme not in _PORTS:
        raise Forbidden(f"expected https://HOST/PATH, got {parts.scheme or 'no scheme'}")
    if "@" in parts.netloc:
        raise Forbidden("expected no user name or password in it")
    if "#" in url:
        raise Forbidden("expected no fragment (#)")
    if not (_NAME.fullmatch(host) or (":" in host and _address(host))):
        raise Forbidden(f"expected the name or the address of a host, got {host!r}")
    if port == 0:
        raise Forbidden("expected a port from 1 to 65535, got 0")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(parts.scheme, host, port or _PORTS[parts.scheme], target)


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def checked(destination: Destination, allowed: Allowed, resolve: Resolve = resolve) -> list[str]:
    """Return the addresses of a destination, each of which may be connected to. Raises Forbidden,
    also when it has one that may not, and OSError when its name is not known."""
    host = destination.host
    try:
        found = resolve(host, destination.port)
    except UnicodeError as error:  # a label that is too long
        raise OSError(f"{host}: {error}") from error
    for text in found:
        address = _address(text)
        if address is not None and (host, address) in allowed:
            continue
        if destination.scheme != "https":
            raise Forbidden(f"expected https: {host} is not in MAILER_WEBHOOK_ALLOW")
        if address is None or not is_public(address):
            words = text if text == host else f"{host} is {text}, which"
            raise Forbidden(
                f"expected a public address, or one in MAILER_WEBHOOK_ALLOW: {words} is neither"
            )
    if not found:
        raise OSError(f"{host} has no address")
    return list(found)


def is_public(address: Address) -> bool:
    """Say whether it is an address of the internet at large."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    inner = address.ipv4_mapped
    if address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    if inner is not None:
        return is_public(inner)
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_number(text: str) -> bool:
    """Whether it is a wrong address rather than a name: no top-level domain is a number."""
    return text.rpartition(".")[2].isdecimal()
