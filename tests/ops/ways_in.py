"""Ways in which somebody's words come to a page of the console: each plants them."""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy as sa
from flask import Flask

from mailer import bulk, create_app, dispatch, jobs, keys, presence, webhooks
from mailer.bulk import Upload
from mailer.content import Attachment
from mailer.dev.catcher import Catcher
from mailer.drafting import Request
from mailer.grants import Grant
from mailer.inbound.told import Told
from mailer.ledger.record import uuid7
from mailer.models import ApiKey, Email, Event, Job, Webhook
from mailer.state import of

from ..receiver import Receiver, answer


class World(NamedTuple):
    """Where they are planted."""

    app: Flask
    catcher: Catcher
    receiver: Receiver


class Say:
    """Words of one kind, with the name of the field they stand in; and which were said."""

    def __init__(self, words: str) -> None:
        self.words = words
        self.said: set[str] = set()
        self.addresses: list[str] = []
        """Pages that show them, where lists may lead to others only."""

    def __call__(
        self, field: str, *, without: str = "", if_is: Callable[[str], bool] = bool
    ) -> str:
        """Return the words for a field, which have to be seen somewhere: those that the field can
        show whole (``if_is``). What it cannot hold is replaced."""
        text = "".join("_" if one in without else one for one in self.words) + f"~{field}"
        if if_is(text):
            self.said.add(text)
        return text


def _is_short(text: str) -> bool:
    return len(text) <= 60


def email(world: World, say: Say) -> None:
    app, catcher = world.app, world.catcher
    catcher.rules.clear()
    catcher.script("rcpt", f"550 5.7.1 {say('refusal', if_is=str.isascii)}", address="ada@*")
    catcher.script("rcpt", f"451 4.7.1 {say('deferral', if_is=str.isascii)}", address="ben@*")
    with app.app_context():
        made = dispatch(
            subject=say("subject"),
            text=say("text"),
            html=f"{say.words}~html",
            sender=(say("sender"), "shop@acme.example"),
            to=(say("to"), "ada@example.com"),
            cc=(say("cc"), "ben@example.com"),
            reply_to=(say("reply-to"), "help@acme.example"),
            headers={"X-Words": say("header")},
            attachments=[
                Attachment(filename=say("file", without="/", if_is=str.isascii), data=b"x")
            ],
            idempotency_key=say("key"),
        )
    with of(app).database.begin() as connection:  # where a check may have been forgotten
        values = {
            "tags": {say("tag"): say("value")},
            "request_id": say("request"),
            "accepted_by": say("accepted-by"),
            "category": say("category"),
        }
        connection.execute(sa.update(Email).where(Email.id == made.id).values(values))
    report = Told(
        kind="bounced", source=say("source"), source_id=say.words, once=None, email_id=made.id,
        reference=None, recipients=("ada@example.com",), occurred_at=None, permanent=False,
        code=550, enhanced="5.7.1", words=say("report"),
    )  # fmt: skip
    of(app).ledger.report([report], suppress_bounces=False)
    tabs = ("html", "text", "headers", "source", "attachments")
    say.addresses += [f"/ops/emails/{made.id}?tab={tab}" for tab in tabs]


def webhook(world: World, say: Say) -> None:
    state = of(world.app)
    world.catcher.rules.clear()
    world.receiver.script = [answer("500 Sorry", say("answer"))]
    made = webhooks.create(state, world.receiver.url, ["email.sent"], actor=say("actor"))
    with world.app.app_context():
        name = say("template", without="/")
        dispatch(template=name, context={"words": say.words}, to="eva@example.com")
    say.addresses.append(f"/ops/templates/{quote(name, safe='')}")
    with state.database.begin() as connection:  # where a check may have been forgotten
        values = {
            "url": say("url"),
            "events": [say("type")],
            "disabled_at": 1.0,
            "disabled_reason": say("reason"),
        }
        connection.execute(sa.update(Webhook).where(Webhook.id == made.id).values(values))
        its = Event.webhook_id == made.id
        told = {"type": say("event"), "details": {"words": say("detail")}}
        changed = sa.update(Event).where(its).values(**told).returning(Event.id)
        event_id = connection.scalar(changed)
    page = f"/ops/webhooks/{made.id}"
    say.addresses += [page, f"{page}/events/{event_id}"]


def key(world: World, say: Say) -> None:
    database = of(world.app).database
    grant = Grant(scopes=frozenset({"send"}))
    key_id, _ = keys.create(database, say("key-name"), grant, actor=say("actor"))
    with database.begin() as connection:  # where a check may have been forgotten
        patterns = {name: [say(name)] for name in ("senders", "recipients", "templates")}
        its = ApiKey.id == key_id
        connection.execute(sa.update(ApiKey).where(its).values(**patterns, scopes=[say("scope")]))


def suppression(world: World, say: Say) -> None:
    of(world.app).ledger.suppress(
        [say("address")],
        origin="manual",
        category=say("suppressed-category"),
        words=say("said"),
        actor=say("actor"),
    )


def act(world: World, say: Say) -> None:
    of(world.app).ledger.note(say("actor"), "retry", say("about"))


def pause(world: World, say: Say) -> None:
    ledger = of(world.app).ledger
    ledger.resume("bulk", actor="nobody")
    ledger.pause("bulk", actor=say("pauser"))
    ledger.resume_transport("spare", actor="nobody")
    ledger.pause_transport("spare", actor=say("transport-pauser"))


def worker(world: World, say: Say) -> None:
    presence.announce(of(world.app).traffic.shared, say("worker"))


