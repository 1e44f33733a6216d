from __future__ import annotations

import datetime
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from mailer.errors import RenderError, TemplateError
from mailer.rendering import Renderer


def write(folder: Path, **files: str) -> None:
    """Write ``subject_txt="Hi"`` to ``subject.txt``, and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        stem, _, ending = name.rpartition("_")
        (folder / f"{stem.replace('__', '.')}.{ending}").write_text(content, encoding="utf-8")


def renderer(*search_path: Path, auto_reload: bool = False, **changes: Any) -> Renderer:
    return Renderer(
        search_path,
        **{
            "url_for": lambda endpoint, **values: f"https://app.test/{endpoint}",
            "product_name": "Acme",
            "base_url": "https://app.test",
            "auto_reload": auto_reload,
            **changes,
        },
    )


# What a template sees


def test_html_in_a_variable_is_escaped_in_html_and_left_alone_in_subject_and_text(
    tmp_path: Path,
) -> None:
    write(tmp_path / "note", subject_txt="{{ x }}", body_txt="{{ x }}", body_html="<p>{{ x }}</p>")
    hostile = "<script>alert('1')</script> & \"co\""
    content = renderer(tmp_path).render("note", {"x": hostile})
    assert content.subject == content.text == hostile
    assert content.html == (
        "<p>&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &#34;co&#34;</p>"
    )


def test_a_file_included_by_html_is_escaped_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "_part.txt").write_text("{{ x }}")
    include = '{% include "_part.txt" %}'
    write(tmp_path / "note", subject_txt="s", body_txt=include, body_html=include)
    content = renderer(tmp_path).render("note", {"x": "<b>"})
    assert (content.text, content.html) == ("<b>", "&lt;b&gt;")


def test_a_context_value_is_never_run_as_a_template(tmp_path: Path) -> None:
    write(tmp_path / "note", subject_txt="{{ x }}", body_html="{{ x }}")
    content = renderer(tmp_path).render("note", {"x": "{{ 7 * 7 }}{% raw %}"})
    assert content.subject == "{{ 7 * 7 }}{% raw %}"


def test_globals_and_the_rendered_subject_are_there(tmp_path: Path) -> None:
    write(
        tmp_path / "note",
        subject_txt="Hello {{ who }}",
        body_txt="{{ subject }} {{ url_for('start') }} {{ base_url }} {{ product_name }}",
    )
    content = renderer(tmp_path).render("note", {"who": "Ann"})
    assert content.text == "Hello Ann https://app.test/start https://app.test Acme"
    assert content.html is None


@pytest.mark.parametrize(
    "separator",
    ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\0", "\x7f"],
)
def test_a_subject_is_one_line_whatever_it_renders_to(tmp_path: Path, separator: str) -> None:
    write(tmp_path / "note", subject_txt="\n  Hi\t {{ x }}\n\n", body_txt="-")
    content = renderer(tmp_path).render("note", {"x": f"a{separator}Bcc: b@example.com"})
    assert content.subject == "Hi a Bcc: b@example.com"


def test_without_a_text_body_the_text_comes_from_the_html(tmp_path: Path) -> None:
    write(tmp_path / "note", subject_txt="s", body_html="<p>One &amp; <b>two</b></p><p>{{ x }}</p>")
    assert renderer(tmp_path).render("note", {"x": "<i>"}).text == "One & two\n\n<i>\n"


# What a context may be


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (datetime.date(2026, 1, 1), "x: "),
        ([1, {"when": object()}], r"x\[1\]\.when: "),
        ({"deep": [b"bytes"]}, r"x\.deep\[0\]: "),
        ((1, {"a": b"bytes"}), r"x\[1\]\.a: "),
        (Markup("<b>"), "x: .*got Markup"),
        ({1: "a"}, "x: expected text as key, got int"),
    ],
)
def test_anything_but_plain_data_is_refused_with_its_place(
    tmp_path: Path, value: object, where: str
) -> None:
    write(tmp_path / "note", subject_txt="s", body_txt="t")
    with pytest.raises(RenderError, match=f"context: {where}"):
        renderer(tmp_path).render("note", {"x": value})


def test_a_context_that_contains_itself_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "note", subject_txt="s", body_txt="t")
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(RenderError, match="nested too deeply"):
        renderer(tmp_path).render("note", {"x": endless})


def test_every_kind_of_plain_data_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "note", subject_txt="s", body_txt="{{ x.a }} {{ x.b[0] }} {{ x.c }}")
    plain = {"a": 1.5, "b": (True, None, [{"k": 2}]), "c": None}
    assert renderer(tmp_path).render("note", {"x": plain}).text == "1.5 True None"


# What goes wrong


def test_a_missing_variable_fails_with_file_line_and_name(tmp_path: Path) -> None:
    (tmp_path / "_style.css").write_text(".a { color: red;\n margin: 0 }\n")
    body = '<div class="a"\n  id="x">\n<p class="a">ok</p>\n\n{{ gone }}</div>'
    write(tmp_path / "note", subject_txt="s", body_html=body)
    with pytest.raises(RenderError) as caught:
        renderer(tmp_path).render("note", {})
    path = tmp_path / "note" / "body.html"
    assert str(caught.value) == f"{path}, line 5: 'gone' is undefined"


def test_a_fault_in_a_macro_names_the_macro_s_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "_macros.html").write_text("\n{% macro m(x) %}\n{{ x / 0 }}{% endmacro %}")
    body = '{% from "_macros.html" import m %}\n{{ m(1) }}'
    write(tmp_path / "note", subject_txt="s", body_html=body)
    with pytest.raises(RenderError, match=r"_macros\.html, line 3: ZeroDivisionError: "):
        renderer(tmp_path).render("note", {})


@pytest.mark.parametrize(
    "source",
    [
        "{{ prices[token] }}",
        "{{ prices[tuple[0]] }}",
        "{{ token + 1 }}",
        "{{ url_for(token) }}",
        "{{ [1][token] }}",
    ],
)
def test_the_reason_of_a_fault_shows_no_value_of_the_context(tmp_path: Path, source: str) -> None:
    def url_for(endpoint: str) -> str:
        raise LookupError(f"no route for {endpoint!r}")

    write(tmp_path / "note", subject_txt="s", body_txt=source)
    context = {"token": "s3cr'et\ttoken", "tuple": ("s3cr3t",), "prices": {"a": 1}}
    with pytest.raises(RenderError, match=r"body\.txt, line 1: ") as caught:
        renderer(tmp_path, url_for=url_for).render("note", context)
    assert "cr" not in str(caught.value).rpartition("line 1")[2]


def test_a_missing_variable_is_named_even_if_a_value_reads_the_same(tmp_path: Path) -> None:
    write(tmp_path / "note", subject_txt="s", body_txt="{{ name }}")
    with pytest.raises(RenderError, match="'name' is undefined"):
        renderer(tmp_path).render("note", {"other": "name"})


def test_a_syntax_error_names_file_line_and_reason(tmp_path: Path) -> None:
    write(tmp_path / "note", subject_txt="s", body_html="<p>\n{% if %}</p>")
    subject = renderer(tmp_path)
    expected = r"note/body\.html, line 2: Expected an expression"
    with pytest.raises(TemplateError, match=expected):
        subject.required("note")
    with pytest.raises(RenderError, match=expected):
        subject.render("note", {})


@pytest.mark.parametrize(
    ("source", "reason"),
    [("{{ 1|nope }}", "No filter named 'nope'"), ("{{ 1 is nope }}", "No test named 'nope'")],
)
def test_an_unknown_filter_or_test_is_found_without_rendering(
    tmp_path: Path, source: str, reason: str
) -> None:
    write(tmp_path / "note", subject_txt="s", body_txt="\n" + source)
    subject = renderer(tmp_path)
    expected = rf"^{tmp_path}/note/body\.txt, line 2: {reason}"
    with pytest.raises(TemplateError, match=expected):
        subject.required("note")
    with pytest.raises(RenderError, match=expected):
        subject.render("note", {})


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    write(tmp_path / "note", subject_txt="s", body_txt="t")
    (tmp_path / "note" / "body.txt").write_bytes("ü".encode("latin-1"))
    with pytest.raises(RenderError, match=r"body\.txt: cannot be read: .*utf-8"):
        renderer(tmp_path).render("note", {})


def test_a_missing_include_names_who_asked_for_what(tmp_path: Path) -> None:
    write(tmp_path / "note", subject_txt="s", body_txt='\n{% include "_gone.txt" %}')
    subject = renderer(tmp_path)
    with pytest.raises(RenderError, match=r"body\.txt, line 2: there is no '_gone\.txt'"):
        subject.render("note", {})
    with pytest.raises(TemplateError, match=r"body\.txt, line 2: there is no '_gone\.txt'"):
        subject.required("note")


def test_an_error_that_is_no_template_s_passes_through(tmp_path: Path) -> None:
    class TimeIsUp(Exception):
        pass

    def url_for(endpoint: str) -> str:
        raise TimeIsUp

    write(tmp_path / "note", subject_txt="s", body_txt="{{ url_for('a') }}")
    with pytest.raises(TimeIsUp):
        renderer(tmp_path, url_for=url_for).render("note", {})


def test_a_stylesheet_that_cannot_be_inlined_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "_style.css").write_text("@media (max-width: 1px) { .a { color: red } }")
    write(tmp_path / "note", subject_txt="s", body_html="<p>x</p>")
    with pytest.raises(TemplateError, match=r"_style\.css: @media cannot be inlined"):
        renderer(tmp_path).required("note")


# Which file is used


@pytest.mark.parametrize(
    "name",
    ["../note", "/etc/passwd", "", ".", "..", "note/", "note/../note", "note/body.html", "_layout",
     "NOTE", "note\0", "note\n", "x" * 9999],
)  # fmt: skip
def test_a_name_is_looked_up_and_never_a_path(tmp_path: Path, name: str) -> None:
    write(tmp_path / "mail" / "note", subject_txt="s", body_txt="t")
    write(tmp_path / "mail" / "_layout", subject_txt="s", body_txt="t")
    subject = renderer(tmp_path / "mail")
    for call in (subject.template, subject.required, lambda each: subject.render(each, {})):
        with pytest.raises((TemplateError, RenderError), match="no email template is called") as e:
            call(name)
        assert len(str(e.value)) < 500


@pytest.mark.parametrize("name", ["/etc/hostname", "../secret.txt", "note/../../secret.txt"])
def test_an_include_cannot_leave_the_search_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    write(tmp_path / "mail" / "note", subject_txt="s", body_txt="{% include x %}")
    with pytest.raises(RenderError, match="there is no"):
        renderer(tmp_path / "mail").render("note", {"x": name})


def test_an_unknown_name_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path / "welcome", subject_txt="s", body_txt="t")
    with pytest.raises(TemplateError, match="'welcom'; did you mean 'welcome'"):
        renderer(tmp_path).template("welcom")


@pytest.mark.parametrize("auto_reload", [True, False])
def test_an_unfinished_folder_is_answered_with_what_it_lacks(
    tmp_path: Path, auto_reload: bool
) -> None:
    write(tmp_path / "note", body_txt="t")
    write(tmp_path / "other", subject_txt="s")
    subject = renderer(tmp_path, auto_reload=auto_reload)
    with pytest.raises(TemplateError, match=f"^no subject.txt in {tmp_path}/note$"):
        subject.template("note")
    with pytest.raises(RenderError, match=f"^no body.txt or body.html in {tmp_path}/other$"):
        subject.render("other", {})
    assert subject.names() == []


def test_the_first_directory_with_an_email_template_wins(tmp_path: Path) -> None:
    app, shipped = tmp_path / "app", tmp_path / "shipped"
    write(app / "note", subject_txt="mine", body_txt="mine")
    write(shipped / "note", subject_txt="theirs", body_html="theirs")
    write(shipped / "other", subject_txt="theirs", body_txt="theirs")
    subject = renderer(app, shipped, tmp_path / "missing")
    assert subject.names() == ["note", "other"]
    assert subject.template("note").path == app / "note"
    assert subject.render("note", {}) == ("mine", "mine", None)
    assert subject.render("other", {}).subject == "theirs"


def test_a_folder_of_pages_does_not_hide_the_email_template_of_its_name(tmp_path: Path) -> None:
    app, shipped = tmp_path / "app", tmp_path / "shipped"
    write(app / "note", body_html="<p>a page</p>", index_html="another")
    write(shipped / "note", subject_txt="s", body_html="an email")
    assert renderer(app, shipped).render("note", {}).html == "an email"


def test_an_app_can_replace_only_the_layout_or_only_the_style(tmp_path: Path) -> None:
    app, shipped = tmp_path / "app", tmp_path / "shipped"
    body = '{% extends "_layout.html" %}{% block content %}<p class="a">x</p>{% endblock %}'
    write(shipped / "note", subject_txt="s", body_html=body)
    write(shipped, _layout_html="old {% block content %}{% endblock %}", _style_css=".a{color:red}")
    write(app, _layout_html="new {% block content %}{% endblock %}")
    html = renderer(app, shipped).render("note", {}).html
    assert html == 'new <p style="color: red" class="a">x</p>'
    (app / "_layout.html").unlink()
    write(app, _style_css=".a{color:blue}")
    html = renderer(app, shipped).render("note", {}).html
    assert html == 'old <p style="color: blue" class="a">x</p>'


def test_each_file_falls_back_from_locale_to_language_to_no_locale(tmp_path: Path) -> None:
    write(
        tmp_path / "note",
        subject_txt="en",
        subject__de_txt="de",
        body_txt="en {{ locale }} {{ lang }}",
        body__de_txt="de {{ locale }} {{ lang }}",
        body_html="en {{ locale }} {{ lang }}",
    )
    (tmp_path / "note" / "body.de-AT.txt").write_text("at {{ locale }} {{ lang }}")
    subject = renderer(tmp_path)
    assert subject.render("note", {}) == ("en", "en en en", "en en en")
    assert subject.render("note", {}, "de") == ("de", "de de de", "en de en")
    assert subject.render("note", {}, "de-AT") == ("de", "at de-AT de-AT", "en de-AT en")
    assert subject.render("note", {}, "de_at")[:2] == ("de", "at de_at de-AT")
    assert subject.render("note", {}, "de-CH-1996")[:2] == ("de", "de de-CH-1996 de")
    assert subject.render("note", {}, "fr-FR") == ("en", "en fr-FR en", "en fr-FR en")
    assert subject.render("note", {}, "../../x").subject == "en"


def test_a_locale_without_a_subject_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "note", subject__de_txt="de", body_txt="t")
    subject = renderer(tmp_path)
    assert subject.render("note", {}, "de-AT").subject == "de"
    with pytest.raises(RenderError, match=r"no subject\.txt for locale 'fr'"):
        subject.render("note", {}, "fr")


# What a context must have


def test_required_is_the_union_over_the_files_of_the_locale(tmp_path: Path) -> None:
    write(
        tmp_path / "note",
        subject_txt="{{ a }}",
        body_txt="{{ b }} {{ subject }} {{ locale }} {{ url_for('x') }}",
        body_html="{{ c }} {{ base_url }} {{ lang }} {{ range(2) }}",
        body__de_html="{{ d }}",
    )
    subject = renderer(tmp_path)
    assert subject.required("note") == {"a", "b", "c"}
    assert subject.required("note", "de-AT") == {"a", "b", "d"}


def test_a_variable_called_subject_is_required_where_nothing_else_provides_it(
    tmp_path: Path,
) -> None:
    write(tmp_path / "note", subject_txt="Re: {{ subject }}", body_txt="{{ subject }}")
    subject = renderer(tmp_path)
    assert subject.required("note") == {"subject"}
    assert subject.render("note", {"subject": "x"}).text == "Re: x"


# Cached, reloaded, shared


def _touch(path: Path, text: str, seconds: int) -> None:
    path.write_text(text)
    os.utime(path, (seconds, seconds))


def _changes(folder: Path) -> list[tuple[Callable[[], None], str]]:
    """Changes to templates, each with the HTML that then follows."""
    layout, style = folder / "_layout.html", folder / "_style.css"
    return [
        (lambda: _touch(folder / "note" / "body.html", BODY.replace(">x<", ">y<"), 10), "1 {}y"),
        (lambda: _touch(layout, "2 {% block content %}{% endblock %}", 10), "2 {}y"),
        (lambda: _touch(style, "p { color: red }", 10), '2 { style="color: red"}y'),
    ]


BODY = '{% extends "_layout.html" %}{% block content %}<p>x</p>{% endblock %}'


@pytest.mark.parametrize("auto_reload", [True, False])
def test_changed_files_show_at_once_only_with_auto_reload(
    tmp_path: Path, auto_reload: bool
) -> None:
    write(tmp_path / "note", subject_txt="s", body_html=BODY)
    write(tmp_path, _layout_html="1 {% block content %}{% endblock %}")
    subject = renderer(tmp_path, auto_reload=auto_reload)
    assert subject.render("note", {}).html == "1 <p>x</p>"
    for change, expected in _changes(tmp_path):
        change()
        shown = expected.replace("{", "<p").replace("}", ">") + "</p>"
        assert subject.render("note", {}).html == (shown if auto_reload else "1 <p>x</p>")


@pytest.mark.parametrize("auto_reload", [True, False])
def test_new_templates_and_settings_are_found_only_with_auto_reload(
    tmp_path: Path, auto_reload: bool
) -> None:
    write(tmp_path / "note", subject_txt="s", body_txt="{{ a }}")
    subject = renderer(tmp_path, auto_reload=auto_reload)
    assert subject.required("note") == {"a"}
    _touch(tmp_path / "note" / "body.txt", "{{ a }}{{ b }}", 10)
    write(tmp_path / "note", template_toml='lane = "bulk"')
    write(tmp_path / "other", subject_txt="s", body_txt="t")
    assert subject.names() == (["note", "other"] if auto_reload else ["note"])
    assert subject.template("note").lane == ("bulk" if auto_reload else "default")
    assert subject.required("note") == ({"a", "b"} if auto_reload else {"a"})


@pytest.mark.parametrize("auto_reload", [True, False])
def test_a_wrong_setting_costs_only_its_own_template_until_it_is_mended(
    tmp_path: Path, auto_reload: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app, shipped = tmp_path / "app", tmp_path / "shipped"
    write(app / "note", subject_txt="s", body_txt="mine", template_toml='lane = "fast"')
    write(shipped / "note", subject_txt="s", body_txt="theirs")
    write(shipped / "other", subject_txt="s", body_txt="t")
    subject = renderer(app, shipped, auto_reload=auto_reload)
    expected = r"note/template\.toml: lane: expected one of"
    assert re.fullmatch(rf"template=note unusable: .*{expected}.*", caplog.messages[0])
    for _ in range(2):
        with pytest.raises(TemplateError, match=expected):
            subject.template("note")
    with pytest.raises(TemplateError, match=expected):
        subject.required("note")
    with pytest.raises(RenderError, match=expected):
        subject.render("note", {})
    assert subject.render("other", {}).text == "t"
    assert subject.names() == ["note", "other"]
    write(app / "note", template_toml='lane = "bulk"')
    assert subject.template("note").lane == "bulk"
    assert subject.render("note", {}).text == "mine"


def test_a_broken_sample_costs_only_the_sample(tmp_path: Path) -> None:
    write(tmp_path / "note", subject_txt="s", body_txt="t", sample_json="{")
    subject = renderer(tmp_path)
    assert subject.render("note", {}).text == "t"
    found = subject.template("note")
    with pytest.raises(TemplateError, match=r"note/sample\.json: expected JSON"):
        _ = found.sample


def test_threads_that_start_together_get_their_own_values(tmp_path: Path) -> None:
    body = '{% extends "_layout.html" %}{% block content %}<p class="a">{{ x }}</p>{% endblock %}'
    write(tmp_path / "note", subject_txt="{{ x }}", body_html=body)
    write(
        tmp_path, _layout_html="{% block content %}{% endblock %}", _style_css=".a { color: red }"
    )
    subject = renderer(tmp_path)
    together = threading.Barrier(8)

    def work(number: int) -> list[tuple[str, str, str | None]]:
        together.wait(timeout=10)
        return [subject.render("note", {"x": f"{number}.{turn}"}) for turn in range(50)]

    with ThreadPoolExecutor(8) as pool:
        for number, contents in enumerate(pool.map(work, range(8))):
            for turn, content in enumerate(contents):
                value = f"{number}.{turn}"
                html = f'<p style="color: red" class="a">{value}</p>'
                assert content == (value, f"{value}\n", html)
