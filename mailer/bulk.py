"""Bulk sends: one email to each row of a file, as a job that checks the whole file first."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from itertools import chain
from types import SimpleNamespace
from typing import IO, Any, NamedTuple

import sqlalchemy as sa

from . import jobs, recipients
from .bulk_steps import FOUND, first, lacking, of_all
from .content import Content
from .doorbell import JOBS
from .drafting import Request, draft
from .errors import (
    IdempotencyConflict,
    InvalidEmail,
    NotFound,
    Refused,
    RenderError,
    SettingError,
    TemplateError,
    UnreadableFile,
)
from .ledger import bulk as ledger
from .ledger.record import uuid7
from .preview import preview
from .recipients import Form
from .rendition import is_secret, subject
from .state import State

KIND = ledger.KIND
SHARED = (
    "template",
    "locale",
    "lane",
    "sender",
    "reply_to",
    "tags",
    "category",
    "subject",
    "text",
    "html",
    "is_test",
)
"""What all emails of a bulk send have alike, as `dispatch` calls it."""
PREVIEWED = 3
PROBLEMS_SHOWN = 1_000
NAME_MAX = 200
COUNTED_AT_ONCE = 20_000
"""Lines of which the emails are counted in one go: some 100 milliseconds."""
_CHUNK_BYTES = 65_536
_BEGINS_FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""Also as wide letters, which Excel takes for the others in some languages."""


class Upload(NamedTuple):
    """A file as it comes in."""

    name: str
    chunks: Iterable[bytes]
    is_csv: bool

    @classmethod
    def of(cls, name: str, file: IO[bytes]) -> Upload:
        """Return an open file; its name says whether it is CSV or JSON lines."""
        chunks = iter(lambda: file.read(_CHUNK_BYTES), b"")
        is_csv = not name.lower().endswith((".json", ".jsonl", ".ndjson"))
        return cls(name[:NAME_MAX], chunks, is_csv)


class FirstEmail(NamedTuple):
    """An email as its recipient would get it; without content, why it cannot be shown."""

    recipient: str
    content: Content | None
    words: str = ""


class Became(NamedTuple):
    """What became of emails by now."""

    numbers: Counter[str]
    """State of the delivery -> how many; ``deleted``: they are not there any more."""
    counted_to: int
    """The line up to which they were counted."""
    is_all: bool


def create(
    state: State,
    job_id: str,
    request: Request,
    upload: Upload,
    *,
    actor: str,
    key_id: str | None = None,
    confirm: bool = False,
    skip_bad: bool = False,
    only_to: Sequence[str] = (),
    admit: Callable[[int], None] = lambda lines: None,
) -> bool:
    """Store a bulk send, and wake a worker that checks its file. It waits for `start` then;
    ``confirm``: it starts by itself, unless rows are bad and not to be skipped (``skip_bad``).

    ``key_id``: the API key that sends it; ``only_to``: patterns of whom it may mail. ``admit`` is
    told how many lines the file has before anything comes of it, and may raise. False: there is one
    under this id already. Raises UnreadableFile, InvalidEmail, IdempotencyConflict.
    """
    request = replace(request, lane=request.lane or "bulk")
    _check_shared(state, request)
    file_id = uuid7()
    with _erased_unless_used(state, file_id) as keep:
        form, lines, digest = _store(state, file_id, request, upload)
        details = {
            "request": {name: getattr(request, name) for name in SHARED},
            "form": form._asdict(),
            "lines": lines,
            "confirm": confirm,
            "skip_bad": skip_bad,
            "only_to": list(only_to),
            "name": upload.name,
        }
        fingerprint = sha256(json.dumps([details, digest], sort_keys=True).encode()).hexdigest()
        details |= {"file": file_id, "fingerprint": fingerprint}
        if not _is_known(state, job_id, fingerprint):
            admit(lines - (1 if form.delimiter else 0))
        is_new = state.ledger.add_job(
            job_id, KIND, details, actor=actor, total=lines, found=FOUND, key_id=key_id
        )
        if is_new:
            keep()
        else:  # another one was quicker, perhaps with other content
            _is_known(state, job_id, fingerprint)
    state.jobs_bell.ring(JOBS, job_id)
    return is_new


def find(state: State, job_id: str) -> sa.Row[Any]:
    """Return the job of a bulk send. Raises NotFound."""
    job = state.ledger.job(job_id)
    if job.kind != KIND:
        raise NotFound(f"there is no bulk send {job_id!r}")
    return job


def stage(job: sa.Row[Any]) -> str:
    """Return what a bulk send is doing: ``checking``, ``checked``, ``sending``, ``paused``,
    ``done``, ``cancelled`` or ``failed``."""
    phase: str = job.found["phase"]
    status: str = job.status
    return {"queued": phase, "running": phase, "stopped": "cancelled"}.get(status, status)


def mailed(state: State, job: sa.Row[Any]) -> str:
    """Return what a bulk send mails: a template or, unless it is secret, a subject."""
    shared = SimpleNamespace(**job.details["request"])
    return str(shared.template or subject(state, shared))


def start(state: State, job_id: str, *, actor: str, skip_bad: bool = False) -> bool:
    """Send one that was checked. False: it is being sent already, or was. Raises NotFound; Refused
    while it is checked, when it was cancelled, or when rows are bad and not to be skipped."""
    job = find(state, job_id)
    if job.found["phase"] == "checking" and job.ended_at is None:
        raise Refused("its file is still being checked: start it once that is done")
    if job.status in {"stopped", "failed"}:
        raise Refused(f"it was {job.status}, and cannot be started: send it anew")
    if job.status == "checked" and job.found["bad"] and not (skip_bad or job.details["skip_bad"]):
        bad = "1 row is" if job.found["bad"] == 1 else f"{job.found['bad']} rows are"
        raise Refused(f"{bad} bad: mend the file and send it anew, or skip them")
    started = state.ledger.start_checked(job_id, actor=actor)
    if started:
        state.jobs_bell.ring(JOBS, job_id)
    return started


