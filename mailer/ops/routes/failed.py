"""Failed: what did not go well, by its reason; retry, cancel or resolve some or all of it."""

from __future__ import annotations

from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest, NotFound

from ... import health
from ...ledger import failures
from ...ledger.failures import Matching
from ...ledger.record import uuid7
from ...state import current
from ..blueprint import Answer, view
from ..given import whole
from ..pages import page

_SHOWN = 50
_NAMED = 10
"""Recipients that are named before it is done."""

VERBS = {
    "failed": ("retry",),
    "expired": ("retry",),
    "unknown": ("sent", "resend"),
    "deferred": ("retry", "cancel"),
}
"""State -> what can be done about it."""
BUTTONS = {
    "retry": "Retry",
    "cancel": "Cancel",
    "sent": "The server has it",
    "resend": "Send again",
}
_NEED_CONTENT = ("retry", "resend")
_MEANINGS = {
    "retry": "They are tried again at once; those that had failed get fresh attempts.",
    "cancel": "They are not sent any more.",
    "sent": "They count as sent, and nothing more happens.",
    "resend": "They are sent again. If a server had one of them after all, its recipient gets it"
    " twice.",
}


@view("GET", "/failed", role="viewer")
def failed() -> Answer:
    """Show the reasons, the most frequent first."""
    work, _ = current().ledger.jobs(5)
    return page(
        "failed", found=current().ledger.failures(), work=work, looked_at=failures.LOOKED_AT
    )


@view("GET", "/failed/<state>/<cause>", role="viewer")
def failure(state: str, cause: str) -> Answer:
    """Show the deliveries of one reason, the newest first."""
    below = whole("below", request.args["below"]) if "below" in request.args else None
    rows, next_id = _shown(state, cause, _SHOWN, below=below)
    said = rows[:1] or _shown(state, cause, 1)[0]
    return page(
        "failure",
        state=state,
        cause=cause,
        rows=rows,
        is_full=len(rows) == _SHOWN,
        next_id=next_id,
        said=said[0] if said else None,
        words=failures.fold(said[0].reason) if said else "",
        buttons={verb: BUTTONS[verb] for verb in VERBS[state]},
        hindrances=_hindrances({row.lane for row in rows}),
    )


@view("GET", "/failed/<state>/<cause>/confirm", role="operator")
def confirm(state: str, cause: str) -> Answer:
    """Say what would be done, to how many and to whom, before it is. Nothing changes."""
    ids_of_it, next_id = matching(state, cause, failures.LOOKED_AT)
    verb = request.args.get("verb", "")
    if verb not in VERBS[state]:
        expected = ", ".join(VERBS[state])
        raise BadRequest(f"verb: expected one of {expected} for what is {state}, got {verb!r}")
    ids = {whole("ids", one) for one in request.args.getlist("ids")}
    chosen = current().ledger.meant([id for id in ids_of_it if not ids or id in ids])
    erased = [one for one in chosen if one.is_erased and verb in _NEED_CONTENT]
    suppressed = [
        one for one in chosen if one.is_suppressed and verb == "retry" and one not in erased
    ]
    left_out = {one.delivery_id for one in (*erased, *suppressed)}
    meant = [one for one in chosen if one.delivery_id not in left_out]
    recipients = list(dict.fromkeys(row.recipient for row in meant))
    return page(
        "confirm",
        state=state,
        cause=cause,
        verb=verb,
        button=BUTTONS[verb],
        meaning=_MEANINGS[verb],
        meant=meant,
        is_some=bool(ids),
        looked_at=failures.LOOKED_AT if next_id is not None and not ids else None,
        erased=len(erased),
        suppressed=len(suppressed),
        recipients=recipients[:_NAMED],
        others=len(recipients) - _NAMED,
        hindrances=_hindrances({row.lane for row in meant}) if verb in _NEED_CONTENT else [],
        job_id=uuid7(),
    )


def matching(state: str, cause: str, limit: int, *, below: int | None = None) -> Matching:
    """Return deliveries of one reason. Raises NotFound."""
    if state not in VERBS:
        raise NotFound(f"Failures are in the states {', '.join(VERBS)}.")
    with current().database.read() as connection:
        return failures.matching(connection, state, cause, below=below, limit=limit)


def _shown(
    state: str, cause: str, limit: int, *, below: int | None = None
) -> tuple[list[Any], int | None]:
    ids, next_id = matching(state, cause, limit, below=below)
    with current().database.read() as connection:
        return failures.shown(connection, ids), next_id


def _hindrances(lanes: set[str]) -> list[str]:
    """Return why mail of these lanes cannot leave now."""
    found = [health.hindrance(current(), lane) for lane in sorted(lanes)]
    return list(dict.fromkeys(words for words in found if words))
