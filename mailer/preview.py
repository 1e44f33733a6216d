"""What an email template looks like, with the values of its sample; nothing is loaded for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from . import unsubscribe
from .composition import unsubscribe_link
from .content import Content
from .state import State

RECIPIENT = "recipient@example.com"


class Preview(NamedTuple):
    """An email that nobody gets."""

    content: Content
    headers: Mapping[str, str]
    """Those that its category adds."""


def preview(
    state: State,
    template: str,
    values: Mapping[str, object],
    locale: str | None,
    *,
    recipient: str = RECIPIENT,
    category: str | None = None,
) -> Preview:
    """Render a template with these values, and the link of a ``category``, else its own, for
    ``recipient``. Its context loader is not called. Raises RenderError, TemplateError or
    SettingError."""
    headers: Mapping[str, str] = {}
    if category := category or state.renderer.template(template).category:
        link = unsubscribe_link(state, category, recipient)
        values = {**values, unsubscribe.VARIABLE: link}
        headers = unsubscribe.headers(link)
    return Preview(state.renderer.render(template, values, locale), headers)
