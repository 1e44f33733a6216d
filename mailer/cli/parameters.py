"""Values that the command line takes: each function is a ``type`` of click's."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from .. import addresses

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def past(text: str) -> datetime:
    """Read ISO 8601 (local time unless it says otherwise), or how long ago: ``2h``, ``2h ago``."""
    return _instant(text, -1, r"(?P<number>[0-9]+)(?P<unit>[smhdw])(?: ago)?", "10m, 2h, 3d ago")


def future(text: str) -> datetime:
    """Read ISO 8601 (local time unless it says otherwise), or how far off: ``2h``, ``in 2h``."""
    return _instant(text, 1, r"(?:in )?(?P<number>[0-9]+)(?P<unit>[smhdw])", "in 10m, 2h, 3d")


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


def _instant(text: str, sign: int, pattern: str, examples: str) -> datetime:
    try:
        if span := re.fullmatch(pattern, text):
            seconds = int(span["number"]) * _SECONDS[span["unit"]]
            return datetime.now(UTC) + sign * timedelta(seconds=seconds)
        # A naive one is local time for astimezone, too.
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        expected = f"a time such as 2026-11-24T09:30, or {examples}"
        raise click.BadParameter(f"expected {expected}, got {text!r}") from error
