"""The HTML of an email, made ready for the sandboxed frame of the inbox."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

# Links open in a new tab, which is what a developer wants to do with "Confirm your address";
# scripts, forms, same-origin access and navigating the inbox stay forbidden.
SANDBOX = "allow-popups allow-popups-to-escape-sandbox"

_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
_CID = re.compile(r"cid:([^\s\"'<>)]+)", re.IGNORECASE)
_REMOTE_IMAGE = re.compile(
    r"<img\b[^<>]{0,2000}?\bsrc\s*=\s*[\"']?\s*(?:https?:)?//"
    r"|\burl\(\s*[\"']?\s*(?:https?:)?//",
    re.IGNORECASE,
)


def framed(html: str, links: Mapping[str, str], *, origin: str) -> tuple[str, str]:
    """Return the HTML to show and the Content-Security-Policy to show it under.

    ``links`` maps content ids to paths on ``origin``, which replace ``cid:`` references.
    """

    def link(reference: re.Match[str]) -> str:
        path = links.get(reference[1]) or links.get(unquote(reference[1]))
        return reference[0] if path is None else origin + path

    shown = _CID.sub(link, html)
    # After the doctype, or the page would be laid out in quirks mode.
    doctype = _DOCTYPE.match(shown)
    at = doctype.end() if doctype else 0
    shown = f'{shown[:at]}<base target="_blank">{shown[at:]}'
    # The origin by name: in a sandboxed document 'self' may mean nothing.
    images = " ".join(["data:", *(origin + path for path in links.values())])
    policy = (
        f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors 'self'; sandbox {SANDBOX}"
    )
    return shown, policy


def has_remote_images(html: str) -> bool:
    """Say whether the HTML asks for images from elsewhere, which the frame does not load."""
    return _REMOTE_IMAGE.search(html) is not None
