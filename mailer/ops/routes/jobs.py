"""Jobs: start work over many deliveries, watch it, stop it."""

from __future__ import annotations

from typing import Any

from flask import make_response, redirect, request, url_for
from werkzeug.exceptions import BadRequest

from ... import jobs, results
from ...errors import NotFound
from ...ledger import failures
from ...ledger.failures import Matching
from ...state import current
from .. import access
from ..blueprint import Answer, view
from ..given import form_id, whole
from ..pages import done, page
from .failed import VERBS, matching

_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "retry": ("retry", {}),
    "cancel": ("cancel", {}),
    "sent": ("resolve", {"sent": True}),
    "resend": ("resolve", {"sent": False}),
}


@view("POST", "/jobs", role="operator")
def start_job() -> Answer:
    """Start what was confirmed. The id comes with the form: sent twice, it is started once."""
    form = request.form
    state, verb = form.get("state", ""), form.get("verb", "")
    if verb not in VERBS.get(state, ()):
        raise BadRequest(f"verb: expected what can be done to what is {state!r}, got {verb!r}")
    job_id = form_id("job_id", form.get("job_id", ""))
    cause, below = form.get("cause", ""), whole("below", form.get("below", ""))
    ids = {whole("ids", one) for one in form.getlist("ids")}
    found = Matching(sorted(ids), None)
    if not ids:
        found = matching(state, cause, failures.LOOKED_AT, below=below)
    if found.ids or found.next_id is not None:
        kind, details = _KINDS[verb]
        which = {"ids": found.ids} if ids else {"state": state, "cause": cause}
        is_more = found.next_id is not None
        jobs.start(
            current(),
            job_id,
            kind,
            {**details, **which, "below": below, "verb": verb, "is_more": is_more},
            actor=access.actor(),
            total=len(found.ids),
        )
    elif not _is_known(job_id):
        return done("Nothing of it is left to do.", url_for("ops.failed"))
    return done("Started.", url_for("ops.job", job_id=job_id))


@view("GET", "/jobs/<job_id>", role="viewer")
def job(job_id: str) -> Answer:
    """Show how far it is."""
    found = current().ledger.job(job_id)
    if found.kind == "bulk":
        return make_response(redirect(url_for("ops.bulk_send", job_id=job_id), 303))
    words = results.of_job(current(), found).progress.get("words", "")
    return page("job", job=found, words=words)


@view("POST", "/jobs/<job_id>/stop", role="operator")
def stop_job(job_id: str) -> Answer:
    """Have it end after its present step; what was done stays done."""
    stopped = jobs.ask(current(), job_id, "stopped", actor=access.actor())
    words = "It stops." if stopped else "It has ended already, or stops."
    return done(words, url_for("ops.job", job_id=job_id))


def _is_known(job_id: str) -> bool:
    try:
        current().ledger.job(job_id)
    except NotFound:
        return False
    return True
