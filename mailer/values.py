"""How the value of a setting is read: each function takes a text, or what Flask or Python made of
it, and returns it typed. Its ValueError says what was expected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from limits import parse as parse_rate
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from . import addresses
from .destination import Allowed

Parser = Callable[[Any], Any]


def text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # Flask's JSON parsing made a number of it
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def secret(value: Any) -> str:
    """What proves who asks, so that it must not be guessed."""
    if len(text(value)) < 16:
        raise ValueError("at least 16 characters")
    return text(value)


def secrets(value: Any) -> tuple[str, ...]:
    """Several secrets: a list, also in JSON, or in one text with commas or spaces between them."""
    expected = "secrets of at least 16 characters, with commas between them"
    try:
        if isinstance(value, str):
            value = json.loads(value) if value.startswith("[") else value.replace(",", " ").split()
        # A text in the place of the list would make a key of each of its characters.
        if not isinstance(value, (list, tuple)):
            raise ValueError(expected)
        return tuple(secret(one) for one in value)
    except (ValueError, RecursionError):
        raise ValueError(expected) from None


def boolean(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False, "": False}
    if isinstance(value, bool):
        return value
    try:
        return words[str(value).strip().lower()]
    except KeyError:
        raise ValueError("true or false") from None


def whole(low: int, high: int) -> Parser:
    def parse(value: Any) -> int:
        expected = f"a whole number from {low} to {high}"
        if isinstance(value, (bool, float)):
            raise ValueError(expected)
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(expected) from None
        if not low <= number <= high:
            raise ValueError(expected)
        return number

    return parse


def seconds(low: float, high: float) -> Parser:
    def parse(value: Any) -> float:
        expected = f"seconds, from {low:g} to {high:g}"
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(expected) from None
        if isinstance(value, bool) or not low <= number <= high:
            raise ValueError(expected)
        return number

    return parse


def choice(*words: str) -> Parser:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError("one of " + ", ".join(words))
        return str(value)

    return parse


def base_url(value: Any) -> str:
    url = text(value).rstrip("/")
    if not url.startswith(("http://", "https://")) or any(c in url for c in " \r\n?#"):
        raise ValueError("an address such as https://app.example.com")
    return url


def database_url(value: Any) -> str:
    url = text(value)
    for short in ("postgres://", "postgresql://"):
        if url.startswith(short):
            url = "postgresql+psycopg://" + url.removeprefix(short)
    # Every connection would have a memory of its own, and workers are other processes.
    in_memory = url.removeprefix("sqlite:///") in {"", ":memory:"}
    expected = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    if in_memory or not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError(expected)
    try:
        make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(expected) from None
    return url


def redis_url(value: Any) -> str:
    url = text(value)
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("redis://HOST:PORT/NUMBER, rediss://... or unix://PATH")
    return url


def namespace(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", text(value)):
        raise ValueError("1 to 40 letters, digits, _ or -")
    return str(value)


def allowed_hosts(value: Any) -> tuple[str, ...]:
    entries = value.replace(",", " ").split() if isinstance(value, str) else value
    try:
        Allowed([text(entry) for entry in entries])
    except (TypeError, ValueError):
        raise ValueError("names, addresses and networks such as 10.1.0.0/16") from None
    return tuple(entries)


def networks(value: Any) -> str:
    try:
        for one in text(value).replace(",", " ").split():
            ip_network(one)
    except ValueError:
        raise ValueError("addresses and networks such as 127.0.0.1, 10.1.0.0/16") from None
    return str(value)


def rate(value: Any) -> str:
    try:
        parse_rate(text(value))
    except ValueError:
        raise ValueError("a rate such as 5/hour or 100/day") from None
    return str(value)


def sentry_dsn(value: Any) -> str:
    url = text(value)
    if not re.fullmatch(r"https?://[^@/\s]+@[^@/\s]+/(?:\S*/)?[0-9]+", url):
        raise ValueError("what Sentry calls a DSN: https://KEY@HOST/NUMBER")
    return url


def sender(value: Any) -> str | tuple[str, str]:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        value = (text(value[0]), text(value[1]))
    else:
        value = text(value)
    try:
        addresses.parse(value, allow_test_domains=True)
    except ValueError:
        raise ValueError("an address such as 'Acme <hello@acme.example>'") from None
    return value  # type: ignore[no-any-return]


def host(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", text(value)):
        raise ValueError("the name or address of a server")
    return str(value)


def ehlo_name(value: Any) -> str:
    if not re.fullmatch(r"[!-~]+", text(value)):
        raise ValueError("a host name, or an address literal such as [192.0.2.7]")
    return str(value)


def existing(kind: str) -> Parser:
    def parse(value: Any) -> str:
        path = Path(text(value))
        expected = f"the path of a {kind} that is there"
        try:
            is_there = path.is_file() if kind == "file" else path.is_dir()
        except (OSError, ValueError):  # too long, or with a null byte
            raise ValueError(expected) from None
        if not is_there:
            raise ValueError(expected)
        return str(path)

    return parse


def topics(value: Any) -> tuple[str, ...]:
    """Names of topics of Amazon SNS."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    expected = "names such as arn:aws:sns:eu-west-1:123456789012:bounces, with spaces between them"
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(expected)
    for one in value:
        if not re.fullmatch(
            r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}", text(one)
        ):
            raise ValueError(expected)
    return tuple(value)
