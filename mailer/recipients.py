"""Files of recipients: cut into parts of whole rows, and read row by row.

CSV with a header, or an object of JSON on each line. A row says whom it is for (``email`` or
``to``, ``name``), in which ``locale``, and has the variables of the template.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .errors import UnreadableFile
from .words import one_line

PART_BYTES = 262_144
LINE_MAX = 1_000_000
"""Bytes of one line: what is longer is no file of recipients."""
_TO = ("email", "to")
_OWN = frozenset({*_TO, "name", "locale"})
_DELIMITERS = (",", ";", "\t")


class Form(NamedTuple):
    """How a file is written."""

    delimiter: str = ""
    """Of CSV; empty: JSON lines."""
    columns: Sequence[str] = ()


class Part(NamedTuple):
    """Some whole rows of a file."""

    first_line: int
    """From 1."""
    lines: int
    data: bytes


class Row(NamedTuple):
    """What one row says. Not to be shown: its context may hold secrets."""

    line: int
    """Where it begins."""
    last_line: int
    to: str = ""
    name: str = ""
    locale: str | None = None
    context: Mapping[str, Any] = {}
    wrong: str = ""
    """Why it cannot be read."""


def cut(chunks: Iterable[bytes], *, is_csv: bool) -> Iterator[Part]:
    """Yield a file in parts of some 256 kB. Raises UnreadableFile."""
    lines: list[bytes] = []
    number = size = quotes = 0
    for line in _lines(chunks):
        number += 1
        if len(line) > LINE_MAX:
            raise UnreadableFile(f"line {number}: expected at most {LINE_MAX} bytes")
        lines.append(line)
        size += len(line)
        quotes += line.count(b'"') if is_csv else 0
        # Within quotes a row of CSV goes on; of a quote that nobody closed not for ever.
        if size >= PART_BYTES and (quotes % 2 == 0 or size >= 2 * PART_BYTES):
            yield Part(number - len(lines) + 1, len(lines), b"".join(lines))
            lines, size, quotes = [], 0, 0
    if lines:
        yield Part(number - len(lines) + 1, len(lines), b"".join(lines))


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
        if len(rest) > LINE_MAX:
            break  # it is refused
    if rest:
        yield rest


def form(first: Part, *, is_csv: bool) -> Form:
    """Return how the file with this first part is written. Raises UnreadableFile."""
    if not is_csv:
        return Form()
    try:
        text = _text(first)[0]
    except IndexError:
        raise UnreadableFile("line 1: expected the names of the columns, got nothing") from None
    delimiter = max(_DELIMITERS, key=text.count)
    columns = [_column(name) for name in next(csv.reader([text], delimiter=delimiter), [])]
    if not set(columns) & set(_TO):
        shown = one_line(", ".join(columns), 200)
        raise UnreadableFile(f"line 1: expected a column email or to, got {shown or 'none'}")
    for name in columns:
        if not name or columns.count(name) > 1:
            shown = repr(one_line(name, 80))
            raise UnreadableFile(f"line 1: expected a name of its own for each column, got {shown}")
    return Form(delimiter, columns)


def rows(part: Part, form: Form, *, after: int = 0) -> Iterator[Row]:
    """Yield the rows of a part that begin after a line; lines with nothing on them are none."""
    return _csv_rows(part, form, after) if form.delimiter else _json_rows(part, after)


def _text(part: Part) -> list[str]:
    """Return its lines; what is not UTF-8 is marked in them."""
    data = part.data.removeprefix(b"\xef\xbb\xbf") if part.first_line == 1 else part.data
    return list(io.StringIO(data.decode(errors="surrogateescape"), newline="\n"))


def _column(name: str) -> str:
    name = name.strip()
    return name.lower() if name.lower() in _OWN else name


def _csv_rows(part: Part, form: Form, after: int) -> Iterator[Row]:
    reader = csv.reader(_text(part), delimiter=form.delimiter)
    while True:
        line = part.first_line + reader.line_num
        wrong, cells = "", []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            wrong = f"expected CSV: {error}"
        last_line = part.first_line + reader.line_num - 1
        if line <= max(after, 1) or not (wrong or any(cells)):
            continue
        if not wrong and len(cells) != len(form.columns):
            wrong = f"expected {len(form.columns)} columns, got {len(cells)}"
        if wrong:
            yield Row(line, last_line, wrong=wrong)
        else:
            yield _row(line, last_line, dict(zip(form.columns, cells, strict=True)))


def _json_rows(part: Part, after: int) -> Iterator[Row]:
    for line, text in enumerate(_text(part), part.first_line):
        if line <= after or not text.strip():
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Row(line, line, wrong=f"expected JSON: {error}")
            continue
        if isinstance(values, dict):
            yield _row(line, line, values)
        else:
            wrong = f"expected an object of JSON, got {type(values).__name__}"
            yield Row(line, line, wrong=wrong)


def _row(line: int, last_line: int, values: Mapping[str, Any]) -> Row:
    to = values.get("email") or values.get("to") or ""
    name, locale = values.get("name") or "", values.get("locale") or None
    context = {key: value for key, value in values.items() if key not in {*_TO, "locale"}}
    wrong = ""
    if "variables" in values:
        context = values["variables"]
        if not isinstance(context, dict):
            wrong = "variables: expected an object of JSON"
        elif unknown := values.keys() - _OWN - {"variables"}:
            wrong = f"expected no {', '.join(sorted(unknown))} beside variables"
    for field, value in (("email", to), ("name", name), ("locale", locale or "")):
        if not isinstance(value, str):
            wrong = wrong or f"{field}: expected text"
    if not wrong and _is_not_utf8(values):
        wrong = "expected UTF-8"
    if wrong:
        return Row(line, last_line, wrong=wrong)
    return Row(line, last_line, to.strip(), name.strip(), locale, context)


def _is_not_utf8(values: Mapping[str, Any]) -> bool:
    try:
        for name, value in values.items():
            name.encode()
            (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
    except UnicodeEncodeError:
        return True
    return False
