from __future__ import annotations

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.errors import TemplateError
from mailer.inlining import check_stylesheet, inline

CSS = """
.a { color: red; font-family: "Segoe UI", Arial }
.b { margin: 0 }
td { padding: 0 }
td.c, div > .d { width: 1px }
.important { color: blue !important }
"""
A = "color: red;font-family: 'Segoe UI', Arial"


def inlined(source: str) -> str:
    return inline(source, CSS, file="x.html")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('<p class="b">x</p>', '<p style="margin: 0" class="b">x</p>'),
        ("<p class=b>x", '<p style="margin: 0" class=b>x'),
        ('<img class="b"/>', '<img style="margin: 0" class="b"/>'),
        ('<P\n  CLASS="a">', f'<P style="{A}"\n  CLASS="a">'),
        ('<div><p class="d">', '<div><p style="width: 1px" class="d">'),
        # Its own styles come last, and win.
        (
            '<p class="b" style="margin: 1px">x</p>',
            '<p class="b" style="margin: 0; margin: 1px">x</p>',
        ),
        ("<p class=b style=color:red>", '<p class=b style="margin: 0; color:red">'),
        ("<p class='a' style='top: 0'>", f"<p class='a' style='{A}; top: 0'>".replace(
            "'Segoe UI'", "&#39;Segoe UI&#39;")),
        ("<p class=b style>", '<p class=b style="margin: 0">'),
        ("<p class=b style=''>", "<p class=b style='margin: 0'>"),
        ("<p class=b title='style=x'>", "<p style=\"margin: 0\" class=b title='style=x'>"),
    ],
)  # fmt: skip
def test_declarations_land_in_the_style_attribute(source: str, expected: str) -> None:
    assert inlined(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        # Parts of tables, as blocks, macros and includes begin with them.
        '{% macro m(x) %}<tr><td class="b">{{ x }}</td></tr>{% endmacro %}',
        '<table>{% for r in rows %}<tr>{% if r %}<td class="a">{{ r }}</td>{% else %}<td class="b">'
        "{% endif %}</tr>{% endfor %}</table>",
        '<p class="a">x</p>{% block rows %}<td class="b">x</td>{% endblock %}<p class="b">y</p>',
        '<table class="a"></table>{% macro row() %}<tr class="b"><td>x</td></tr>{% endmacro %}',
        # In attributes.
        """<a class="a" href="{{ url|default("x>y") }}" title='{% if a > b %}"{% endif %}'>x</a>""",
        '<a {% if x %}href="{{ x }}"{% endif %} class="a">x</a>',
        '<p class="a" {{ attributes }}>x</p>',
        '<p style="{% if x %}color: {{ x }}{% endif %}" class="b">x</p>',
        # Where neither Jinja nor HTML sees tags.
        '{# <p class="a"> {{ x }} #}<p class="b">x</p>',
        '{% raw %}<p class="a">{{ not a tag }}</p>{% endraw %}<p class="b">',
        '<!--[if mso]><table class="a"><tr><td><![endif]--><p class="a">{{ x }}</p>',
        '<![if !mso]><p class="a">{{ x }}</p><![endif]>',
        '<style>.a { color: {{ colour }} } @media (x) { .b { top: 0 } }</style><p class="a">',
        # White space control, dict literals, odd characters.
        '<div class="a">\n  {%- if x -%}\n  <p class="b">{{- x -}}</p>\n  {%+ endif %}\n</div>\n\n',
        '<p class="a" title="{{ {"k": {"l": "}}"}}["k"] }}">x</p>',
        '<p class="a">a &nbsp;&zwnj;&#847; ü < 1 & 2 > 3</p></nothing><br>',
        '{% set html %}<p class="a">x</p>{% endset %}{{ html }}',
        '<!DOCTYPE html>\n<html lang="{{ lang }}">\n<head>\n<title>{{ t }}</title></head>'
        '<body class="a">{% block b %}{% endblock %}</body></html>\n',
    ],
)
def test_everything_else_stays_as_it_was_in_every_byte(source: str) -> None:
    result = inlined(source)
    assert result != source
    added = (f' style="{A}"', ' style="margin: 0"', ' style="padding: 0"')
    merged = ("margin: 0; ", f"{A}; ", "padding: 0;margin: 0; ")
    both = (f' style="padding: 0;{A}"', ' style="padding: 0;margin: 0"')
    for piece in (*both, *added, *merged):
        result = result.replace(piece, "")
    assert result == source


