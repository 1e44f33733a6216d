"""The email templates that are shipped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import css_inline
import pytest

from mailer import plaintext
from mailer.content import Content
from mailer.rendering import Renderer

FOLDER = Path(__file__).parent.parent / "templates"
RENDERER = Renderer(
    [FOLDER],
    url_for=lambda endpoint, **values: f"https://app.test/{endpoint}",
    product_name="Acme",
    base_url="https://app.test",
)
VARIANTS = [
    (name, locale)
    for name in RENDERER.names()
    for locale in (None, *RENDERER.template(name).locales)
]

each_variant = pytest.mark.parametrize(("name", "locale"), VARIANTS)


def rendered(name: str, locale: str | None) -> Content:
    return RENDERER.render(name, RENDERER.template(name).sample, locale)


def html_of(name: str, locale: str | None) -> str:
    html = rendered(name, locale).html
    assert html is not None
    return html


def test_they_ask_for_what_the_flows_give_them() -> None:
    templates = [RENDERER.template(name) for name in RENDERER.names()]
    asked = {each.name: (sorted(RENDERER.required(each.name)), each.lane) for each in templates}
    assert {each.name: (*asked[each.name], each.expires) for each in templates} == {
        "already_registered": (["reset_url"], "critical", None),
        "confirm_email": (["confirm_url", "expires_in"], "critical", 172_800),
        "password_changed": (["changed_at", "reset_url"], "critical", None),
        "reset_password": (["expires_in", "reset_url"], "critical", 3600),
        "welcome": (["start_url"], "default", None),
    }
    assert all(each.description for each in templates)


@each_variant
def test_every_variable_shows_in_text_and_html(name: str, locale: str | None) -> None:
    sample = RENDERER.template(name).sample
    assert sample.keys() == RENDERER.required(name, locale)
    content = rendered(name, locale)
    for value in sample.values():
        shown = str(value).replace("2 days", "2 Tage") if locale == "de" else str(value)
        assert shown in content.text
        assert shown in (content.html or "")


@each_variant
def test_nothing_is_left_to_inline(name: str, locale: str | None) -> None:
    html = html_of(name, locale)
    once_more = css_inline.inline(
        html,
        inline_style_tags=False,
        keep_style_tags=True,
        load_remote_stylesheets=False,
        extra_css=(FOLDER / "_style.css").read_text(),
    )
    assert _styles(once_more) == _styles(html)
    assert len([style for _, style in _styles(html) if style != [""]]) > 15


def _styles(html: str) -> list[tuple[str, list[str]]]:
    """Return every element with its declarations; the parser adds <tbody>, which has none."""
    found: list[tuple[str, list[str]]] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag != "tbody":
                style = (dict(attrs).get("style") or "").strip("; ")
                found.append((tag, sorted(re.split(r"\s*;\s*", style))))

    Parser().feed(html)
    return found


@each_variant
def test_mail_clients_get_what_they_need(name: str, locale: str | None) -> None:
    html = html_of(name, locale)
    assert len(html.encode()) < 20_000
    assert html.startswith(f'<!DOCTYPE html>\n<html lang="{locale or "en"}"')
    assert "(prefers-color-scheme: dark)" in html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert not re.search(r"<img|src=|@import|<link|url\(", html)
    # Gmail drops a <style> of more than 8,192 characters.
    assert all(len(style) < 8192 for style in re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    assert max(map(len, html.splitlines())) < 2000


@each_variant
def test_an_inbox_shows_a_preheader_of_a_sensible_length(name: str, locale: str | None) -> None:
    match = re.search(r'class="preheader">(.*?)&#847;', html_of(name, locale))
    assert match
    assert 30 < len(match[1]) < 100


@each_variant
def test_text_is_no_wider_than_a_terminal(name: str, locale: str | None) -> None:
    content = rendered(name, locale)
    lines = content.text.splitlines()
    assert all(len(line) <= 78 for line in lines if "https://" not in line)
    assert content.text == content.text.strip() + "\n" * content.text.endswith("\n")
    assert "\n\n\n\n" not in content.text
    assert len(content.subject) < 60


def test_german_speakers_get_confirm_email_in_german_and_the_rest_in_english() -> None:
    assert rendered("confirm_email", "de-AT").subject.startswith("Bestätigen Sie")
    assert '<html lang="de"' in html_of("confirm_email", "de-AT")
    assert '<html lang="en"' in html_of("welcome", "de-AT")


@pytest.mark.parametrize(
    ("words", "german"),
    [
        ("1 day", "1 Tag"),
        ("36 hours", "36 Stunden"),
        ("1 hour", "1 Stunde"),
        ("30 minutes", "30 Minuten"),
        ("1 minute", "1 Minute"),
    ],
)
def test_durations_are_translated(words: str, german: str) -> None:
    sample = {**RENDERER.template("confirm_email").sample, "expires_in": words}
    assert f"Der Link gilt {german} lang." in RENDERER.render("confirm_email", sample, "de").text


@each_variant
def test_the_derived_text_holds_the_same_link(name: str, locale: str | None) -> None:
    sample = RENDERER.template(name).sample
    text = plaintext.from_html(html_of(name, locale))
    assert any(str(value) in text for key, value in sample.items() if key.endswith("_url"))
    assert "\u034f" not in text
    assert not text.startswith("A |")
