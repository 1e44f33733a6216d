"""Whatever a setting is set to, in the environment or in code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailer import config
from mailer.config import PREFIX, SETTINGS, Setting
from mailer.errors import SettingError

from .conftest import examples

NEAR = [
    *("", " ", "0", "1", "-1", "1e3", "nan", "inf", "1_000", "٣", "true", "No", "null", "[]"),
    *("FULL", "5/hour", "1 per second", "a@b.example", "A <a@b.example>", "127.0.0.1", "[::1]"),
    *("sqlite:///x.sqlite3", "sqlite:///:memory:", "postgres://u:p@h/d", "postgresql://h:x/d"),
    *("redis://h:1/0", "unix:///tmp/s", "https://a.example/", "http://[", "/", ".", "a\0b"),
    *("{" * 50, "9" * 5000, "\ud800", "x" * 5000),
]
TUPLES = {
    "MAILER_SES_TOPICS",
    "MAILER_TRANSPORTS",
    "MAILER_WEBHOOK_ALLOW",
    "SECRET_KEY_FALLBACKS",
}
texts = st.sampled_from(NEAR) | st.text(max_size=20)
values = (
    texts
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=5)
    | st.lists(texts, max_size=3)
    | st.tuples(texts, texts)
    | st.dictionaries(texts, texts, max_size=2)
)


def loaded(environ: dict[str, str] | None = None, **given: Any) -> dict[str, Any] | str:
    """Return the settings, or the words of the refusal; anything else is raised."""
    try:
        config.load(given, environ or {})
    except SettingError as error:
        return str(error)
    return given


def check(setting: Setting, value: Any, result: dict[str, Any] | str) -> None:
    """See that a value was taken as what its setting is, or refused by name and without it."""
    if isinstance(result, str):
        # Of two settings that contradict each other, either is named.
        assert any(one.name in result for one in SETTINGS)
        assert setting.name in result or "got a secret value" not in result
        if setting.secret and isinstance(value, str) and len(value) > 8:
            assert value not in result.replace("a secret value", "")
            assert repr(value)[1:-1] not in result
        return
    got = result[setting.name]
    if got is None:
        assert setting.default is None
    elif isinstance(setting.default, bool) or setting.name == "MAIL_SUPPRESS_SEND":
        assert isinstance(got, bool)
    elif isinstance(setting.default, int | float):
        assert type(got) in {int, float}
        assert got == got  # no NaN, which is less than nothing and more than nothing  # noqa: PLR0124
    elif setting.name in TUPLES:
        assert isinstance(got, tuple)
    elif setting.name == "MAIL_DEFAULT_SENDER":
        assert isinstance(got, str) or [type(part) for part in got] == [str, str]
    else:
        assert isinstance(got, str)
    again = dict(result)
    config.load(again, {})
    assert again == result


@examples(600)
@given(setting=st.sampled_from(SETTINGS), value=values)
@example(next(one for one in SETTINGS if one.name == "MAIL_PASSWORD"), "correct horse battery")
def test_a_value_in_code_is_what_its_setting_is_or_refused(setting: Setting, value: Any) -> None:
    check(setting, value, loaded(None, **{setting.name: value}))


@examples(400)
@given(setting=st.sampled_from(SETTINGS), raw=texts)
def test_a_value_in_the_environment_is_what_its_setting_is_or_refused(
    setting: Setting, raw: str
) -> None:
    try:
        in_flask = json.loads(raw)  # as Flask reads it
    except ValueError:
        in_flask = raw
    environ = {PREFIX + setting.name: raw}
    result = loaded(environ, **{setting.name: in_flask})
    check(setting, raw, result)
    if isinstance(result, dict):
        again = dict(result)
        config.load(again, environ)
        assert again == result


@pytest.mark.parametrize("setting", [one for one in SETTINGS if one.secret])
@examples(100)
@given(word=st.from_regex(r"\AZq[A-Za-z0-9]{8,20}\Z"))
def test_no_refusal_shows_a_secret(setting: Setting, word: str) -> None:
    values: list[Any] = [word, f"x://user:{word}@host/0", [word], {"name": word}, word.encode()]
    for value in values:
        for more in ({}, {"MAIL_USERNAME": "ada"}):
            result = loaded(None, **{setting.name: value, **more})
            assert not isinstance(result, str) or word not in result
