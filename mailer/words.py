"""What others say, fit to be stored and shown."""

from __future__ import annotations

WORDS_MAX = 500


def one_line(text: str, longest: int | None = WORDS_MAX) -> str:
    """Make foreign words one line: printable, single spaces, not too long."""
    if longest is not None:
        text = text[: 4 * longest]
    if not text.isprintable():  # lone surrogates and zero bytes among them
        text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"
