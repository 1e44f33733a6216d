"""Erase a person from bulk sends: from their files, however the address is written there, and from
what was found in them."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from .. import recipients
from ..addresses import LOCAL_PART_MAX, parse
from ..models import IS_LEFT_OUT, LEFT_OUT, BulkPart, BulkRow, Job
from ..recipients import Form, Part, Row
from .bulk import KIND, part_at
from .jobs import as_asked

_AT = "[@\uff20\ufe6b]"
"""Also as wide and as small letter."""
_BEFORE_AT = r'[\s"]{0,9}'
_DOMAIN = re.compile(r"""\s*([^\s<>()\[\],;:'"\\@]{0,255})""")
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|.)", re.IGNORECASE | re.DOTALL)
"""Of JSON in a file, and of Python in a reason."""
_AT_ONCE = 2_000


def forget(connection: sa.Connection, address: str) -> None:
    """Erase a person from files and rows. The row of an email stays, without the address."""
    lower = address.lower()
    # Before the rows, as a step has them.
    of_bulk = sa.select(Job.id, Job.details, Job.found).where(Job.kind == KIND)
    jobs = connection.execute(of_bulk.order_by(Job.id).with_for_update()).all()
    theirs = BulkRow.address == lower
    unsent = sa.delete(BulkRow).where(theirs, BulkRow.email_id.is_(None))
    gone: dict[str, list[str | None]] = defaultdict(list)
    for row in connection.execute(unsent.returning(BulkRow.job_id, BulkRow.left_out)):
        gone[row.job_id].append(row.left_out)
    connection.execute(sa.update(BulkRow).where(theirs).values(address=None))
    _forget_reasons(connection, lower)
    for job in jobs:
        form = Form(**job.details["form"])
        if _blank(connection, job.details["file"], form, lower) or gone[job.id]:
            _count_out(connection, job, gone[job.id])


def _forget_reasons(connection: sa.Connection, address: str) -> None:
    # Of letters beyond ASCII not every database knows the small ones.
    surely = max(re.findall("[a-z0-9]*", address.rpartition("@")[0]), key=len)
    columns = (BulkRow.job_id, BulkRow.line, sa.func.coalesce(BulkRow.reason, ""))
    statement = sa.select(*columns).where(IS_LEFT_OUT, BulkRow.reason.icontains(surely))
    found = connection.execute(statement.execution_options(yield_per=_AT_ONCE))
    ids = [{"job_": id, "line_": line} for id, line, reason in found if _names(reason, address)]
    one = (BulkRow.job_id == sa.bindparam("job_"), BulkRow.line == sa.bindparam("line_"))
    if ids:
        connection.execute(sa.update(BulkRow).where(*one).values(reason="erased"), ids)


def _blank(connection: sa.Connection, file_id: str, form: Form, address: str) -> bool:
    """Make the rows of a person blank in a file. False: it has none."""
    changed = False
    first_lines = sa.select(BulkPart.first_line).where(BulkPart.file_id == file_id)
    for first_line in connection.scalars(first_lines).all():
        part = part_at(connection, file_id, first_line)
        if part is None or not _may_name(part, form, address):
            continue
        blank = recipients.without(part, form, lambda row, text: _is_theirs(row, text, address))
        if blank != part:
            of_it = (BulkPart.file_id == file_id, BulkPart.first_line == first_line)
            connection.execute(sa.update(BulkPart).where(*of_it).values(data=blank.data))
            changed = True
    return changed


def _may_name(part: Part, form: Form, address: str) -> bool:
    """Say whether a part is worth being read for an address. Of a domain there are many spellings,
    and none of what stands before it; but JSON may have that with escapes."""
    text = _folded(part.data.decode(errors="replace"))
    local = re.escape(_folded(address.rpartition("@")[0]))
    has_escapes = not form.delimiter and "\\" in text
    return has_escapes or re.search(local + _BEFORE_AT + _AT, text) is not None


def _is_theirs(row: Row, text: str, address: str) -> bool:
    """Say whether a row is for a person, or names them and is for nobody."""
    if not _names(f"{text}\n{row.to}", address):
        return False
    try:
        return bool(row.wrong) or _folded(_email(row.recipient)) == _folded(address)
    except ValueError:
        return True


def _names(text: str, address: str) -> bool:
    """Say whether a text has an address in some spelling; also if its domain there cannot be
    read."""
    local, domain = (_folded(one) for one in address.rsplit("@", 1))
    text = _ESCAPE.sub(_unescaped, text)
    for at in re.finditer(_BEFORE_AT + _AT, text):
        before = _folded(text[max(at.start() - 4 * LOCAL_PART_MAX, 0) : at.start()])
        if not before.endswith(local) or re.search(r"[\w.+-]\Z", before.removesuffix(local)):
            continue  # of nobody, or of somebody whose address ends so
        found = _DOMAIN.match(text, at.end())
        try:
            if found and _email(f"x@{found[1].rstrip('.')}").lower() != f"x@{domain}":
                continue
        except ValueError:
            pass
        return True
    return False


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else " "


def _email(value: str | tuple[str, str]) -> str:
    return parse(value, allow_test_domains=True).email


def _folded(text: str) -> str:
    """Return a text as it is compared: in lower case, with accents written in one way."""
    return unicodedata.normalize("NFC", text.lower())


def _count_out(connection: sa.Connection, job: sa.Row[Any], gone: Sequence[str | None]) -> None:
    """Correct what a job counts; a step that was prepared with what is erased is not done."""
    found = {**job.found, "rows": job.found["rows"] - len(gone)}
    for kind in LEFT_OUT:
        found[kind] -= gone.count(kind)
    to_mail = gone.count(None) if found["phase"] == "sending" else 0
    connection.execute(
        sa.update(Job)
        .where(Job.id == job.id)
        .values(
            found=found,
            total=Job.total - to_mail,
            claim=None,
            status=sa.case((Job.status == "running", as_asked()), else_=Job.status),
            wanted=None,
        )
    )
