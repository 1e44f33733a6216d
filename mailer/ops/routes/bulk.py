"""Bulk: send one email to each row of a file, and watch it."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

import sqlalchemy as sa
from flask import Response, abort, make_response, redirect, request, stream_with_context, url_for

from ... import bulk, errors, results
from ...drafting import Request
from ...ledger.bulk import DELETED
from ...ledger.record import uuid7
from ...models import LANES, Status
from ...state import current
from .. import access
from ..blueprint import FRAME, Answer, console, view
from ..given import form_id, whole
from ..pages import done, is_part, page

_SHOWN = 25
_PROBLEMS = 100
_COUNTED = (*(status.value for status in Status), DELETED)
_OPTIONS = ("template", "subject", "sender", "locale", "lane")


@console.url_value_preprocessor
def _allow_files(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Take a file from whom it is taken from: before the form is read for its token."""
    if endpoint == "ops.upload_bulk" and access.member_may("operator"):
        request.max_content_length = current().config["MAILER_MAX_BULK_BYTES"]


@view("GET", "/bulk", role="viewer")
def bulk_sends() -> Answer:
    """List them, the newest first."""
    after = request.args.get("after")
    rows, has_more = current().ledger.jobs(_SHOWN, after, kind=bulk.KIND)
    return page("bulk", rows=[(row, bulk.stage(row)) for row in rows], has_more=has_more)


@view("GET", "/bulk/new", role="operator")
def new_bulk() -> Answer:
    """Ask for the file and the template."""
    return _form()


@view("POST", "/bulk/new", role="operator")
def upload_bulk() -> Answer:
    """Store the file; a worker checks it. The id comes with the form: sent twice, it is one."""
    form = request.form
    file = request.files.get("file")
    if file is None or not file.filename:
        return _form(status=422, error="Please choose a file.")
    given: dict[str, Any] = {name: form.get(name, "").strip() or None for name in _OPTIONS}
    job_id = form_id("job_id", form.get("job_id", ""))
    upload = bulk.Upload.of(file.filename, file.stream)
    try:
        bulk.create(
            current(),
            job_id,
            Request(**given),
            upload,
            actor=access.actor(),
            skip_bad="skip_bad" in form,
        )
    except (errors.InvalidEmail, errors.UnreadableFile) as error:
        return _form(status=422, error=str(error))
    except errors.IdempotencyConflict:
        return _form(status=409, error="This form has sent another file already: now it is new.")
    return done("The file is stored. It is checked now.", url_for("ops.bulk_send", job_id=job_id))


@view("GET", "/bulk/<job_id>", role="viewer")
def bulk_send(job_id: str) -> Answer:
    """Show what its check found, and how far it is."""
    job = bulk.find(current(), job_id)
    is_large = job.details["lines"] > bulk.COUNTED_AT_ONCE
    may_see = access.member_may("operator") and bulk.stage(job) == "checked"
    return page(
        "bulk_send",
        job=job,
        stage=bulk.stage(job),
        result=results.of_job(current(), job),
        left_out=current().ledger.left_out(job.id, _PROBLEMS),
        previews=bulk.previews(current(), job) if may_see else (),
        became=bulk.became(current(), job) if job.changed and not is_large else None,
        is_counted_apart=is_large and job.found["phase"] == "sending" and job.status != "checked",
    )


@view("GET", "/bulk/<job_id>/became", role="viewer")
def bulk_became(job_id: str) -> Answer:
    """Show what became of its emails. Of many they are counted part by part: the page asks again,
    and says what was counted until then."""
    job = bulk.find(current(), job_id)
    if not is_part():
        return make_response(redirect(url_for("ops.bulk_send", job_id=job.id), 303))
    after, *counted = (whole(name, request.args.get(name, "0")) for name in ("after", *_COUNTED))
    if sum(counted) > min(after, job.details["lines"]):
        abort(400, f"after: expected at least as many lines as were counted, got {after}")
    became = bulk.became(current(), job, after=after)
    became.numbers.update(dict(zip(_COUNTED, counted, strict=True)))
    return page("bulk_became", job=job, became=became, now=datetime.now(UTC))


@view("GET", "/bulk/<job_id>/preview/<number>", role="operator")
def bulk_preview(job_id: str, number: str) -> Answer:
    """Show one of its first emails, for the frame of the page."""
    previews = dict(enumerate(bulk.previews(current(), bulk.find(current(), job_id)), 1))
    found = previews.get(whole("number", number))
    if found is None or found.content is None:
        abort(404, "There is no such email to look at, or no more.")
    text = f'<pre style="white-space: pre-wrap">{escape(found.content.text)}</pre>'
    response = Response(found.content.html or text, mimetype="text/html")
    response.headers["Content-Security-Policy"] = FRAME
    return response


@view("GET", "/bulk/<job_id>/report", role="viewer")
def bulk_report(job_id: str) -> Answer:
    """Save what became of each row."""
    rows = bulk.written(bulk.report(current(), bulk.find(current(), job_id).id))
    response = Response(stream_with_context(rows), mimetype="text/csv")
    response.headers["Content-Disposition"] = f"attachment; filename=bulk-{job_id}.csv"
    return response


@view("POST", "/bulk/<job_id>/start", role="operator")
def start_bulk(job_id: str) -> Answer:
    """Start it."""
    job = bulk.find(current(), job_id)
    try:
        started = bulk.start(
            current(), job.id, actor=access.actor(), skip_bad="skip_bad" in request.form
        )
    except errors.Refused as error:
        return _steered(job, f"Not started: {error}.")
    return _steered(job, "Started." if started else "It was started before.")


@view("POST", "/bulk/<job_id>/pause", role="operator")
def pause_bulk(job_id: str) -> Answer:
    """Pause it."""
    job = bulk.find(current(), job_id)
    paused = bulk.pause(current(), job.id, actor=access.actor())
    return _steered(job, "It pauses." if paused else "It rests already, or has ended.")


@view("POST", "/bulk/<job_id>/resume", role="operator")
def resume_bulk(job_id: str) -> Answer:
    """Go on after a pause."""
    job = bulk.find(current(), job_id)
    resumed = bulk.resume(current(), job.id, actor=access.actor())
    return _steered(job, "It goes on." if resumed else "It is not paused.")


@view("POST", "/bulk/<job_id>/cancel", role="operator")
def cancel_bulk(job_id: str) -> Answer:
    """End it for good."""
    job = bulk.find(current(), job_id)
    unsent = "unsent" in request.form
    ended = bulk.cancel(current(), job.id, unsent=unsent, actor=access.actor())
    return _steered(job, "Cancelled." if ended else "It had ended.")


def _form(status: int = 200, error: str = "") -> Response:
    return page(
        "new_bulk",
        status=status,
        error=error,
        given=request.form,
        templates=current().renderer.names(),
        lanes=LANES,
        job_id=uuid7(),
        megabytes=current().config["MAILER_MAX_BULK_BYTES"] / 1_000_000,
    )


def _steered(job: sa.Row[Any], words: str) -> Response:
    return done(words, url_for("ops.bulk_send", job_id=job.id))
