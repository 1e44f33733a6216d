"""The steps of a bulk send: check the whole file, wait to be told to start, accept its emails.

Its job's details: ``request`` (the arguments of ``dispatch`` that all emails share), ``file``,
``form``, ``lines``, ``confirm`` (start without being told), ``skip_bad``, ``only_to`` (whom the key
that asked may mail). What it found: its ``phase``, and how many rows it has of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from . import unsubscribe
from .drafting import Request, draft, required
from .errors import InvalidEmail, MailerError, Problem, TemplateError
from .grants import matches
from .headers import shown
from .ledger import Draft, Filters, bulk, operations, suppressions
from .ledger.bulk import Judged
from .ledger.jobs import Lost, Step, Waits
from .recipients import Form, Row, rows
from .state import State
from .words import one_line

CHECKED_AT_ONCE = 1_000
ACCEPTED_AT_ONCE = 200
"""Few, so that SQLite's one write lock is held for some milliseconds."""
CANCELLED_AT_ONCE = 500
REASON_MAX = 300
_OF_A_ROW = frozenset({"to", "context"})
FOUND: dict[str, Any] = {"phase": "checking", "rows": 0, "bad": 0, "duplicate": 0, "suppressed": 0}
"""What a bulk send begins with."""

Apply = Callable[[sa.Connection], Step]


class Erased(MailerError):
    """The file of a bulk send is not there any more."""


def prepare(state: State, job: sa.Row[Any]) -> Apply:
    """Prepare to check the next rows, or to accept their emails."""
    return (_check if job.found["phase"] == "checking" else _accept)(state, job)


def drafted(state: State, job: sa.Row[Any], row: Row) -> Draft:
    """Return the email of a row. Raises ValueError, which says what is wrong with it, or Waits with
    what is wrong with all."""
    if row.wrong:
        raise ValueError(row.wrong)
    if not row.to:
        raise ValueError("email: expected an address, got none")
    shared = Request(**job.details["request"])
    context = row.context
    if shared.template is None:  # the name is in the address
        context = {key: value for key, value in context.items() if key != "name"}
    request = replace(
        shared,
        to=row.recipient,
        context=context,
        locale=row.locale or shared.locale,
    )
    try:
        found = draft(state, request)
    except InvalidEmail as error:
        if problems := of_all(error, row):
            raise Waits(str(InvalidEmail(problems))) from error
        if words := lacking(state, shared, Form(**job.details["form"])):
            raise Waits(words) from error  # the template was changed since the file came
        raise ValueError(_as_in_file(str(error), row)) from error
    if not all(matches(one.lower(), job.details["only_to"]) for one in found.recipients):
        raise ValueError(f"the API key may not send to {', '.join(found.recipients)}")
    found.email["accepted_by"] = f"bulk send {job.id} of {job.actor}"
    return found


def of_all(error: InvalidEmail, row: Row | None = None) -> list[Problem]:
    """Return those problems of an email that are not of its row, but of all."""
    own = _OF_A_ROW | ({"locale"} if row and row.locale else set())
    return [one for one in error.problems if one.field.partition("[")[0] not in own]


def lacking(state: State, request: Request, form: Form) -> str:
    """Say which columns a file lacks, so that no row of it can be mailed; empty: none. Of JSON
    lines each may have other variables."""
    if request.template is None or not form.delimiter:
        return ""
    needed: list[frozenset[str]] = []
    with suppress(TemplateError):  # is said of all, or of the rows in that language
        locales = {request.locale}
        if "locale" in form.columns:  # a row may be in a language whose files need less
            locales |= {None, *state.renderer.template(request.template).locales}
        for one in locales:
            with suppress(TemplateError):
                needed.append(required(state, request.template, one))
    if not needed:
        return ""
    lacks = frozenset.intersection(*needed) - form.variables
    if request.category is not None:
        lacks -= {unsubscribe.VARIABLE}
    if not lacks:
        return ""
    column = "a column" if len(lacks) == 1 else "columns"
    got = one_line(", ".join(form.columns), 200)
    names = ", ".join(sorted(lacks))
    return f"expected {column} {names}, which template {request.template!r} needs, got {got}"


def _as_in_file(words: str, row: Row) -> str:
    """Return what is wrong with a row, with its address in words rather than as Python has it."""
    named = f"{shown(row.to)} with the name {shown(row.name)}"
    return words.replace(shown((row.name, row.to)), named)


def first(state: State, job: sa.Row[Any], limit: int) -> list[tuple[Row, Draft]]:
    """Return the first emails of the file's first part, less those of rows that are left out."""
    found: list[tuple[Row, Draft]] = []
    with state.database.read() as connection:
        part = bulk.part_at(connection, job.details["file"], 1)
        if part is None:
            return found
        waiting = bulk.waiting(connection, job.id, part.first_line, part.first_line + part.lines)
    for row in rows(part, Form(**job.details["form"])):
        if row.line not in waiting:
            continue
        try:
            found.append((row, drafted(state, job, row)))
        except ValueError:
            continue
        except Waits:
            break
        if len(found) == limit:
            break
    return found


