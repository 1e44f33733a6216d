"""Where the links to unsubscribe lead, for any app with `Mailer`::

    app.register_blueprint(mailer.web.unsubscribe.unsubscribe)

A look at the page changes nothing, because programs that check mail for bad links open every one.
Its button changes it, and so does a mail provider, in one POST without a cookie (RFC 8058): the
token in the link is the authority. An app with a CSRF protection exempts the blueprint from it.
"""

from __future__ import annotations

import logging

from flask import Blueprint, Response, current_app, make_response, render_template, request

from ..errors import LedgerUnavailable
from ..state import current
from ..unsubscribe import Choice, read
from . import security

unsubscribe = Blueprint(
    "mailer_unsubscribe",
    __name__,
    url_prefix="/unsubscribe",
    template_folder="templates",
    static_folder="static",
)
security.csrf.exempt(unsubscribe)
unsubscribe.after_request(security.add_headers)

log = logging.getLogger(__name__)


@unsubscribe.get("/<token>")
def ask(token: str) -> Response:
    choice = read(current_app.config, token)
    if choice is None:
        return _page("unknown", status=404)
    return _page("done" if choice.category in _stopped(choice) else "ask", token, choice)


@unsubscribe.post("/<token>")
def stop(token: str) -> Response:
    choice = read(current_app.config, token)
    if choice is None:
        return _page("unknown", status=404)
    current().ledger.suppress([choice.address], origin="unsubscribe", category=choice.category)
    return _page("done", token, choice)


@unsubscribe.post("/<token>/undo")
def undo(token: str) -> Response:
    choice = read(current_app.config, token)
    if choice is None:
        return _page("unknown", status=404)
    current().ledger.resubscribe(choice.address, choice.category)
    return _page("kept" if _stopped(choice) & {choice.category, ""} else "undone", token, choice)


@unsubscribe.errorhandler(LedgerUnavailable)
def later(error: LedgerUnavailable) -> Response:
    log.error("method=%s endpoint=%s status=503 reason=%s", request.method, request.endpoint, error)
    answer = _page("later", status=503)
    answer.headers["Retry-After"] = "5"
    return answer


def _stopped(choice: Choice) -> set[str]:
    """Return the categories about which the address is not mailed; an empty one: all mail."""
    return {one.category for one in current().ledger.suppressions_of([choice.address])}


def _page(
    step: str, token: str | None = None, choice: Choice | None = None, *, status: int = 200
) -> Response:
    page = render_template(
        "mailer/unsubscribe.html",
        step=step,
        token=token,
        address=choice and _masked(choice.address),
        label=choice and choice.category.replace("_", " "),
        assets="mailer_unsubscribe.static",
        product_name=current_app.config["MAILER_PRODUCT_NAME"],
    )
    return make_response(page, status)


def _masked(address: str) -> str:
    """Return enough of an address for whoever has it: an email may have been passed on."""
    local, _, domain = address.rpartition("@")
    # The word joiner keeps the address on one line.
    return f"{local[:1] if len(local) > 1 else ''}…\u2060@{domain}"
