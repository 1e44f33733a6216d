"""The JSON API of the inbox: messages, scripted replies, counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from flask import Blueprint, current_app, request, url_for
from werkzeug.exceptions import HTTPException

from mailer.content import Address
from mailer.dev.catcher.message import CaughtMessage
from mailer.dev.catcher.rules import Rule

if TYPE_CHECKING:
    from mailer.dev.catcher.catcher import Catcher

_RULE_FIELDS = {"stage": str, "do": str, "address": str, "times": int, "stored": bool}

api = Blueprint("api", __name__)


@api.errorhandler(HTTPException)
def _explain(error: HTTPException) -> tuple[dict[str, str], int]:
    return {"error": error.description or error.name}, error.code or 500


@api.get("/messages")
def messages() -> dict[str, Any]:
    """Newest first. ``to``: an envelope recipient; ``q``: words; ``limit``: 100 unless told."""
    limit = request.args.get("limit", 100, type=int)
    newest = _catcher().store.newest(to=request.args.get("to"), words=request.args.get("q", ""))
    return {
        "total": len(_catcher().store),
        "messages": [_summary(m) for _, m in zip(range(limit), newest, strict=False)],
    }


@api.get("/messages/<int:message_id>")
def message(message_id: int) -> Any:
    found = _catcher().store.get(message_id)
    return _missing("message", message_id) if found is None else _full(found)


@api.delete("/messages/<int:message_id>")
def delete(message_id: int) -> Any:
    return ("", 204) if _catcher().store.delete(message_id) else _missing("message", message_id)


@api.delete("/messages")
def delete_all() -> tuple[str, int]:
    _catcher().store.clear()
    return "", 204


@api.get("/script")
def script() -> dict[str, Any]:
    return {"rules": [rule.as_json() for rule in _catcher().rules.all()]}


@api.post("/script")
def add_rule() -> Any:
    """Add the rule in the body: ``stage``, ``do``, and perhaps ``address, times, stored``."""
    # Without this content type a foreign page could post it without asking first.
    asked = request.get_json()
    if not isinstance(asked, dict) or not {"stage", "do"} <= asked.keys() <= _RULE_FIELDS.keys():
        return {"error": f"expected an object with stage, do and any of {list(_RULE_FIELDS)}"}, 400
    for name, value in asked.items():
        kind = _RULE_FIELDS[name]
        if type(value) is not kind and not (value is None and name in {"address", "times"}):
            return {"error": f"{name}: expected {kind.__name__}, got {value!r}"}, 400
    try:
        rule = Rule(**asked)
    except ValueError as error:
        return {"error": str(error)}, 400
    _catcher().rules.add(rule)
    _catcher().store.wake()
    return rule.as_json(), 201


@api.delete("/script/<int:rule_id>")
def remove_rule(rule_id: int) -> Any:
    removed = _catcher().rules.remove(rule_id)
    _catcher().store.wake()
    return ("", 204) if removed else _missing("rule", rule_id)


@api.delete("/script")
def remove_rules() -> tuple[str, int]:
    _catcher().rules.clear()
    _catcher().store.wake()
    return "", 204


@api.get("/counts")
def counts() -> dict[str, int]:
    """How many connections there were, and how many of each command."""
    return _catcher().counts


def _catcher() -> Catcher:
    return cast("Catcher", current_app.extensions["catcher"])


def _missing(what: str, identity: int) -> tuple[dict[str, str], int]:
    return {"error": f"there is no {what} {identity}"}, 404


def _summary(found: CaughtMessage) -> dict[str, Any]:
    return {
        "id": found.id,
        "received_at": found.received_at.isoformat(),
        "from": None if found.from_ is None else _address(found.from_),
        "to": [_address(address) for address in found.to],
        "cc": [_address(address) for address in found.cc],
        "subject": found.subject,
        "snippet": found.snippet,
        "size": len(found.raw),
        "envelope": {"sender": found.sender, "recipients": list(found.recipients)},
    }


def _full(found: CaughtMessage) -> dict[str, Any]:
    return {
        **_summary(found),
        "date": found.header("Date"),
        "message_id": found.header("Message-ID"),
        "headers": [list(header) for header in found.headers],
        "text": found.text,
        "html": found.html,
        "attachments": [
            {
                "filename": part.filename,
                "content_type": part.content_type,
                "content_id": part.content_id,
                "size": len(part.data),
                "url": url_for("pages.part", message_id=found.id, index=part.index),
            }
            for part in found.attachments
        ],
        "source": found.source,
    }


def _address(address: Address) -> dict[str, str]:
    return {"name": address.name, "email": address.email}
