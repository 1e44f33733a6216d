"""Log lines as JSON objects, for programs that read them (``MAILER_LOG_FORMAT=json``).

What our own lines say as ``name=value`` become fields, with the types that the values have. They
are taken from where the line is written, not from its text, in which others' words may look alike.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

from . import trace
from .errors import SettingError

_OURS = "mailer."
_PLACE = re.compile(
    r"(?:(?P<name>[a-z_]+)=)?%(?P<form>[-+ #0]*\d*(?:\.\d+)?(?P<kind>[a-zA-Z%]))"
    r"|(?P<word>[a-z_]+)=(?P<value>[^\s%:;,]+)"
)
_RENAMED = {"event": "event_id"}
"""``event`` is the line itself."""
_NOTHING = (None, "-")


def write_json(logger: logging.Logger) -> None:
    """Have the handlers of ``logger`` write JSON. Raises SettingError without structlog."""
    if find_spec("structlog") is None:
        raise SettingError(
            "MAILER_LOG_FORMAT: json needs structlog: pip install 'mailer-dispatch[json-logs]'"
        )
    formatter = _formatter()
    for handler in logger.handlers:
        handler.setFormatter(formatter)


def _formatter() -> logging.Formatter:
    from structlog import processors, stdlib  # noqa: PLC0415 - for those who want it

    return stdlib.ProcessorFormatter(
        processors=[
            _with_fields,
            stdlib.ProcessorFormatter.remove_processors_meta,
            processors.format_exc_info,
            processors.JSONRenderer(),
        ],
        pass_foreign_args=True,
    )


def _with_fields(_: Any, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    record: logging.LogRecord = event["_record"]
    args = event.pop("positional_args", ())
    own = {}
    if record.name.startswith(_OURS) and isinstance(record.msg, str) and isinstance(args, tuple):
        own = {_RENAMED.get(name, name): value for name, value in _fields(record.msg, args)}
    request_id = trace.request_id()
    return {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        "level": record.levelname.lower(),
        "logger": record.name,
        "process": record.process,
        **({"request": request_id} if request_id else {}),
        **own,
        **event,
    }


def _fields(line: str, args: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Yield what ``line`` calls by name, less what it says is not there."""
    values = iter(args)
    for place in _PLACE.finditer(line):
        if word := place["word"]:
            value = place["value"]
            yield word, int(value) if value.isdigit() else value
        elif place["kind"] != "%":
            given = next(values, None)
            if place["name"] and given not in _NOTHING:
                yield place["name"], _typed(given, place["form"])


def _typed(given: Any, form: str) -> Any:
    """Return a number as precise as the line has it; of anything else the text."""
    said = f"%{form}" % (given,)
    if form[-1] in "df":
        return float(said) if "." in said else int(said)
    return given if isinstance(given, (bool, int, float)) else said