def test_every_cell_of_a_row_that_stands_alone_is_styled() -> None:
    source = '<tr class="b"><td class="c">x</td></tr>'
    assert inlined(source) == (
        '<tr style="margin: 0" class="b"><td style="padding: 0;width: 1px" class="c">x</td></tr>'
    )


@pytest.mark.parametrize(
    ("source", "style"),
    [
        ('<p class="b{% if x %} a{% endif %}">', "margin: 0"),
        ('<p class="b a-{{ x }}">', "margin: 0"),
        ('<p class="b {{ x }}a{{ x }}">', "margin: 0"),
        ('<p class="b" {% if x %}class="a"{% else %}class="a"{% endif %}>', "margin: 0"),
        ('<p class="{% for x in y %}a {% endfor %}b">', "margin: 0"),
    ],
)
def test_a_class_that_depends_on_the_context_is_left_alone(source: str, style: str) -> None:
    assert inlined(source) == source.replace("<p", f'<p style="{style}"')


def test_a_style_that_depends_on_the_context_still_wins() -> None:
    source = '<p class="b" style="{% if x %}margin: {{ x|default("1px") }}{% endif %}">'
    result = inlined(source)
    rendered = jinja2.Template(result, autoescape=True).render(x="2px")
    assert rendered == '<p class="b" style="margin: 0; margin: 2px">'


def test_a_rule_s_importance_is_kept() -> None:
    assert 'style="color: blue !important"' in inlined('<p class="important">')


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            '\n<p class="b" {% if x %}style="top: 0"{% endif %}>',
            "x.html, line 2: the stylesheet has styles for this <p>",
        ),
        (
            '<body class="a">\n\n<body class="b">',
            "x.html, line 3: CSS cannot be inlined into this <body>",
        ),
    ],
)
def test_a_style_that_cannot_be_placed_is_an_error(source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        inlined(source)


def test_css_that_reads_as_jinja_never_gets_into_a_template() -> None:
    with pytest.raises(
        TemplateError, match=r"x\.html: CSS inlining would have changed a Jinja tag"
    ):
        inline('<p class="a">', ".a { content: '{{ x }}' }", file="x.html")


PIECES = [
    *('<p class="m">', "<td class='m'>", "<tr class=m>", "<table>", "</table>", "</p>", "</td>"),
    *('<p {% if x %}class="m"{% endif %}>', '<a class="m" title="{{ "<" }}">', "<br class='m'/>"),
    *('<p class="m" style="{{ x }}">', "<li class='m' style='{# > #}top:0'>", "{# <p> #}", "<!--"),
    *("-->", "{% raw %}<p class='m'>{{ {% endraw %}", "{% raw -%}  <p class=m>\n{%- endraw %}"),
    *("{%- if x -%} <p class='m'>\n{%+ else %}<td class=m>{% endif %}", "{{- x -}}", "{{ '>' }}"),
    *("{% for y in x -%} <tr><td class='m'>{% endfor %}", "\n", "  ", "<", "&amp;", "ü"),
    *("<script>", "</script>", "<![if mso]>", "<![endif]>", "<svg class='m'/>", "<title>"),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_whatever_the_template_it_renders_as_before_but_for_the_styles(pieces: list[str]) -> None:
    source = "".join(pieces)
    try:
        before = jinja2.Template(source, autoescape=True).render(x="1")
        after = inline(source, ".m { x-mark: 1 }", file="x.html")
    except (jinja2.TemplateSyntaxError, TemplateError):
        return
    rendered = jinja2.Template(after, autoescape=True).render(x="1")
    assert rendered.replace(' style="x-mark: 1"', "").replace("x-mark: 1; ", "") == before
    assert after.count("\n") == source.count("\n")


def test_a_syntax_error_is_jinja_s() -> None:
    with pytest.raises(jinja2.TemplateSyntaxError):
        inlined("<p>{{ 'open }}</p>")


@pytest.mark.parametrize(
    ("css", "message"),
    [
        (".a{}\n@media print { .a { top: 0 } }", "s.css: @media cannot be inlined"),
        ('@import "x.css";', "s.css: @import cannot be inlined"),
        (".a { color: {{ colour }} }", "s.css: expected plain CSS, got the Jinja delimiter {{"),
    ],
)
def test_css_that_would_be_lost_is_refused(css: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        check_stylesheet(css, file="s.css")


def test_plain_css_is_taken() -> None:
    check_stylesheet("/* @media {{ */ .a::before { content: 'a@b' }", file="s.css")
