"""Who is signed in to the console: by a cookie, or by the word of a trusted proxy."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from urllib.parse import quote

from flask import (
    Response,
    current_app,
    flash,
    g,
    make_response,
    redirect,
    request,
    session,
    url_for,
)
from werkzeug.exceptions import Forbidden

from .. import members
from ..members import Member
from ..state import current

COOKIE = "mailer_console"
_ACTOR_MAX = 100


def member() -> Member | None:
    """Return who makes this request; None: nobody who is known."""
    if "mailer_member" not in g:
        g.mailer_member = _by_proxy() or _by_cookie()
    found: Member | None = g.mailer_member
    return found


def member_may(role: str) -> bool:
    """Say whether whoever makes this request is at least a ``role``."""
    found = member()
    return found is not None and found.may(role)


def actor() -> str:
    """Return how the audit names who makes this request."""
    found = member()
    return f"member {found.name if found else '?'}"[:_ACTOR_MAX]


def refusal(role: str) -> Response | None:
    """Return the way to sign in for whoever has to; None: they may do this. Raises Forbidden."""
    found = member()
    if found is None:
        return _to_sign_in()
    if not found.may(role):
        raise Forbidden(f"This takes the role {role} or more; {found.name} is {found.role}.")
    return None


def sign_in(visit: str) -> Response:
    """Give a visit that began (its token) a cookie, and a session of its own; lead on to where they
    wanted."""
    session.clear()  # and with it the token of forms that were made before
    if token := request.cookies.get(COOKIE):
        members.end(current().database, token)
    response = redirect(_wanted(), 303)
    response.set_cookie(
        COOKIE,
        visit,
        max_age=int(members.VISIT_SECONDS),
        path=url_for("ops.overview"),
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
    )
    return make_response(response)


def sign_out() -> Response:
    """End the visit."""
    if token := request.cookies.get(COOKIE):
        members.end(current().database, token)
    session.clear()
    response = redirect(url_for("ops.sign_in"), 303)
    response.delete_cookie(COOKIE, path=url_for("ops.overview"))
    return make_response(response)


def is_by_proxy() -> bool:
    """Say whether a proxy tells who asks, so that there is nothing to sign in or out of."""
    return current_app.config["MAILER_CONSOLE_USER_HEADER"] is not None


def _by_cookie() -> Member | None:
    token = request.cookies.get(COOKIE)
    if not token or is_by_proxy():
        return None
    return members.visitor(current().database, token, is_seen=not _asks_by_itself())


def _asks_by_itself() -> bool:
    """Say whether an open page asks for its live part, or how far a job is: nobody need be there"""
    is_poll = "HX-Request" in request.headers or request.endpoint == "ops.result"
    return request.method == "GET" and is_poll


def _by_proxy() -> Member | None:
    header = current_app.config["MAILER_CONSOLE_USER_HEADER"]
    name = request.headers.get(header) if header else None
    if not name:
        return None
    # Whom the connection is from, whatever other headers say.
    peer = request.environ.get("werkzeug.proxy_fix.orig", request.environ).get("REMOTE_ADDR")
    try:
        address = ip_address(peer or "")
    except ValueError:
        return None
    trusted = current_app.config["MAILER_CONSOLE_USER_HEADER_FROM"].replace(",", " ").split()
    if not any(address in ip_network(one) for one in trusted):
        return None
    return members.by_name(current().database, name)


def _to_sign_in() -> Response:
    if is_by_proxy():
        raise Forbidden("Nobody of this name is a member: mailer users add NAME --role viewer.")
    if request.method == "POST":
        flash("Your visit had ended: nothing was done. Sign in, and do it again.")
    address = url_for("ops.sign_in")
    if "HX-Request" not in request.headers:  # a form's address leads to the page around it
        address += f"?next={quote(request.full_path.rstrip('?'))}"
    if "HX-Request" in request.headers:
        return make_response("", 200, {"HX-Redirect": address})
    return make_response(redirect(address, 303))


def _wanted() -> str:
    home = url_for("ops.overview")
    wanted = request.args.get("next", "")
    # A path of the console alone: anything else might lead to another site.
    is_ours = wanted.startswith(home) and "\\" not in wanted and wanted.isprintable()
    return wanted if is_ours else home
