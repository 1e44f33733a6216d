"""What a bounce says: whether the address is at fault, and how Resend's events call that."""

from __future__ import annotations

from typing import Any

# By the last two numbers of a status code (RFC 3463 and the registry of RFC 5248). The others of
# class 5 are about the message or the way: its next email may well arrive.
_ADDRESS_AT_FAULT = frozenset(
    {(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 6), (1, 10), (2, 1), (4, 4)}
)
_CODES_AT_FAULT = frozenset({550, 551, 553})
_NO_EMAIL = frozenset({(1, 0), (1, 1), (1, 2), (1, 3), (1, 6), (1, 10)})
_SUB_TYPES = {
    **dict.fromkeys(_NO_EMAIL, "NoEmail"),
    (2, 2): "MailboxFull",
    (2, 3): "MessageTooLarge",
    (3, 4): "MessageTooLarge",
}
_ABOUT_CONTENT = 6


def is_permanent(code: int | None, enhanced: str | None) -> bool:
    """Say whether the address is at fault, and will be at the next email."""
    if enhanced is None:
        return code in _CODES_AT_FAULT
    kind, *rest = map(int, enhanced.split("."))
    if kind != 5:
        return False
    # 5.0.0 says nothing: then the reply code counts.
    return code in _CODES_AT_FAULT if rest == [0, 0] else tuple(rest) in _ADDRESS_AT_FAULT


def details(
    *, permanent: bool, code: int | None, enhanced: str | None, words: str
) -> dict[str, Any]:
    """Return the ``bounce`` of Resend's event ``email.bounced``."""
    said = " ".join(str(part) for part in (code, enhanced) if part)
    heard = f"{said} {words}".strip()
    return {
        "type": "Permanent" if permanent else "Transient",
        "subType": _sub_type(enhanced),
        "message": words or said or "The mail system gave no reason.",
        "diagnosticCode": [f"smtp; {heard}"] if heard else [],
    }


def _sub_type(enhanced: str | None) -> str:
    if enhanced is None:
        return "General"
    subject, detail = map(int, enhanced.split(".")[1:])
    if subject == _ABOUT_CONTENT:
        return "ContentRejected"
    return _SUB_TYPES.get((subject, detail), "General")
