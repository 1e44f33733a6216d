"""Links to unsubscribe: in which mail they are, whose they are, and what they say."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from mailer import Filters, InvalidEmail, Mailer, dispatch, dispatch_many
from mailer.cli import group
from mailer.delivery import drain
from mailer.dev.catcher import Catcher
from mailer.errors import TemplateError
from mailer.state import of
from mailer.template import load
from mailer.unsubscribe import Choice, mint, read
from mailer.web.unsubscribe import unsubscribe

from .conftest import AppFactory

CONFIG = {"SECRET_KEY": "a secret for tests only"}
ADA = Choice("ada@example.com", "newsletter")
SITE = "https://app.acme.example/unsubscribe/"


def template(folder: Path, name: str, settings: str) -> None:
    found = folder / name
    found.mkdir(parents=True)
    (found / "subject.txt").write_text("News")
    (found / "body.txt").write_text("News for {{ name }}.\n{{ unsubscribe_url }}\n")
    (found / "body.html").write_text('<p><a href="{{ unsubscribe_url }}">No more</a></p>')
    (found / "sample.json").write_text('{"name": "Ada"}')
    (found / "template.toml").write_text(settings)


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher, tmp_path: Path) -> Flask:
    template(tmp_path / "emails", "news", 'category = "newsletter"\nlane = "bulk"\n')
    return make_app(MAIL_PORT=catcher.smtp_port, MAILER_TEMPLATES=str(tmp_path / "emails"))


def sent(app: Flask, *arguments: Any, **more: Any) -> Any:
    with app.app_context():
        return dispatch(*arguments, **{"to": ["Ada@example.com", "bob@example.com"], **more})


def links(catcher: Catcher) -> dict[str, str]:
    """Return the link in the head of each message, by recipient."""
    return {
        message.recipients[0]: str(message_from_bytes(message.raw)["List-Unsubscribe"])[1:-1]
        for message in catcher.messages()
    }


@pytest.mark.parametrize(
    "more",
    [
        {"template": "news", "context": {"name": "you"}},
        {"category": "newsletter", "subject": "News", "text": "News"},
        {"category": "newsletter", "template": "news", "context": {"name": "you"}, "lane": "bulk"},
    ],
)
def test_each_recipients_copy_has_a_link_of_its_own(
    app: Flask, catcher: Catcher, more: dict[str, Any]
) -> None:
    sent(app, **more)
    found = links(catcher)
    assert set(found) == {"Ada@example.com", "bob@example.com"}
    for recipient, link in found.items():
        assert link.startswith(SITE)
        choice = read(app.config, link.removeprefix(SITE))
        assert choice == (recipient.lower(), "newsletter")
    for message in catcher.messages():
        parsed = message_from_bytes(message.raw)
        assert parsed.get_all("List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]
        assert len(parsed.get_all("List-Unsubscribe") or ()) == 1


def test_bodies_have_the_link_of_the_head(app: Flask, catcher: Catcher) -> None:
    sent(app, "news", context={"name": "you"})
    for message in catcher.messages():
        parsed = message_from_bytes(message.raw)
        link = str(parsed["List-Unsubscribe"])[1:-1]
        bodies = [
            part.get_payload(decode=True) for part in parsed.walk() if not part.is_multipart()
        ]
        assert len(bodies) == 2
        assert all(link.encode() in body for body in bodies if isinstance(body, bytes))


def test_an_email_without_a_category_has_no_link(app: Flask, catcher: Catcher) -> None:
    sent(app, subject="Hello", text="Hello")
    assert len(catcher.messages()) == 2
    assert all(b"nsubscribe" not in message.raw for message in catcher.messages())


def test_the_longest_address_has_a_link_too(app: Flask, catcher: Catcher) -> None:
    label = "a" * 63
    longest = f"{'x' * 64}@{label}.{label}.{'b' * 57}.com"
    with app.app_context():
        dispatch(to=longest, subject="News", text="News", category="c" * 64)
    (link,) = links(catcher).values()
    assert read(app.config, link.removeprefix(SITE)) == (longest, "c" * 64)


def test_who_unsubscribes_by_the_link_gets_no_more_of_it(app: Flask, catcher: Catcher) -> None:
    sent(app, "news", context={"name": "you"})
    link = links(catcher)["Ada@example.com"]
    answer = app.test_client().post(
        link, data={"List-Unsubscribe": "One-Click"}, base_url="https://app.acme.example"
    )
    assert answer.status_code == 200
    email = sent(app, "news", context={"name": "you"})
    rows = {row.recipient: row.status for row in of(app).ledger.show(email.id).deliveries}
    assert rows == {"Ada@example.com": "suppressed", "bob@example.com": "sent"}


@pytest.mark.parametrize(
    ("more", "field", "named"),
    [
        ({"category": "News"}, "category", "expected 1 to 64 of a-z 0-9 _ . -"),
        ({"category": ""}, "category", "expected 1 to 64"),
        ({"category": 7}, "category", "got 7"),
        ({"category": "news", "lane": "critical"}, "category", "in the lane 'critical'"),
        (
            {"category": "news", "headers": {"List-Unsubscribe-Post": "x"}},
            "headers",
            "expected no List-Unsubscribe-Post, which category 'news' sets",
        ),
    ],
)
def test_a_category_that_cannot_be_is_refused(
    app: Flask, more: dict[str, Any], field: str, named: str
) -> None:
    with pytest.raises(InvalidEmail) as refused:
        sent(app, subject="News", text="News", **more)
    ((where, words),) = refused.value.problems
    assert (where, named in words) == (field, True), words


def test_the_links_variable_is_nobody_elses(app: Flask) -> None:
    with pytest.raises(InvalidEmail, match="context: expected no unsubscribe_url"):
        sent(app, "news", context={"name": "you", "unsubscribe_url": "https://x.example"})


def test_a_template_without_a_category_needs_one_for_its_link(
    app: Flask, catcher: Catcher, tmp_path: Path, make_app: AppFactory
) -> None:
    template(tmp_path / "others", "plain", "")
    app = make_app(MAIL_PORT=catcher.smtp_port, MAILER_TEMPLATES=str(tmp_path / "others"))
    with pytest.raises(InvalidEmail, match="also needs: unsubscribe_url"):
        sent(app, "plain", context={"name": "you"})
    sent(app, "plain", context={"name": "you"}, category="newsletter")
    assert len(links(catcher)) == 2


def test_many_emails_have_categories_of_their_own(app: Flask, catcher: Catcher) -> None:
    common = {"subject": "News", "text": "News"}
    with app.app_context():
        dispatch_many(
            [
                {**common, "to": "ada@example.com", "category": "news"},
                {**common, "to": "bob@example.com", "category": "offers"},
            ]
        )
    choices = {read(app.config, link.removeprefix(SITE)) for link in links(catcher).values()}
    assert choices == {("ada@example.com", "news"), ("bob@example.com", "offers")}


def test_the_fingerprint_of_an_email_without_a_category_is_what_it_was(app: Flask) -> None:
    # Else a request that is sent again after an upgrade would be another one.
    sent(app, subject="Hello", text="Hello", idempotency_key="k", to="ada@example.com")
    (row,) = of(app).ledger.list(Filters(), 10)
    stored = of(app).ledger.show(row.email_id).email
    assert stored.fingerprint.startswith("b68a90fef56f8386")


def test_an_app_without_the_page_is_told_what_to_register(settings: dict[str, Any]) -> None:
    app = Flask("foreign")
    app.config.update(settings)
    Mailer(app)
    of(app).database.upgrade()
    with pytest.raises(InvalidEmail, match=r"register mailer\.web\.unsubscribe\.unsubscribe"):
        sent(app, subject="News", text="News", category="news")
    app.register_blueprint(unsubscribe)
    app.config["SECRET_KEY"] = None
    with pytest.raises(InvalidEmail, match="category: expected none, because SECRET_KEY"):
        sent(app, subject="News", text="News", category="news")
    of(app).close()


def test_a_worker_without_the_page_leaves_the_email_for_one_that_has_it(
    make_app: AppFactory, catcher: Catcher
) -> None:
    app = make_app(
        MAIL_PORT=catcher.smtp_port,
        MAILER_BACKOFF_BASE_SECONDS=600,
        MAILER_BACKOFF_CAP_SECONDS=600,
        CELERY={"broker_url": "memory://"},
    )
    sent(app, subject="News", text="News", category="news", to="ada@example.com")
    page = app.view_functions.pop("mailer_unsubscribe.ask")
    drain(of(app), "default")
    (row,) = of(app).ledger.list(Filters(), 10)
    assert (row.state, row.stage) == ("deferred", "render")
    assert "register mailer.web.unsubscribe" in row.reason
    app.view_functions["mailer_unsubscribe.ask"] = page


@pytest.mark.parametrize("options", [(), ("--format", "text"), ("--format", "html")])
def test_a_preview_shows_the_link(app: Flask, options: tuple[str, ...]) -> None:
    shown = app.test_cli_runner().invoke(group, ["preview", "news", *options, "--output", "-"])
    assert shown.exit_code == 0, shown.output
    assert SITE in shown.stdout
    assert ("List-Unsubscribe: <" in shown.stdout) == (not options)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ('category = "News"', "category: expected 1 to 64 of a-z"),
        ("category = 7", "category: expected 1 to 64"),
        ('category = "news"\nlane = "critical"', "category: expected none in the lane 'critical'"),
        ("override_suppressions = true", "override_suppressions: expected only with lane"),
        ('override_suppressions = true\nlane = "bulk"', "got lane 'bulk'"),
        ('override_suppressions = "yes"\nlane = "critical"', "expected true or false, got 'yes'"),
    ],
)
def test_a_template_says_only_what_can_be(tmp_path: Path, settings: str, named: str) -> None:
    template(tmp_path, "news", settings)
    with pytest.raises(TemplateError) as refused:
        load(tmp_path / "news")
    assert named in str(refused.value)
    assert "template.toml" in str(refused.value)


# Tokens


def test_a_token_says_who_and_what_and_is_short() -> None:
    token = mint(CONFIG, ADA)
    assert read(CONFIG, token) == ADA
    assert len(token) == 79


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: "A" + t[1:], lambda t: ""])
def test_a_token_that_was_changed_says_nothing(change: Any) -> None:
    assert read(CONFIG, change(mint(CONFIG, ADA))) is None


@pytest.mark.parametrize("token", [".", "a.b", "é", "\x00", "x" * 3000, "=.="])
def test_what_is_no_token_says_nothing(token: str) -> None:
    assert read(CONFIG, token) is None


def test_a_token_outlives_its_key_among_the_fallbacks() -> None:
    token = mint(CONFIG, ADA)
    newer = {"SECRET_KEY": "the next secret of the app"}
    assert read(newer, token) is None
    kept = {**newer, "SECRET_KEY_FALLBACKS": ["another one", CONFIG["SECRET_KEY"]]}
    assert read(kept, token) == ADA
    assert mint(kept, ADA) == mint(newer, ADA)
