"""From nothing to a conversation that may send: connect, banner, EHLO, TLS, AUTH."""

from __future__ import annotations

import hmac
import ipaddress
import math
import ssl
from base64 import b64decode, b64encode
from functools import lru_cache

from .reply import Reply
from .server import Server
from .wire import Broken, Observer, Wire, reason

Features = dict[str, str]
"""What the server offers: keyword to parameters, both in capitals."""


def open_wire(
    server: Server, observe: Observer | None, until: float = math.inf
) -> tuple[Wire, Features]:
    """Return a wire on which MAIL may be said, and what the server offers. Raises `Broken`.

    Nothing is waited for any longer than ``until``, of the monotonic clock.
    """
    wire = Wire(server.host, server.port, server.connect_timeout, observe, until)
    try:
        if server.security == "tls":
            _encrypt(wire, server, "connect")
        _expect_success("banner", wire.hear("banner", server.connect_timeout))
        features = _greet(wire, server)
        if server.security == "starttls":
            if "STARTTLS" not in features:
                raise Broken("starttls", "the server does not offer STARTTLS")
            _expect_success("starttls", wire.ask("starttls", "STARTTLS", server.timeout))
            _encrypt(wire, server, "starttls")
            features = _greet(wire, server)  # what was said before TLS does not count
        if server.username and server.password:
            offered = features.get("AUTH", "").split()
            _log_in(wire, server, offered, server.username.encode(), server.password.encode())
    except BaseException:
        wire.close()
        raise
    return wire, features


def _encrypt(wire: Wire, server: Server, stage: str) -> None:
    try:
        context = _tls_context(server.ca_file)
    except OSError as error:
        raise Broken(stage, f"ca_file {server.ca_file}: {reason(error)}") from error
    wire.encrypt(context, server.host, server.connect_timeout, stage)


@lru_cache(maxsize=8)
def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _greet(wire: Wire, server: Server) -> Features:
    literal = f"[IPv6:{wire.here}]" if ":" in wire.here else f"[{wire.here}]"
    name = server.local_hostname or literal
    reply = wire.ask("ehlo", f"EHLO {name}", server.timeout)
    if reply.code in {500, 501, 502, 504}:  # older than extensions
        _expect_success("ehlo", wire.ask("ehlo", f"HELO {name}", server.timeout))
        return {}
    _expect_success("ehlo", reply)
    features: Features = {}
    for line in reply.text.decode("latin-1").upper().split("\n")[1:]:
        # Some servers also say "AUTH=LOGIN PLAIN", as drafts of the extension had it.
        keyword, _, parameters = line.strip().replace("=", " ", 1).partition(" ")
        if keyword not in server.without:
            features[keyword] = f"{features.get(keyword, '')} {parameters}".strip()
    return features


def _log_in(
    wire: Wire, server: Server, offered: list[str], username: bytes, password: bytes
) -> None:
    """Prove who we are, by one mechanism only: each wrong try counts towards a lock-out."""
    if not wire.encrypted and not ipaddress.ip_address(wire.peer).is_loopback:
        words = "not sending the password in plain text: use TLS or STARTTLS"
        raise Broken("auth", words)

    def answer(secret: bytes) -> Reply:
        return wire.ask("auth", b64encode(secret).decode(), server.timeout, shown="***")

    initial = b64encode(b"\0%s\0%s" % (username, password))
    wire.secrets = (initial, b64encode(password), password)
    if "PLAIN" in offered:
        line = f"AUTH PLAIN {initial.decode()}"
        reply = wire.ask("auth", line, server.timeout, shown="AUTH PLAIN ***")
    elif "LOGIN" in offered:
        reply = wire.ask("auth", "AUTH LOGIN", server.timeout)
        for secret in (username, password):
            if reply.code == 334:
                reply = answer(secret)
    elif "CRAM-MD5" in offered:
        reply = wire.ask("auth", "AUTH CRAM-MD5", server.timeout)
        if reply.code == 334:
            try:
                digest = hmac.new(password, b64decode(reply.text), "md5").hexdigest()
            except ValueError as error:
                raise Broken("auth", f"CRAM-MD5: {reason(error)}") from error
            reply = answer(b"%s %s" % (username, digest.encode()))
    else:
        raise Broken(
            "auth",
            "no login mechanism in common: expected PLAIN, LOGIN or CRAM-MD5, "
            f"the server offers {' '.join(offered) or 'none'}",
        )
    _expect_success("auth", reply)
    wire.secrets = ()


def _expect_success(stage: str, reply: Reply) -> None:
    if not 200 <= reply.code < 300:
        raise Broken(stage, "", reply)
