"""The environment differs from Jinja's own in what it costs, and in nothing that it gives."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from mailer.environment import Environment

CONTEXT = {
    "text": "<b>&'\"é",
    "number": 3,
    "row": {"name": "<i>", "items": "hidden by the method", "nested": {"row": {}}},
    "rows": [{"name": "a"}, {"name": "<b>"}, "text"],
    "yes": True,
}
NAMES = ("row.name", "row.items", "row.items()|list", "row['items']", "row.gone", "row.gone.more",
         "row.gone is defined", "row.nested.row.x", "row.__class__.__name__", "row|attr('name')",
         "rows.0.name", "rows[1].name", "rows|map(attribute='name')|list", "rows.name",
         "text.name", "text.upper()", "row.get('gone')", "base_url", "range(number)|list",
         "namespace(a=1).a", "gone")  # fmt: skip


def outcome(environment: jinja2.Environment, source: str) -> str:
    try:
        return environment.from_string(source).render(CONTEXT)
    except jinja2.TemplateError as error:
        return repr(error)


def both(html: bool) -> tuple[Environment, jinja2.Environment]:
    """Return ours and Jinja's own, with equal settings."""
    jinjas = jinja2.Environment(
        autoescape=html,  # noqa: S701
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinjas.globals["base_url"] = "https://app.test"
    return Environment({"base_url": "https://app.test"}, _nowhere, html=html), jinjas


def _nowhere(name: str) -> Path | None:
    return None


@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_what_it_means_to_jinja(name: str) -> None:
    ours, jinjas = both(html=True)
    assert outcome(ours, f"{{{{ {name} }}}}") == outcome(jinjas, f"{{{{ {name} }}}}")


def test_what_one_template_is_given_as_global_no_other_sees() -> None:
    ours, _ = both(html=True)
    assert ours.from_string("{{ mine }}", globals={"mine": "x"}).render() == "x"
    assert outcome(ours, "{{ mine is defined }}{{ base_url }}") == "Falsehttps://app.test"