def checked_file(world: World, say: Say) -> None:
    """A file that was checked, with a bad row, and shows its first emails."""
    row = f"ida@example.com,{_cell(say('cell'))}\n{_cell(say('bad', if_is=_is_short))},x\n"
    _bulk(world, f"email,words\n{row}", Request(template="plain"), say, "checked")


def sent_file(world: World, say: Say) -> None:
    """A file all of which was accepted, without a template."""
    rows = f"email,name\nuta@example.com,{_cell(say.words)}\n"
    request = Request(subject=say("sent-subject"), text=say.words)
    _bulk(world, rows, request, say, "sent", confirm=True)


def failed_file(world: World, say: Say) -> None:
    """A file whose send failed."""
    job_id = _bulk(world, "email\nuwe@example.com\n", Request(subject="x", text="x"), say, "failed")
    with of(world.app).database.begin() as connection:
        values = {"status": "failed", "words": say("failure"), "ended_at": 1.0}
        connection.execute(sa.update(Job).where(Job.id == job_id).values(values))


def job(world: World, say: Say) -> None:
    ledger, job_id = of(world.app).ledger, str(uuid.uuid4())
    details = {"ids": [1], "below": 2, "verb": "retry"}
    ledger.add_job(job_id, "retry", details, actor=say("actor"), total=1)
    ledger.claim_job(job_id, "claim")
    ledger.leave_job(job_id, "claim", "failed", say("job-words"))
    say.addresses.append(f"/ops/jobs/{job_id}")


WAYS: tuple[Callable[[World, Say], None], ...] = (
    email,
    webhook,
    key,
    suppression,
    act,
    pause,
    worker,
    checked_file,
    sent_file,
    failed_file,
    job,
)


def plant(world: World, words: Iterable[str]) -> tuple[set[str], list[str]]:
    """Plant all words in all ways; return what is to be seen, and pages that show
    it."""
    said: set[str] = set()
    addresses: list[str] = []
    for text in words:
        say = Say(text)
        for way in WAYS:
            way(world, say)
        said |= say.said
        addresses += say.addresses
    world.catcher.rules.clear()
    return said, addresses


def _bulk(world: World, rows: str, request: Request, say: Say, name: str, **how: Any) -> str:
    state, job_id = of(world.app), uuid7()
    upload = Upload(say(f"{name}-file"), [rows.encode()], is_csv=True)
    with world.app.app_context():
        bulk.create(state, job_id, request, upload, actor=say("actor"), **how)
        jobs.run(state, job_id, lambda told: None)
    say.addresses.append(f"/ops/bulk/{job_id}")
    return job_id


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


# What is there before the service starts


def hostile_app(
    folder: Path, redis_url: str, name: str, words: tuple[str, ...], smtp_port: int
) -> tuple[Flask, set[str]]:
    """Return the service with words in its templates and settings; and what is to be seen."""
    said = _write_templates(folder / "emails", words)
    dsns, users = _transports(smtp_port, words)
    app = create_app({
        "SECRET_KEY": "not a secret, this is a test",
        "MAIL_DEFAULT_SENDER": "Acme <hello@acme.example>",
        "MAILER_BASE_URL": "http://localhost",
        "MAILER_DATABASE_URL": f"sqlite:///{folder / 'ledger.sqlite3'}",
        "MAILER_BACKOFF_BASE_SECONDS": 600,
        "MAILER_BACKOFF_CAP_SECONDS": 600,
        "MAILER_NAMESPACE": name,
        "MAILER_TEMPLATES": str(folder / "emails"),
        "MAILER_TRANSPORTS": dsns,
        "MAILER_WEBHOOK_ALLOW": "127.0.0.1",
        "CELERY": {"broker_url": redis_url, "task_always_eager": True},
    })  # fmt: skip
    of(app).database.upgrade()
    return app, said | users


def _write_templates(folder: Path, words: tuple[str, ...]) -> set[str]:
    """Make a template of each, one that cannot be used, and a plain one; return what is to be
    seen."""
    said: set[str] = set()
    for text in words:
        say = Say(text)
        _template(folder / say("template", without="/"), say("description"), say("sample"))
        broken = folder / say("broken", without="/")
        _template(broken, "x", "x")
        (broken / "template.toml").write_text(f"lane = {_toml(say('broken-lane'))}\n")
        said |= say.said
    _template(folder / "plain", "x", "x")
    return said


def _template(folder: Path, description: str, sample: str) -> None:
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text("{{ words }}")
    (folder / "body.txt").write_text("{{ words }}")
    (folder / "body.html").write_text("<p>{{ words }}</p>")
    (folder / "sample.json").write_text(f'{{"words": {_toml(sample)}}}')
    (folder / "template.toml").write_text(f"description = {_toml(description)}\n")


def _toml(text: str) -> str:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert tomllib.loads(f"x = {quoted}") == {"x": text}
    return quoted


def _transports(port: int, words: tuple[str, ...]) -> tuple[str, set[str]]:
    """Return transports: the usual one, a spare one, and one with each as its user's name; and what
    is to be seen."""
    said = [f"{text}~user" for text in words]
    hidden = [
        f"login{number}=smtps://{quote(name, safe='')}:x@127.0.0.1:9?lane=critical"
        for number, name in enumerate(said)
    ]
    usual = [f"usual=smtp://127.0.0.1:{port}", "spare=smtp://127.0.0.1:9?lane=critical"]
    return ",".join(usual + hidden), set(said)
