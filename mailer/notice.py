"""A notice: an event as its receiver gets it, in Resend's shape, signed by Standard Webhooks.

It is made from the ledger when it is sent. Bodies, contexts and headers of emails are in none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets as random
from collections.abc import Callable, Sequence
from email.utils import formataddr
from typing import Any

from .ledger.events import written
from .ledger.telling import Telling

SECRET_BEGINNING = "whsec_"  # nosec B105  # noqa: S105 - how each begins
SCHEMES = ("webhook", "svix")
"""The headers are named by the standard, and by whom Resend's SDKs take them from."""

_SUPPRESSED_FOR = {"bounce": "previous_bounce", "complaint": "previous_complaint"}


def new_secret() -> str:
    """Return a secret to sign with: 256 random bits."""
    return SECRET_BEGINNING + base64.b64encode(random.token_bytes(32)).decode()


def body(telling: Telling) -> bytes:
    """Return the JSON of an event."""
    email = telling.email
    addresses: dict[str, list[list[str]]] = email.addresses
    (sender,) = addresses["from"]
    recipients = [telling.recipient] if telling.recipient else map(_mailbox, addresses["to"])
    data: dict[str, Any] = {
        "email_id": email.id,
        "created_at": written(email.created_at),
        "from": _mailbox(sender),
        "to": list(recipients),
        "subject": email.subject or "",
        "tags": email.tags,
    }
    if email.template:
        data["template_id"] = email.template
    if telling.recipient:
        data["recipient"] = telling.recipient
    kind = telling.type.removeprefix("email.")
    if part := _PARTS.get(kind, _as_it_is)(telling):
        data["bounce" if kind == "bounced" else kind] = part
    document = {"type": telling.type, "created_at": written(telling.at), "data": data}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def headers(telling: Telling, body: bytes) -> dict[str, str]:
    """Return the headers of a notice. After a rotation both secrets sign."""
    timestamp = str(int(telling.instant))
    signed = f"{telling.event_id}.{timestamp}.".encode() + body
    signatures = " ".join(_signature(secret, signed) for secret in telling.secrets)
    named = {"id": telling.event_id, "timestamp": timestamp, "signature": signatures}
    return {
        "Content-Type": "application/json",
        "User-Agent": "mailer-dispatch",
        **{f"{scheme}-{name}": value for scheme in SCHEMES for name, value in named.items()},
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_BEGINNING))
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _mailbox(pair: Sequence[str]) -> str:
    name, address = pair
    return formataddr((name, address)) if name else address


def _reason(telling: Telling) -> dict[str, Any]:
    told = dict(telling.details)
    return {"reason": told.pop("words", "") or "", **told}


def _bounce(telling: Telling) -> dict[str, Any]:
    found: dict[str, Any] = telling.details.get("bounce", {})
    return found


def _suppressed(telling: Telling) -> dict[str, Any]:
    why = telling.suppressed_for or ""
    return {
        "type": "OnAccountSuppressionList",
        "reason": _SUPPRESSED_FOR.get(why, why or "unknown"),
        "message": telling.details.get("words") or "",
        "diagnosticCode": _diagnostics(telling.details),
    }


def _diagnostics(details: Any) -> list[str]:
    said = [str(details[name]) for name in ("code", "enhanced", "words") if details.get(name)]
    return [f"smtp; {' '.join(said)}"] if details.get("code") else []


def _as_it_is(telling: Telling) -> dict[str, Any]:
    return dict(telling.details)


_PARTS: dict[str, Callable[[Telling], dict[str, Any]]] = {
    "bounced": _bounce,
    "suppressed": _suppressed,
    "failed": _reason,
    "delivery_delayed": _reason,
    "unknown": _reason,
    "expired": _reason,
    "canceled": _reason,
}
