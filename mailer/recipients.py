"""Files of recipients: cut into parts of whole rows, and read row by row.

CSV with a header, or an object of JSON on each line. A row says whom it is for (``email`` or
``to``, ``name``), in which ``locale``, and has the variables of the template.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from .errors import UnreadableFile
from .words import one_line

PART_BYTES = 262_144
ROW_MAX = 1_000_000
"""Bytes of one row: what is longer is no file of recipients."""
_TO = ("email", "to")
_OWN = frozenset({*_TO, "name", "locale"})
_NO_VARIABLES = frozenset({*_TO, "locale"})
_DELIMITERS = (",", ";", "\t")


class Form(NamedTuple):
    """How a file is written."""

    delimiter: str = ""
    """Of CSV; empty: JSON lines."""
    columns: Sequence[str] = ()

    @property
    def variables(self) -> frozenset[str]:
        """The columns that are variables of the template."""
        return frozenset(self.columns) - _NO_VARIABLES


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

    @property
    def recipient(self) -> str | tuple[str, str]:
        """Whom it is for, as `dispatch` takes it."""
        return (self.name, self.to) if self.name else self.to


def read(chunks: Iterable[bytes], *, is_csv: bool) -> tuple[Form, Iterator[Part]]:
    """Return how a file is written, and the file in parts of some 256 kB. Raises UnreadableFile,
    also while the parts are taken."""
    lines = _lines(chunks)
    head = next(lines, None)
    if head is None:
        raise UnreadableFile("expected at least one recipient, got an empty file")
    form = _csv_form(head) if is_csv else Form()
    return form, _parts(chain([head], lines), form)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
        if len(rest) > ROW_MAX:
            break  # it is refused
    if rest:
        yield rest


def _csv_form(head: bytes) -> Form:
    if b"\r" in head.removesuffix(b"\n").removesuffix(b"\r"):
        raise UnreadableFile(r"line 1: expected lines that end with \n or \r\n, got \r alone")
    (text,) = _text([head], 1)
    delimiter = max(_DELIMITERS, key=text.count)
    ((_, cells, wrong),) = _cells([text], delimiter)
    if wrong:
        raise UnreadableFile(f"line 1: {wrong}")
    if _is_not_utf8(dict.fromkeys(cells)):
        raise UnreadableFile("line 1: expected UTF-8")
    columns = [_column(name) for name in cells]
    if not set(columns) & set(_TO):
        shown = one_line(", ".join(columns), 200)
        raise UnreadableFile(f"line 1: expected a column email or to, got {shown or 'none'}")
    for name in columns:
        if not name or columns.count(name) > 1:
            shown = repr(one_line(name, 80))
            raise UnreadableFile(f"line 1: expected a name of its own for each column, got {shown}")
    return Form(delimiter, columns)


def _column(name: str) -> str:
    name = name.strip()
    return name.lower() if name.lower() in _OWN else name


def _parts(lines: Iterable[bytes], form: Form) -> Iterator[Part]:
    first, held, size = 1, list[bytes](), 0
    for row in _whole_rows(lines, form):
        held += row
        size += sum(map(len, row))
        if size >= PART_BYTES:
            yield Part(first, len(held), b"".join(held))
            first, held, size = first + len(held), [], 0
    if held:
        yield Part(first, len(held), b"".join(held))


def _whole_rows(lines: Iterable[bytes], form: Form) -> Iterator[list[bytes]]:
    """Yield the lines of each row. Of CSV its reader says where one ends: within quotes a row goes
    on, but not every quote begins some. Raises UnreadableFile for a row of several lines that
    cannot be read: with a quote that is not closed all rows up to the next one would be lost."""
    row: list[bytes] = []

    def taken() -> Iterator[bytes]:
        size = 0
        for number, line in enumerate(lines, 1):
            size = len(line) + (size if row else 0)
            row.append(line)
            if size > ROW_MAX:
                first = number - len(row) + 1
                raise UnreadableFile(f"line {first}: expected a row of at most {ROW_MAX} bytes")
            yield line

    if not form.delimiter:
        for line in taken():
            yield [line]
            row.clear()
        return
    for last, cells, wrong in _cells(_text(taken(), 1), form.delimiter):
        if len(row) > 1 and (wrong or len(cells) != len(form.columns)):
            first = last - len(row) + 1
            raise UnreadableFile(
                f"line {first}: expected each quote to be closed; the row that begins here goes on"
                f" to line {last}, and is none"
            )
        yield row.copy()
        row.clear()


def rows(part: Part, form: Form, *, after: int = 0) -> Iterator[Row]:
    """Yield the rows of a part that begin after a line; lines with nothing on them are none."""
    return _csv_rows(part, form, after) if form.delimiter else _json_rows(part, after)


def without(part: Part, form: Form, is_theirs: Callable[[Row, str], bool]) -> Part:
    """Return a part in which the rows of a person are blank; ``is_theirs`` is given a row, and how
    it is written."""
    lines = list(_lines([part.data]))
    for row in rows(part, form):
        its = slice(row.line - part.first_line, row.last_line - part.first_line + 1)
        if is_theirs(row, b"".join(lines[its]).decode(errors="replace")):
            lines[its] = [b"\n"] * (row.last_line - row.line + 1)
    return part._replace(data=b"".join(lines))


def _text(lines: Iterable[bytes], first_line: int) -> Iterator[str]:
    """Yield lines as text; what is not UTF-8 is marked in them."""
    for number, line in enumerate(lines, first_line):
        data = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        yield data.decode(errors="surrogateescape")


def _cells(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    """Yield of each row how many lines it ends after, its cells, and why it cannot be read.

    Strict: what stands behind a closing quote, and a quote that nobody closes, would else make
    one cell of what was meant as two.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            cells, wrong = next(reader), ""
        except StopIteration:
            return
        except csv.Error as error:
            cells, wrong = [], f"expected CSV: {error}"
        yield reader.line_num, cells, wrong


def _csv_rows(part: Part, form: Form, after: int) -> Iterator[Row]:
    line = part.first_line
    for read, cells, wrong in _cells(_text(_lines([part.data]), part.first_line), form.delimiter):
        row, line = line, part.first_line + read
        if row <= max(after, 1) or not (wrong or any(cells)):
            continue
        if wrong:
            yield Row(row, line - 1, wrong=wrong)
        elif len(cells) != len(form.columns):
            counted = f"expected {len(form.columns)} columns, got {len(cells)}"
            yield Row(row, line - 1, wrong=counted)
        else:
            yield _row(row, line - 1, dict(zip(form.columns, cells, strict=True)))


def _json_rows(part: Part, after: int) -> Iterator[Row]:
    for line, text in enumerate(_text(_lines([part.data]), part.first_line), part.first_line):
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
    context = {key: value for key, value in values.items() if key not in _NO_VARIABLES}
    wrong = ""
    if "variables" in values:
        context = values["variables"]
        if not isinstance(context, dict):
            wrong = "variables: expected an object of JSON"
        elif unknown := values.keys() - _OWN - {"variables"}:
            wrong = f"expected no {', '.join(sorted(unknown))} beside variables"
        elif name:
            context = {"name": name, **context}
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
