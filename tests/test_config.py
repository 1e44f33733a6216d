"""Settings: typed, checked, and listed where people look for them."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.app import create_app
from mailer.config import PREFIX, SETTINGS, load
from mailer.errors import SettingError

from .worker import CHECKOUT

KEY = "not a secret, this is a test"

SERVICE = {
    "SECRET_KEY": KEY,
    "MAIL_DEFAULT_SENDER": "hello@acme.example",
    "MAILER_BASE_URL": "https://app.acme.example",
    "MAILER_DATABASE_URL": "sqlite:///ledger.sqlite3",
}
"""What the service needs to start."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set it in the environment."""
    for name, value in SERVICE.items():
        monkeypatch.setenv(PREFIX + name, value)


def loaded(environ: dict[str, str] | None = None, **config: Any) -> dict[str, Any]:
    load(config, environ or {})
    return config


def test_unset_settings_have_their_default() -> None:
    config = loaded()
    assert {setting.name: config[setting.name] for setting in SETTINGS} == {
        setting.name: setting.default for setting in SETTINGS
    } | {"MAIL_SUPPRESS_SEND": False}


@pytest.mark.parametrize(
    "given",
    [
        ["an old secret of ours", "the one before that"],
        '["an old secret of ours", "the one before that"]',
    ],
)
def test_earlier_secret_keys_are_a_list_in_code_and_in_the_environment(given: Any) -> None:
    keys = loaded(SECRET_KEY_FALLBACKS=given)["SECRET_KEY_FALLBACKS"]
    assert keys == ("an old secret of ours", "the one before that")


def test_one_earlier_secret_key_is_not_taken_for_a_key_of_each_character() -> None:
    old = "zmLTn2xAhmqhvuKIKZ4b"
    environ = {"FLASK_SECRET_KEY_FALLBACKS": f"{old},{old[::-1]}"}
    assert loaded(environ)["SECRET_KEY_FALLBACKS"] == (old, old[::-1])


@pytest.mark.parametrize("wrong", ["short", '["short"]', "[", {"a": 1}, 7, "[" * 10_000])
def test_earlier_secret_keys_that_are_none_are_refused_and_not_shown(wrong: Any) -> None:
    with pytest.raises(SettingError) as refused:
        loaded(SECRET_KEY_FALLBACKS=wrong)
    assert str(refused.value) == (
        "SECRET_KEY_FALLBACKS: expected secrets of at least 16 characters, with commas between"
        " them, got a secret value"
    )


@pytest.mark.parametrize("word", ["False", "false", "0", "no", "off"])
def test_a_no_from_the_environment_is_no(word: str) -> None:
    assert loaded({"FLASK_MAIL_USE_TLS": word}, MAIL_USE_TLS=word)["MAIL_USE_TLS"] is False


