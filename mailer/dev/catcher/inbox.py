"""The inbox: the pages over the caught messages, and the guard before pages and API.

Whatever an email contains is hostile. Pages escape it and run no script but our own files; its
HTML is only ever shown by `frame`, in a sandbox and under a policy of its own.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit
from zlib import crc32

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    render_template,
    request,
    send_file,
    url_for,
)

from mailer.dev.catcher.api import api
from mailer.dev.catcher.frame import framed, has_remote_images
from mailer.dev.catcher.message import CaughtMessage

if TYPE_CHECKING:
    from mailer.dev.catcher.catcher import Catcher

_PAGE = 100
_SHOWN_CHARACTERS = 400_000
_SAFE_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

pages = Blueprint("pages", __name__)


def create_inbox(catcher: Catcher, stopping: Callable[[], bool]) -> Flask:
    """Return the web app; ``stopping`` ends the streams that would otherwise go on for ever."""
    app = Flask(__name__)
    app.extensions["catcher"] = catcher
    app.extensions["catcher-stopping"] = stopping
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["hue"] = _hue
    app.jinja_env.filters["clock"] = _clock
    app.jinja_env.filters["size"] = _size
    app.before_request(_refuse_foreign_hosts)
    app.before_request(_refuse_foreign_changes)
    app.after_request(_harden)
    app.register_blueprint(pages)
    app.register_blueprint(api, url_prefix="/api")
    return app


def _refuse_foreign_hosts() -> None:
    # DNS rebinding: a page anywhere can point its own name at 127.0.0.1.
    if urlsplit(f"//{request.host}").hostname not in _HOSTS:
        abort(421, "The inbox answers only to 127.0.0.1 and localhost.")


def _refuse_foreign_changes() -> None:
    # Any web page can make a browser post here. Programs send neither header.
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site not in {None, "same-origin", "none"} or origin not in {None, _own_origin()}:
        abort(403, "Changes are taken from the inbox itself and from programs only.")


def _own_origin() -> str:
    return request.host_url.rstrip("/")


def _harden(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


@pages.context_processor
def _search() -> dict[str, str]:
    return {"words": _words()}


@pages.get("/")
def index() -> str:
    return render_template("inbox.html", **_listing(), message=None)


@pages.get("/list")
def listing() -> str:
    """The list alone, for the page to refresh itself with."""
    return render_template("_list.html", **_listing())


@pages.get("/messages/<int:message_id>")
def show(message_id: int) -> str | tuple[str, int]:
    message = _catcher().store.get(message_id)
    if message is None:
        gone = render_template("inbox.html", **_listing(), message=None, gone=message_id)
        return gone, 404
    _catcher().store.mark_read(message_id)
    return render_template("inbox.html", **_listing(selected=message_id), **_detail(message))


@pages.get("/messages/<int:message_id>/view")
def view(message_id: int) -> str:
    """One message alone, for the page to show without loading anew."""
    message = _find(message_id)
    _catcher().store.mark_read(message_id)
    return render_template("_message.html", **_detail(message))


@pages.get("/messages/<int:message_id>/html")
def frame(message_id: int) -> Response:
    """The HTML of an email, for the sandboxed frame."""
    message = _find(message_id)
    links = {
        part.content_id: url_for(".part", message_id=message_id, index=part.index)
        for part in message.attachments
        if part.content_id
    }
    html, policy = framed(message.html, links, origin=_own_origin())
    return Response(html, mimetype="text/html", headers={"Content-Security-Policy": policy})


@pages.get("/messages/<int:message_id>/parts/<int:index>")
def part(message_id: int, index: int) -> Response:
    """A file of an email, to be saved; pictures keep their type, so that ``<img>`` shows them."""
    attachments = _find(message_id).attachments
    if index >= len(attachments):
        abort(404)
    file = attachments[index]
    kind = file.content_type if file.content_type in _SAFE_IMAGES else "application/octet-stream"
    return _download(file.data, file.filename, kind)


@pages.get("/messages/<int:message_id>/message.eml")
def eml(message_id: int) -> Response:
    return _download(_find(message_id).raw, f"message-{message_id}.eml", "application/octet-stream")


@pages.get("/events")
def events() -> Response:
    """A line whenever something changed, as server-sent events."""
    store, stopping = _catcher().store, current_app.extensions["catcher-stopping"]

    def stream() -> Iterator[str]:
        seen = store.revision
        yield "retry: 1000\ndata: connected\n\n"
        while not stopping():
            now = store.wait_for_change(seen, timeout=15)
            # The comment finds out whether the browser is still there.
            yield ": still here\n\n" if now == seen else "data: changed\n\n"
            seen = now
            # A flood of mail is a few refreshes a second, not thousands.
            time.sleep(0.2)

    return Response(stream(), mimetype="text/event-stream")


def _catcher() -> Catcher:
    return cast("Catcher", current_app.extensions["catcher"])


def _words() -> str:
    return request.args.get("q", "").strip()


def _find(message_id: int) -> CaughtMessage:
    message = _catcher().store.get(message_id)
    if message is None:
        abort(404, f"There is no message {message_id} (any more).")
    return message


def _listing(selected: int | None = None) -> dict[str, object]:
    catcher = _catcher()
    limit = request.args.get("limit", _PAGE, type=int)
    found = list(zip(range(limit + 1), catcher.store.newest(words=_words()), strict=False))
    return {
        "messages": [message for _, message in found[:limit]],
        "more": limit + _PAGE if len(found) > limit else None,
        "total": len(catcher.store),
        "unread": catcher.store.unread,
        "rules": catcher.rules.all(),
        "selected": request.args.get("selected", selected, type=int),
        "smtp_port": catcher.smtp_port,
    }


def _detail(message: CaughtMessage) -> dict[str, object]:
    return {
        "message": message,
        "remote_images": has_remote_images(message.html),
        "shown": _SHOWN_CHARACTERS,
        "safe_images": _SAFE_IMAGES,
    }


def _download(data: bytes, name: str, kind: str) -> Response:
    response = send_file(io.BytesIO(data), mimetype=kind, as_attachment=True, download_name=name)
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def _hue(text: str) -> int:
    """One of eight colours, always the same for the same text."""
    return crc32(text.lower().encode()) % 8


def _clock(at: datetime) -> str:
    """The time of day for today, else the date, as the developer's clock has it."""
    local = at.astimezone()
    today = datetime.now(local.tzinfo).date()
    return f"{local:%H:%M}" if local.date() == today else f"{local.day} {local:%b}"


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
