"""One email: what became of each copy and why, what it says, and what can be done about it."""

from __future__ import annotations

from datetime import UTC

from flask import Response, request, url_for

from ... import dispatcher, instants
from ...errors import InvalidEmail, NotFound
from ...ledger import Filters
from ...ledger.operations import Changed
from ...ledger.queries import History
from ...models import OPEN, RETRYABLE
from ...rendition import rendition
from ...state import current
from ...why import evidence, following, held_back
from .. import access
from ..blueprint import Answer, view
from ..message import shown
from ..pages import done, is_part, page
from ..timeline import timeline


@view("GET", "/emails/<email_id>", role="viewer")
def email(email_id: str) -> Answer:
    """Show it."""
    state = current()
    history = known(email_id)
    held = held_back(state, history)
    return page(
        "email",
        email=history.email,
        history=history,
        following=following(state, history, held),
        held=held,
        evidence=evidence(state, history, held),
        timeline=timeline(history, state.ledger.told(email_id)),
        retryable={*RETRYABLE, "deferred"},
        is_open=any(one.status in OPEN for one in history.deliveries),
        message=None if is_part() else shown(rendition(state, history.email)),
        tab=request.args.get("tab", "html"),
    )


@view("POST", "/emails/<email_id>/retry", role="operator")
def retry_email(email_id: str) -> Answer:
    """Send again what failed, and what is deferred now."""
    chosen = _chosen(email_id)
    changed = dispatcher.retry(chosen, actor=access.actor())
    nothing = "nothing of it failed or was deferred"
    if held := current().ledger.held_back(chosen, None)[1]:
        nothing = f"{', '.join(one.recipient for one in held)} would be suppressed again"
    return _done(email_id, "Retried", changed, nothing)


@view("POST", "/emails/<email_id>/cancel", role="operator")
def cancel_email(email_id: str) -> Answer:
    """Cancel what is queued."""
    changed = dispatcher.cancel(_chosen(email_id), actor=access.actor())
    return _done(email_id, "Cancelled", changed, "nothing of it is queued any more")


@view("POST", "/emails/<email_id>/resolve", role="operator")
def resolve_email(email_id: str) -> Answer:
    """Say what became of what is unknown."""
    verdict = request.form.get("verdict")
    chosen = _chosen(email_id)
    if verdict not in {"sent", "resend"}:
        return done(f"verdict: expected sent or resend, got {verdict!r}", _address(email_id))
    changed = dispatcher.resolve(chosen, sent=verdict == "sent", actor=access.actor())
    words = "Recorded as sent:" if verdict == "sent" else "Sending again"
    nothing = "nothing of it is unknown any more"
    if verdict == "resend" and known(email_id).email.erased_at:
        nothing = "its content was erased"
    return _done(email_id, words, changed, nothing)


@view("POST", "/emails/<email_id>/reschedule", role="operator")
def reschedule_email(email_id: str) -> Answer:
    """Send it at another time."""
    known(email_id)
    try:
        send_at = instants.future(request.form.get("send_at", "").strip(), UTC)
        changed = dispatcher.reschedule(email_id, send_at, actor=access.actor())
    except (ValueError, InvalidEmail) as error:
        words = str(error).removeprefix("send_at: ")
        return done(f"send_at: {words}", _address(email_id))
    return _done(email_id, "Rescheduled", changed, "nothing of it waits for its time any more")


def known(email_id: str) -> History:
    """Return an email with all that happened to it. Raises NotFound."""
    return current().ledger.show(email_id)


def _chosen(email_id: str) -> Filters:
    """Return the copy that a form is about, or all of them. Raises NotFound."""
    recipient = request.form.get("recipient") or None
    if recipient not in {None, *(one.recipient for one in known(email_id).deliveries)}:
        raise NotFound(f"email {email_id} has no recipient {recipient!r}")
    return Filters(email_id=email_id, recipient=recipient)


def _done(email_id: str, verb: str, changed: list[Changed], nothing: str) -> Response:
    number = len(changed)
    words = f"{verb} {number} {'delivery' if number == 1 else 'deliveries'}."
    return done(words if changed else f"Nothing changed: {nothing}.", _address(email_id))


def _address(email_id: str) -> str:
    return url_for("ops.email", email_id=email_id)
