from __future__ import annotations

import jinja2
import pytest

from mailer import variables
from mailer.errors import TemplateError


def required(source: str, **others: str) -> set[str]:
    files = {"main": source, **others}
    environment = jinja2.Environment(loader=jinja2.DictLoader(files), autoescape=True)
    environment.globals["url_for"] = str
    return set(variables.required(environment, "main"))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("{{ a }}{{ b.c }}{% for x in d %}{{ x }}{% endfor %}{{ url_for(e) }}", "abde"),
        ("{% set a = 1 %}{{ a }}{% with b = c %}{{ b }}{% endwith %}", "c"),
        ("{% if a %}{{ b }}{% endif %}", "ab"),
        # What a template can do without
        ("{% if a is defined %}yes{% endif %}", ""),
        ("{% if a is undefined %}{{ b }}{% endif %}", "b"),
        ("{{ a|default('x') }}{{ b|d(c)|upper }}", "c"),
        ("{{ a|default('x') }}{{ a }}", "a"),
        ("{{ a.b|default('x') }}", "a"),
        ("{% if a is defined %}{{ a }}{% else %}{{ b }}{% endif %}", "b"),
        ("{% if a is defined and a and c %}{{ a }}{% endif %}", "c"),
        ("{% if a is defined or a %}{% endif %}", "a"),
        ("{% if x %}{% elif a is defined %}{{ a }}{% endif %}", "x"),
        ("{{ a if a is defined else b }}", "b"),
        ("{% if a is defined %}{{ a }}{% endif %}{{ a }}", "a"),
    ],
)
def test_only_what_a_template_cannot_do_without_is_required(source: str, names: str) -> None:
    assert required(source) == set(names)


def test_extends_include_and_import_are_followed() -> None:
    child = "{% extends 'layout' %}{% block content %}{{ a }}{% include 'part' %}{% endblock %}"
    assert required(child, layout="{{ b }}{% block content %}{% endblock %}", part="{{ c }}") == {
        *("a", "b", "c")
    }
    macros = "{% macro m(x) %}{{ x }}{{ d }}{% endmacro %}"
    assert required("{% import 'macros' as k %}{{ k.m(e) }}", macros=macros) == {"d", "e"}


def test_what_a_file_imports_or_sets_is_known_in_its_blocks() -> None:
    child = (
        "{% extends 'layout' %}{% from 'macros' import m, m as n %}{% import 'macros' as k %}"
        "{% set title, more = 'x', y %}{% macro own() %}{% endmacro %}"
        "{% block content %}{{ m(1) }}{{ n(1) }}{{ k.m(1) }}{{ own() }}{{ title }}{% endblock %}"
    )
    layout = "{{ title }}{{ z }}{% block content %}{% endblock %}"
    macros = "{% macro m(x) %}{{ x }}{% endmacro %}"
    assert required(child, layout=layout, macros=macros) == {"y", "z"}


def test_a_loop_s_variable_is_known_in_what_the_loop_includes() -> None:
    main = "{% for row in rows %}{% include 'row' %}{% endfor %}"
    assert required(main, row="{{ row.a }}{{ b }}") == {"rows", "b"}


def test_an_overridden_block_needs_nothing_unless_super_shows_it() -> None:
    layout = "{% block foot %}{{ address }}{% endblock %}"
    middle = "{% extends 'layout' %}"
    assert required("{% extends 'layout' %}", layout=layout) == {"address"}
    child = "{% extends 'layout' %}{% block foot %}{{ a }}{% endblock %}"
    assert required(child, layout=layout) == {"a"}
    assert required(child.replace("layout", "middle"), layout=layout, middle=middle) == {"a"}
    shown = "{% extends 'layout' %}{% block foot %}{{ super() }}{% endblock %}"
    assert required(shown, layout=layout) == {"address"}


@pytest.mark.parametrize(
    "source", ["{% include 'gone' ignore missing %}", "{% include ['gone', 'part'] %}"]
)
def test_a_file_that_may_be_missing_is_left_out(source: str) -> None:
    assert required(source, part="{{ a }}") <= {"a"}


@pytest.mark.parametrize("tag", ["extends 'gone'", "include 'gone'", "import 'gone' as g"])
def test_a_file_that_is_missing_is_an_error_with_its_line(tag: str) -> None:
    with pytest.raises(TemplateError, match="line 2: there is no 'gone'"):
        required("\n{% " + tag + " %}")


def test_a_file_that_includes_itself_ends() -> None:
    assert required("{{ a }}{% if b %}{% include 'main' %}{% endif %}") == {"a", "b"}


def test_a_name_that_only_the_context_knows_is_not_followed() -> None:
    assert required("{% include kind ~ '.html' %}") == {"kind"}


@pytest.mark.parametrize("source", ["{{ a|nope }}", "{{ a is nope }}"])
def test_an_unknown_filter_or_test_is_an_error_of_the_file_that_uses_it(source: str) -> None:
    with pytest.raises(jinja2.TemplateAssertionError, match="named 'nope'") as caught:
        required("{% include 'part' %}", part="\n\n" + source)
    assert (caught.value.name, caught.value.filename, caught.value.lineno) == ("part", None, 3)
