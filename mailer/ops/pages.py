"""Pages of the console: how they are rendered, and how values read on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask, current_app, flash, make_response, redirect, render_template, request
from flask.wrappers import Response
from markupsafe import Markup

from .. import bulk, rendition
from ..outcome import said
from ..state import current
from ..why import Sentence, Verb
from . import access
from .blueprint import VIEWS, console

NAVIGATION = (
    ("ops.overview", "Overview"),
    ("ops.emails", "Emails"),
    ("ops.failed", "Failed"),
    ("ops.bulk_sends", "Bulk"),
    ("ops.templates", "Templates"),
    ("ops.transports", "Transports"),
    ("ops.suppressions", "Suppressions"),
    ("ops.webhooks", "Webhooks"),
    ("ops.keys", "Keys"),
    ("ops.audit", "Audit"),
)
"""Endpoint -> what it is called, in the order of the menu."""


def page(name: str, /, *, status: int = 200, **context: object) -> Response:
    """Return page ``ops/NAME.html``; to a request of its live part, ``ops/_NAME.html`` alone, if it
    has one."""
    names = [f"ops/_{name}.html"] if is_part() else []
    html = render_template([*names, f"ops/{name}.html"], **context)
    response = make_response(html, status)
    response.headers["Vary"] = "HX-Request, Cookie"
    return response


def is_part() -> bool:
    """Say whether the live part of a page is asked for, and not the page."""
    return "HX-Request" in request.headers


def done(words: str, address: str) -> Response:
    """Say on the next page, at ``address``, what was done."""
    flash(words)
    return make_response(redirect(address, 303))


def init_app(app: Flask) -> None:
    """Give templates what they show values with."""
    app.jinja_env.filters.update(
        ago=ago,
        badge=badge,
        instant=instant,
        job_name=job_name,
        mailed=mailed,
        number=number,
        planned=planned,
        sentence=sentence,
        span=span,
        subject=subject,
    )
    app.jinja_env.tests["ahead"] = is_ahead


@console.context_processor
def _of_every_page() -> dict[str, object]:
    return {
        "product_name": current_app.config["MAILER_PRODUCT_NAME"],
        "member": access.member(),
        "navigation": _navigation(),
        "is_by_proxy": access.is_by_proxy(),
        "said": said,
    }


def _navigation() -> list[tuple[str, str]]:
    """Return what of the menu whoever makes this request may open."""
    roles = {view.endpoint: view.role for view in VIEWS}
    return [one for one in NAVIGATION if access.member_may(roles[one[0]] or "viewer")]


_BADGES = {
    **dict.fromkeys(("sent", "delivered", "done", "ok"), "good"),
    **dict.fromkeys(("sending", "running", "checking"), "busy"),
    **dict.fromkeys(("queued", "deferred", "scheduled", "paused", "checked"), "wait"),
    **dict.fromkeys(("failed", "unknown", "bounced", "complained", "trouble"), "bad"),
    "bad": "bad",
}
"""State -> its colour; the others have none."""


def badge(state: str) -> Markup:
    """Write a state of a delivery or of a job."""
    colour = _BADGES.get(state, "off")
    return Markup('<span class="state {}">{}</span>').format(colour, state)


_JOB_NAMES = {
    "retry": "Retry",
    "cancel": "Cancel",
    "sent": "Resolve as sent",
    "resend": "Send again",
}


def mailed(job: Any) -> str:
    """Write what a bulk send mails: a template or, unless it is secret, a subject."""
    return bulk.mailed(current(), job)


def job_name(job: Any) -> str:
    """Write what a job does."""
    if job.kind == "bulk":
        return f"{mailed(job)} to {job.details['name'] or 'a list'}"
    if job.kind == "bulk_cancel":
        return f"Cancel what is queued of {number(job.total)} emails"
    name = _JOB_NAMES.get(job.details.get("verb"), job.kind.capitalize())
    what = "delivery" if job.total == 1 else "deliveries"
    return f"{name} {number(job.total)} {what}"


def instant(value: datetime | None) -> Markup:
    """Write an instant in UTC, which the browser turns into local time; a dash for None."""
    if value is None:
        return Markup("–")
    return Markup('<time datetime="{}">{}</time>').format(*_in_utc(value))


def ago(value: datetime | None) -> Markup:
    """Write how long ago an instant was, with the instant behind it."""
    return _relative(value, "{} ago")


def planned(value: datetime | None) -> Markup:
    """Write how far ahead an instant is at which something is to be done, or for how long that has
    been due."""
    return _relative(value, "due for {}")


def _relative(value: datetime | None, past: str) -> Markup:
    if value is None:
        return Markup("–")
    seconds = (datetime.now(UTC) - value).total_seconds()
    words = past.format(span(seconds)) if seconds >= 0 else f"in {span(-seconds)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(*_in_utc(value), words)


def _in_utc(value: datetime) -> tuple[str, str]:
    """Write an instant for programs and for people."""
    shown = value.astimezone(UTC)
    return shown.isoformat(timespec="seconds"), f"{shown:%Y-%m-%d %H:%M:%S} UTC"


def is_ahead(value: datetime | None) -> bool:
    """Say whether an instant is yet to come."""
    return value is not None and value > datetime.now(UTC)


def subject(email: Any) -> str | None:
    """Write the subject that an email (a row) was dispatched with, unless it is secret."""
    return rendition.subject(current(), email)


_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def span(seconds: float | None) -> str:
    """Write a duration in its largest unit, with one decimal where that says more."""
    if seconds is None:
        return "–"
    for size, unit in _UNITS:
        if seconds >= size:
            amount = round(seconds / size, 1)
            return f"{amount:g} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def number(value: int) -> str:
    """Write a whole number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


_BUTTON_OF = {
    Verb.RETRY: "Retry",
    Verb.RESOLVE_SENT: "It was sent",
    Verb.RESOLVE_RESEND: "Send it again",
}


def sentence(parts: Sentence) -> Markup:
    """Write a sentence about an email, with the words of buttons for what can be done."""
    return Markup("").join(map(_written, parts))


def _written(part: str | datetime | timedelta | Verb) -> str | Markup:
    match part:
        case str():
            return part
        case datetime():
            return instant(part)
        case timedelta():
            return span(part.total_seconds())
        case Verb():
            return Markup("<strong>{}</strong>").format(_BUTTON_OF[part])
