"""Templates, as the HTTP API shows and renders them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .base import Answer, Body, Shown


class Variable(Answer):
    """Something that a template cannot do without."""

    key: str
    type: Literal["string", "number", "boolean", "object", "list"]
    """Of its sample; ``string`` when the sample has none."""


class ListedTemplate(Answer):
    """A template. Its name is its id and its alias as well."""

    id: str
    name: str
    alias: str
    status: Literal["published"] = "published"
    """Templates are folders beside the code: what is there can be sent."""
    created_at: Shown
    """Of its newest file, as the three that follow."""
    updated_at: Shown
    published_at: Shown
    description: str
    lane: str
    locales: list[str]


class Template(ListedTemplate):
    """A template and what it needs, with its sources in the default language."""

    object: Literal["template"] = "template"
    subject: str
    html: str
    text: str
    variables: list[Variable]
    sample: dict[str, Any]
    """Variables to look at it with."""


class Render(Body):
    """What to render a template with: its sample where ``variables`` says nothing else."""

    variables: dict[str, Any] = Field(default_factory=dict)
    """Values by name."""
    locale: str | None = None
    """The language, such as `de` or `pt-BR`."""


class Rendered(Answer):
    """An email as it would be sent."""

    object: Literal["rendered_template"] = "rendered_template"
    id: str
    subject: str
    html: str
    text: str
