"""Values that the command line takes: each function is a ``type`` of click's."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from .. import addresses, instants


def past(text: str) -> datetime:
    """Read ISO 8601 (local time unless it says otherwise), or how long ago: ``2h``, ``2h ago``."""
    return _instant(instants.past, text)


def future(text: str) -> datetime:
    """Read ISO 8601 (local time unless it says otherwise), or how far off: ``2h``, ``in 2h``."""
    return _instant(instants.future, text)


def name(text: str) -> str:
    """Read a name or an id, whatever it is of: no database holds what is not UTF-8, nor NUL."""
    if not text.isprintable():
        raise click.BadParameter(f"expected printable text, got {text!r}")
    return text


def address(text: str) -> str:
    """Read an address as the ledger has it."""
    try:
        return addresses.parse(text, allow_test_domains=True).email
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def context(text: str) -> dict[str, Any]:
    """Read a JSON object, or ``@`` and the path of a file that has one."""
    try:
        found = json.loads(Path(text[1:]).read_text("utf-8") if text.startswith("@") else text)
    except OSError as error:
        raise click.BadParameter(f"{text[1:]}: {error.strerror}") from error
    except ValueError as error:
        raise click.BadParameter(f"expected JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.BadParameter(f"expected a JSON object, got {type(found).__name__}")
    return found


def variable(text: str) -> tuple[str, str]:
    """Read ``key=value``."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.BadParameter(f"expected key=value, got {text!r}")
    return key, value


def _instant(read: Callable[[str], datetime], text: str) -> datetime:
    try:
        return read(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