@pytest.mark.usefixtures("service")
def test_a_password_of_digits_stays_the_text_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_MAIL_USERNAME", "ada")
    monkeypatch.setenv("FLASK_MAIL_PASSWORD", "0123456e7")
    monkeypatch.setenv("FLASK_SECRET_KEY", "1" * 20)
    app = create_app()
    assert app.config["MAIL_PASSWORD"] == "0123456e7"
    assert app.config["SECRET_KEY"] == "1" * 20


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("spelling", ["BROKER_URL", "broker_url"])
def test_both_spellings_of_a_celery_setting_reach_celery(
    monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.setenv(f"FLASK_CELERY__{spelling}", "redis://127.0.0.1:1/7")
    app = create_app()
    assert app.extensions["celery"].conf.broker_url == "redis://127.0.0.1:1/7"


def test_code_wins_over_the_environment_and_that_over_dotenv(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = SERVICE | {"MAIL_PORT": 1, "MAIL_SERVER": "dotenv.example", "MAILER_BATCH": 1}
    lines = (f"{PREFIX}{name}={value}\n" for name, value in settings.items())
    (tmp_path / ".env").write_text("".join(lines))
    for name in settings:
        # load_dotenv sets them in os.environ: let monkeypatch take them out again.
        monkeypatch.setenv(PREFIX + name, "")
        monkeypatch.delenv(PREFIX + name)
    monkeypatch.setenv("FLASK_MAIL_PORT", "2")
    monkeypatch.setenv("FLASK_MAILER_BATCH", "2")
    app = create_app({"MAILER_BATCH": 3})
    assert app.config["MAIL_SERVER"] == "dotenv.example"
    assert app.config["MAIL_PORT"] == 2
    assert app.config["MAILER_BATCH"] == 3


WRONG = [
    ("MAIL_PORT", "smtp", "MAIL_PORT: expected a whole number from 1 to 65535, got 'smtp'"),
    ("MAIL_PORT", "70000", "from 1 to 65535, got '70000'"),
    ("MAIL_PORT", True, "a whole number"),
    ("MAIL_USE_TLS", "perhaps", "true or false, got 'perhaps'"),
    ("MAIL_TIMEOUT_SECONDS", "soon", "seconds, from"),
    ("MAILER_BASE_URL", "app.example.com", "an address such as"),
    ("MAILER_DATABASE_URL", "mysql://x", "sqlite:///PATH or postgresql://"),
    ("MAILER_DATABASE_URL", "sqlite:///:memory:", "sqlite:///PATH or postgresql://"),
    ("MAILER_REDIS_URL", "localhost", "redis://HOST"),
    ("MAILER_LOG_FORMAT", "xml", "one of lines, json"),
    ("MAILER_SENTRY_DSN", "https://sentry.example/1", "a DSN: https://KEY@HOST/NUMBER"),
    ("MAILER_LIMIT_PER_CLIENT", "often", "a rate such as 5/hour"),
    ("MAILER_SQLITE_SYNCHRONOUS", "OFF", "one of FULL, NORMAL"),
    ("MAIL_SERVER", 1.5, "text"),
    ("MAIL_SERVER", "smtp.example.com\r\n", "the name or address of a server"),
    ("MAIL_DEFAULT_SENDER", "nobody", "an address such as"),
    ("MAIL_CA_FILE", "/no/such/file.pem", "the path of a file that is there"),
    ("MAILER_TEMPLATES", "/no/such/folder", "the path of a folder that is there"),
    ("MAILER_NAMESPACE", "a b", "1 to 40 letters"),
    ("CELERY", "redis://", "a mapping"),
    ("CELERY", {"broker_transport_options": {"visibility_timeout": "abc"}}, "seconds, got 'abc'"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_wrong_value_is_refused_by_name_value_and_what_was_expected(
    name: str, value: Any, words: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(words)):
        loaded(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAIL_PASSWORD", ["hunter2"]),
        ("MAILER_DATABASE_URL", "mysql://root:hunter2@db/app"),
        ("MAILER_REDIS_URL", "http://:hunter2@redis"),
        ("MAILER_SENTRY_DSN", "https://hunter2@sentry.example/"),
    ],
)
def test_a_wrong_secret_is_never_shown(name: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        loaded(**{name: value})
    assert "hunter2" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("where", ["environment", "code"])
def test_an_unknown_setting_is_refused_with_the_nearest_name(where: str) -> None:
    with pytest.raises(SettingError, match=r"MAILER_BACH.*did you mean MAILER_BATCH"):
        if where == "environment":
            loaded({"FLASK_MAILER_BACH": "1"})
        else:
            loaded(MAILER_BACH=1)


RELATIONS: list[tuple[dict[str, Any], str]] = [
    ({"MAIL_FINAL_TIMEOUT_SECONDS": 290}, "MAILER_TASK_SECONDS"),
    ({"MAILER_TASK_SECONDS": 700}, "MAILER_LEASE_SECONDS"),
    ({"MAILER_LEASE_SECONDS": 3600}, "visibility_timeout"),
    ({"MAILER_DRAIN_SECONDS": 200}, "MAILER_DRAIN_SECONDS"),
    ({"MAILER_BACKOFF_BASE_SECONDS": 60, "MAILER_BACKOFF_CAP_SECONDS": 1}, "CAP_SECONDS"),
    ({"CELERY": {"broker_transport_options": {"VISIBILITY_TIMEOUT": 60}}}, "visibility_timeout"),
    ({"MAILER_KEEP_DAYS": 6}, "MAILER_KEEP_BODIES_DAYS"),
    ({"MAIL_USE_TLS": True, "MAIL_USE_SSL": True}, "at most one"),
    ({"MAIL_USERNAME": "ada"}, "both or neither"),
    ({"MAIL_PASSWORD": "hunter2"}, "both or neither"),
]


@pytest.mark.parametrize(("config", "words"), RELATIONS)
def test_settings_that_contradict_each_other_are_refused(
    config: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        loaded(**config)


def test_loading_twice_changes_nothing() -> None:
    config = loaded({"FLASK_MAIL_PORT": "2525"}, MAIL_PORT=2525)
    again = dict(config)
    load(again, {"FLASK_MAIL_PORT": "2525"})
    assert again == config


@pytest.mark.parametrize("name", SERVICE)
def test_the_service_refuses_to_start_without_what_has_no_safe_default(name: str) -> None:
    with pytest.raises(SettingError) as caught:
        create_app({**SERVICE, name: None})
    assert str(caught.value).startswith(f"{name}: expected")
    with pytest.raises(SettingError) as caught:
        create_app()
    assert name in str(caught.value)  # all of them at once


def test_the_service_refuses_a_secret_key_that_can_be_guessed() -> None:
    with pytest.raises(SettingError, match="SECRET_KEY: expected at least 16"):
        create_app({**SERVICE, "SECRET_KEY": "short"})


@given(
    st.sampled_from(SETTINGS), st.text() | st.integers() | st.floats() | st.none() | st.booleans()
)
def test_any_value_is_taken_or_refused_in_words(setting: Any, value: Any) -> None:
    with contextlib.suppress(SettingError):
        loaded(**{setting.name: value})


def test_env_example_lists_every_setting_with_default_and_meaning() -> None:
    example = (CHECKOUT / ".env.example").read_text()
    for setting in SETTINGS:
        default = "" if setting.default is None else _as_env(setting.default)
        assert f"# {setting.meaning}\n#{PREFIX}{setting.name}={default}\n" in example
    named = set(re.findall(rf"^#{PREFIX}(\w+)=", example, re.MULTILINE))
    assert named - {"CELERY__broker_url", "CELERY__result_backend"} == {
        setting.name for setting in SETTINGS
    }


def test_the_settings_page_lists_every_setting() -> None:
    page = (CHECKOUT / "docs" / "settings.md").read_text()
    for setting in SETTINGS:
        default = "" if setting.default is None else f"`{_as_env(setting.default)}`"
        assert f"| `{setting.name}` | {default} | {setting.meaning} |" in page


def _as_env(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
