"""SendGrid: its event webhook, which posts several events at once and signs them.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event and
.../getting-started-event-webhook-security-features
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from ..errors import NotAReport, NotAuthentic
from . import documents, told
from .told import Heard

SOURCE = "sendgrid"
SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"
TOLERANCE_SECONDS = 90_000
"""It tries for 24 hours, and may say the time of the first try. What comes twice is stored once."""

_DROPPED_FOR_GOOD = ("bounced address", "invalid")


class _Event(documents.Document):
    event: str
    email: str = ""
    timestamp: Any = None
    sg_event_id: str = ""
    sg_message_id: str = ""
    type: str = ""
    reason: str = ""
    status: str = ""
    response: str = ""


def load_key(written: str) -> Any:
    """Return a public key as SendGrid's page shows it. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as in sns
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415

    key = load_der_public_key(b64decode(written, validate=True))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("expected the public key of an elliptic curve")
    return key


def check(raw: bytes, *, key: str, signature: str, timestamp: str, now: float) -> None:
    """Raise NotAuthentic unless these bytes were signed not too long ago."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as in sns
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    try:
        signed = b64decode(signature, validate=True)
        load_key(key).verify(signed, timestamp.encode() + raw, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature) as error:
        raise NotAuthentic(f"{SIGNATURE_HEADER}: it is not that of this body") from error
    if not timestamp.isdecimal() or abs(now - float(timestamp[:20])) > TOLERANCE_SECONDS:
        raise NotAuthentic(f"{TIMESTAMP_HEADER}: expected a time of today, got {timestamp[:40]!r}")


def read(raw: bytes) -> Heard:
    """Read what was posted; what is wrong with one event costs no other. Raises NotAReport."""
    events = documents.loads(raw)
    if not isinstance(events, list):
        raise NotAReport("expected a list of events, got something else")
    found: list[told.Told] = []
    wrong: list[str] = []
    ignored = 0
    for position, value in enumerate(events):
        try:
            one = _read(value)
        except NotAReport as error:
            wrong.append(f"[{position}] {error}")
        else:
            if one is None:
                ignored += 1
            else:
                found.append(one)
    return Heard(found, ignored, tuple(wrong))


def _read(value: Any) -> told.Told | None:
    event = documents.checked(_Event, value)
    kinds: dict[str, told.Kind] = {
        "delivered": "delivered",
        "bounce": "bounced",
        "dropped": "bounced",
        "spamreport": "complained",
    }
    if (kind := kinds.get(event.event)) is None:
        return None  # processed, deferred, open, click, unsubscribe
    words = event.reason or event.response
    is_permanent = (
        event.type == "bounce"  # not `blocked`
        if event.event == "bounce"
        else event.reason.lower().startswith(_DROPPED_FOR_GOOD)
    )
    return told.make(
        kind,
        SOURCE,
        event.sg_event_id,
        message_id=_smtp_id(value),
        # It begins with what the reply to the message said: `queued as ...`.
        reference=event.sg_message_id.partition(".")[0],
        recipients=[event.email],
        occurred_at=told.instant(event.timestamp),
        permanent=kind == "bounced" and is_permanent,
        code=told.code_in(words),
        enhanced=told.enhanced_in(event.status) or told.enhanced_in(words),
        words=words,
    )


def _smtp_id(value: dict[str, Any]) -> str | None:
    found = value.get("smtp-id")
    return found if isinstance(found, str) else None