def _check(state: State, job: sa.Row[Any]) -> Apply:
    found, cursor = _next(state, job, CHECKED_AT_ONCE)
    judged = list(_judged(state, job, found))
    counts = dict(job.found)
    counts["rows"] += len(judged)
    for one in judged:
        if one.left_out:
            counts[one.left_out] += 1
    is_last = cursor >= job.details["lines"]
    left = counts["rows"] - counts["bad"] - counts["duplicate"] - counts["suppressed"]
    goes_on = job.details["confirm"] and (job.details["skip_bad"] or not counts["bad"])

    def apply(connection: sa.Connection) -> Step:
        bulk.add_rows(connection, job.id, judged)
        if not is_last:
            return Step(cursor, cursor - job.cursor, 0, is_last=False, found=counts)
        return Step(
            cursor=0,
            done=0,
            changed=0,
            is_last=False,
            found={**counts, "phase": "sending"},
            begins=left,
            rests_as=None if goes_on else "checked",
        )

    return apply


def _accept(state: State, job: sa.Row[Any]) -> Apply:
    found, cursor = _next(state, job, ACCEPTED_AT_ONCE)
    with state.database.read() as connection:
        lines = (found[0].line, found[-1].line) if found else (1, 0)
        waiting = bulk.waiting(connection, job.id, *lines)
    drafts: dict[int, Draft] = {}
    wrong: list[Judged] = []
    for row in found:
        if row.line not in waiting:
            continue
        try:
            drafts[row.line] = drafted(state, job, row)
        except ValueError as error:  # not when it was checked: a template was changed since
            wrong.append(Judged(row.line, None, "bad", one_line(str(error), REASON_MAX)))
    is_last = cursor >= job.details["lines"]

    def apply(connection: sa.Connection) -> Step:
        recorded = state.ledger.record(connection, list(drafts.values())) if drafts else []
        ids = {line: one.values["id"] for line, one in zip(drafts, recorded, strict=True)}
        bulk.note(connection, job.id, ids, wrong)
        if is_last:
            bulk.erase_file(connection, job.details["file"])
        return Step(
            cursor=cursor,
            done=len(recorded),
            changed=len(recorded),
            fewer=len(wrong),
            is_last=is_last,
            due={one.values["lane"]: one.values["id"] for one in recorded[:1]},
            accepted=recorded,
            found={**job.found, "bad": job.found["bad"] + len(wrong)} if wrong else None,
        )

    return apply


def prepare_cancel(state: State, job: sa.Row[Any]) -> Apply:
    """Prepare to cancel the next emails of a bulk send that was stopped."""
    with state.database.read() as connection:
        chosen = bulk.emails_after(connection, job.details["bulk"], job.cursor, CANCELLED_AT_ONCE)
    ids = [row.email_id for row in chosen]

    def apply(connection: sa.Connection) -> Step:
        conditions = Filters(email_ids=ids).conditions()
        changed = operations.cancel(connection, conditions, job.actor) if ids else []
        return Step(
            cursor=chosen[-1].line if chosen else job.cursor,
            done=len(ids),
            changed=len(changed),
            is_last=len(ids) < CANCELLED_AT_ONCE,
        )

    return apply


def _next(state: State, job: sa.Row[Any], limit: int) -> tuple[list[Row], int]:
    """Return the next rows, and the line up to which they are; after the last of a part, its
    end."""
    with state.database.read() as connection:
        part = bulk.part_at(connection, job.details["file"], job.cursor + 1)
    if part is None:
        if state.ledger.job(job.id).status != "running":
            raise Lost(f"job {job.id} was stopped")
        raise Erased("its file is not there any more")
    found = []
    for row in rows(part, Form(**job.details["form"]), after=job.cursor):
        found.append(row)
        if len(found) == limit:
            return found, row.last_line
    return found, part.first_line + part.lines - 1


def _judged(state: State, job: sa.Row[Any], found: Sequence[Row]) -> Iterator[Judged]:
    drafts: dict[int, Draft | ValueError] = {}
    for row in found:
        try:
            drafts[row.line] = drafted(state, job, row)
        except ValueError as error:
            drafts[row.line] = error
    good = [one.recipients[0].lower() for one in drafts.values() if isinstance(one, Draft)]
    with state.database.read() as connection:
        seen = bulk.seen(connection, job.id, good)
        known = suppressions.among(connection, good) if good else {}
    for line, one in drafts.items():
        if not isinstance(one, Draft):
            yield Judged(line, None, "bad", one_line(str(one), REASON_MAX))
            continue
        address = one.recipients[0].lower()
        if address in seen:
            yield Judged(line, address, "duplicate", f"the address of line {seen[address]} again")
            continue
        seen[address] = line
        hit = suppressions.choose(known, address, one.email.get("category"))
        lane = one.email["lane"]
        if hit and not state.renderer.overrides_suppressions(one.email["template"], lane):
            yield Judged(line, address, "suppressed", one_line(hit.reason, REASON_MAX))
        else:
            yield Judged(line, address)
