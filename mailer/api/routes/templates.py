"""``/templates``: what there is, what each needs, what it looks like."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from ...errors import RenderError, TemplateError
from ...rendering import Renderer
from ...state import current
from ...template import EmailTemplate
from ..authentication import key
from ..errors import ApiError
from ..operations import operation
from ..schemas.base import ListOf, TemplatePage
from ..schemas.templates import ListedTemplate, Render, Rendered, Template, Variable

Kind = Literal["string", "number", "boolean", "object", "list"]


@operation(
    "GET",
    "/templates",
    scope="read",
    query=TemplatePage,
    answers=ListOf[ListedTemplate],
    test_keys=True,
)
def list_templates(query: TemplatePage) -> ListOf[ListedTemplate]:
    """List templates.

    By name.
    """
    renderer = current().renderer
    names = [name for name in renderer.names() if key().may_use(name)]
    if query.before is not None:
        names = [name for name in names if name < query.before]
        some = names[-query.limit :]
    else:
        names = [name for name in names if query.after is None or name > query.after]
        some = names[: query.limit]
    found: list[ListedTemplate] = []
    for name in some:
        try:
            found.append(ListedTemplate(**_described(renderer.template(name))))
        except TemplateError:
            continue  # cannot be sent; the log says why since the start
    return ListOf[ListedTemplate](has_more=len(names) > len(some), data=found)


@operation("GET", "/templates/<name>", scope="read", answers=Template, test_keys=True)
def get(name: str) -> Template:
    """Get a template.

    What it needs, its sample, its sources.
    """
    template = _known(name)
    renderer = current().renderer
    sample = template.sample
    return Template(
        **_described(template),
        subject=_source(template, "subject.txt"),
        html=_source(template, "body.html"),
        text=_source(template, "body.txt"),
        variables=[
            Variable(key=variable, type=_kind(sample.get(variable)))
            for variable in sorted(renderer.required(name))
        ],
        sample=sample,
    )


@operation(
    "POST", "/templates/<name>/render", scope="read", body=Render, answers=Rendered, test_keys=True
)
def render(name: str, body: Render) -> Rendered:
    """Render a template.

    Nothing is sent.
    """
    template = _known(name)
    values = {**template.sample, **body.variables}
    try:
        content = current().renderer.render(name, values, body.locale)
    except RenderError as error:
        raise ApiError(422, "validation_error", f"variables: {error}") from error
    return Rendered(id=name, subject=content.subject, html=content.html or "", text=content.text)


def _known(name: str) -> EmailTemplate:
    """Return a template. Raises ApiError; TemplateError when there is one that cannot be used."""
    renderer: Renderer = current().renderer
    if not key().may_use(name):
        raise ApiError(403, "restricted_api_key", f"This API key may not use template {name!r}.")
    if name not in renderer.names():
        raise ApiError(404, "not_found", f"no email template is called {name!r}")
    return renderer.template(name)


def _described(template: EmailTemplate) -> dict[str, Any]:
    changed_at = datetime.fromtimestamp(
        max(path.stat().st_mtime for path in template.path.iterdir()), UTC
    )
    return {
        "id": template.name,
        "name": template.name,
        "alias": template.name,
        "created_at": changed_at,
        "updated_at": changed_at,
        "published_at": changed_at,
        "description": template.description,
        "lane": template.lane,
        "locales": list(template.locales),
    }


def _source(template: EmailTemplate, part: str) -> str:
    found = template.part(part, None)
    return (template.path / found.file).read_text(encoding="utf-8") if found else ""


def _kind(value: object) -> Kind:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case dict():
            return "object"
        case list():
            return "list"
        case _:
            return "string"