def pause(state: State, job_id: str, *, actor: str) -> bool:
    """Accept no more of its emails for now; those that were are sent. False: it rests already, or
    has ended."""
    find(state, job_id)
    return jobs.ask(state, job_id, "paused", actor=actor)


def resume(state: State, job_id: str, *, actor: str) -> bool:
    """Go on after a pause, or a failure that was mended. False: it does not rest."""
    find(state, job_id)
    return jobs.ask(state, job_id, "queued", actor=actor)


def cancel(state: State, job_id: str, *, unsent: bool, actor: str) -> bool:
    """End it now; ``unsent``: and cancel those of its emails that are still queued, by a job of
    their own. False: it had ended, and there was nothing to cancel."""
    job = find(state, job_id)
    stopped = jobs.ask(state, job_id, "stopped", actor=actor)
    if not unsent:
        return stopped
    details = {"bulk": job_id}
    total = find(state, job_id).changed if job.found["phase"] == "sending" else 0
    if not total:
        return stopped
    # Asked twice, it is one job; it goes on if it had failed.
    cancel_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"cancel {job_id}"))
    begins = jobs.start(state, cancel_id, "bulk_cancel", details, actor=actor, total=total)
    return stopped or begins or jobs.ask(state, cancel_id, "queued", actor=actor)


def previews(state: State, job: sa.Row[Any]) -> list[FirstEmail]:
    """Return the first emails, as they would be sent; nothing once the file is erased."""
    return [_first_email(state, row.to, made.email) for row, made in first(state, job, PREVIEWED)]


def became(state: State, job: sa.Row[Any], *, after: int = 0) -> Became:
    """Count what became of the emails that were made of the next `COUNTED_AT_ONCE` lines behind
    one."""
    end = job.cursor if job.found["phase"] == "sending" else 0
    after = min(after, end)
    to = min(after + COUNTED_AT_ONCE, end)
    with state.database.read() as connection:
        numbers = Counter(ledger.became(connection, job.id, after, to))
    return Became(numbers, to, is_all=to == end)


def report(state: State, job_id: str) -> Iterator[tuple[Any, ...]]:
    """Yield the report: its header, then a row of it for each row of the file."""
    yield ("line", "address", "state", "code", "words", "email_id")
    for row in ledger.report(state.database, job_id):
        if row.left_out:
            state_of = f"left out: {row.left_out}"
        elif row.email_id is None:
            state_of = "not accepted"
        else:
            state_of = row.state or ledger.DELETED
        address, words = (_as_text(value) for value in (row.address, row.words))
        yield (row.line, address, state_of, row.code, words, row.email_id)


def _as_text(value: str | None) -> str | None:
    """Keep a spreadsheet from taking for a formula what others wrote (OWASP, CSV Injection)."""
    return f"'{value}" if value and value[0] in _BEGINS_FORMULA else value


def written(rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """Yield rows as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for row in rows:
        writer.writerow(row)
        if buffer.tell() > _CHUNK_BYTES:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _first_email(state: State, recipient: str, email: Mapping[str, Any]) -> FirstEmail:
    template = email["template"]
    if is_secret(state, template, email["lane"]):
        return FirstEmail(recipient, None, "What it says may be a secret: it is not shown.")
    if template is None:
        return FirstEmail(recipient, Content(email["subject"], email["text"] or "", email["html"]))
    try:
        content = preview(
            state, template, email["context"], email["locale"], category=email.get("category")
        ).content
    except (RenderError, SettingError, TemplateError) as error:
        return FirstEmail(recipient, None, str(error))
    return FirstEmail(recipient, content._replace(subject=email["subject"] or content.subject))


def _check_shared(state: State, request: Request) -> None:
    """Find out at once what would be wrong with every row."""
    try:
        draft(state, request)
    except InvalidEmail as error:
        if problems := of_all(error):
            raise InvalidEmail(problems) from error


def _store(state: State, file_id: str, request: Request, upload: Upload) -> tuple[Form, int, str]:
    """Store a file part by part; return how it is written, how many lines it has, its digest."""
    digest = sha256()
    form, parts = recipients.read(upload.chunks, is_csv=upload.is_csv)
    if words := lacking(state, request, form):
        raise UnreadableFile(f"line 1: {words}")
    head = next(parts)
    if next(recipients.rows(head, form), None) is None:
        raise UnreadableFile("expected at least one recipient, got none")
    lines = 0
    for part in chain([head], parts):
        digest.update(part.data)
        state.ledger.add_bulk_part(file_id, part)
        lines += part.lines
    return form, lines, digest.hexdigest()


@contextmanager
def _erased_unless_used(state: State, file_id: str) -> Iterator[Callable[[], None]]:
    kept: list[bool] = []
    try:
        yield lambda: kept.append(True)
    finally:
        if not kept:
            state.ledger.erase_bulk_file(file_id)


def _is_known(state: State, job_id: str, fingerprint: str) -> bool:
    try:
        job = state.ledger.job(job_id)
    except NotFound:
        return False
    if job.details.get("fingerprint") != fingerprint:
        raise IdempotencyConflict(f"there is a bulk send {job_id} with other content")
    return True
