"""The environment differs from Jinja's own in what it costs, and in nothing that it gives."""

from __future__ import annotations

from pathlib import Path

import jinja2
import markupsafe
import pytest

from mailer import environment
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

# All the ways in which a value gets into what is written.
OUTPUTS = (
    "{{ text }}{{ number }}{{ row }}{{ none }}",
    "{{ text|safe }}{{ text|e }}{{ text|upper }}{{ '<b>%s'|safe|format(text) }}{{ row|tojson }}",
    "{{ '<' ~ text ~ '<i>'|safe }}{{ ['<', text]|join }}{{ text if yes }}{{ '<b>' }}",
    "{% for one in rows %}{{ loop.index }}{{ one }}{% else %}{{ text }}{% endfor %}",
    "{% macro m(x) %}<i>{{ x }}{{ caller() }}{%endmacro%}{% call m(text) %}{{ text }}{% endcall %}",
    "{% set x %}<b>{{ text }}</b>{% endset %}{{ x }}{{ x|lower }}{% set y = text %}{{ y }}",
    "{% filter upper %}<b>{{ text }}</b>{% endfilter %}{% with z = text %}{{ z }}{% endwith %}",
    "{% block one %}{{ text }}{% endblock %}{{ self.one() }}{{ self.one()|length }}",
    "{{ text }}{% autoescape false %}{{ text }}{% endautoescape %}",
    "{{ text }}{% autoescape true %}{{ text }}{% endautoescape %}",
    "{{ text }}{% autoescape yes %}{{ text }}{% endautoescape %}",
    "{{ text }}{% autoescape not yes %}{{ text }}{% endautoescape %}",
    "{{ text|replace('<', '>') }}{{ text|urlize }}{{ text|truncate(3) }}{{ joiner(text)() }}",
)


def outcome(one: jinja2.Environment, source: str) -> str:
    try:
        return one.from_string(source).render(CONTEXT)
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


@pytest.mark.parametrize("html", [True, False])
@pytest.mark.parametrize("source", OUTPUTS)
def test_what_is_written_is_escaped_just_as_jinja_does_it(source: str, html: bool) -> None:
    ours, jinjas = both(html)
    written = outcome(ours, source)
    assert written == outcome(jinjas, source)
    assert not html or "&lt;" in written


def test_a_value_that_says_what_its_html_is_is_believed() -> None:
    ours, jinjas = both(html=True)
    for one in (ours, jinjas):
        one.globals["logo"] = markupsafe.Markup("<img>")
        assert outcome(one, "{{ logo }}{{ logo ~ text }}") == "<img><img>&lt;b&gt;&amp;&#39;&#34;é"


def test_without_the_function_of_markupsafe_that_is_quick_the_usual_one_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "_escape_text", markupsafe.escape)
    ours, jinjas = both(html=True)
    for source in OUTPUTS:
        assert outcome(ours, source) == outcome(jinjas, source)


def test_what_one_template_is_given_as_global_no_other_sees() -> None:
    ours, _ = both(html=True)
    assert ours.from_string("{{ mine }}", globals={"mine": "x"}).render() == "x"
    assert outcome(ours, "{{ mine is defined }}{{ base_url }}") == "Falsehttps://app.test"
