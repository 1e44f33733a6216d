"""Telling webhooks, over real HTTP to receivers that are scripted: on SQLite and PostgreSQL."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from standardwebhooks import Webhook as Standard
from svix.webhooks import Webhook as Svix

from mailer import dispatch, telling, webhooks
from mailer.delivery import drain
from mailer.dev.catcher import Catcher
from mailer.errors import Refused
from mailer.ledger import Filters, replaying
from mailer.ledger.events import TYPES, Note, note
from mailer.ledger.suppressions import add
from mailer.ledger.telling import LEASE_SECONDS, PROBED_AFTER, Telling
from mailer.models import Email, Event, EventAttempt, Webhook
from mailer.request import Answer
from mailer.state import State, of

from .conftest import AppFactory
from .plans import plans, prefer_indexes
from .receiver import Receiver, answer, close, drip, hang, receiver, until
from .worker import CHECKOUT

DAY = 86_400.0


@pytest.fixture
def app(make_app: AppFactory, database_url: str, catcher: Catcher) -> Iterator[Flask]:
    """The service, which tells nothing by itself."""
    made = make_app(
        MAILER_DATABASE_URL=database_url,
        MAIL_PORT=catcher.smtp_port,
        MAILER_WEBHOOK_ALLOW="127.0.0.0/8",
        MAILER_DRAIN_SECONDS=3,
        CELERY={"broker_url": "memory://"},
    )
    with made.app_context():
        yield made


@pytest.fixture
def state(app: Flask) -> State:
    return of(app)


@pytest.fixture
def hook(state: State) -> Iterator[Callable[..., tuple[Receiver, Any]]]:
    """Make a receiver and its webhook: ``hook(answer("500 No"), types=["email.sent"])``."""
    running: list[Receiver] = []

    def make(*script: Any, types: Any = TYPES) -> tuple[Receiver, Any]:
        running.append(Receiver(*script))
        return running[-1], webhooks.create(state, running[-1].url, types, actor="test")

    yield make
    for one in running:
        one.stop()


def send(to: str = "Ada <ada@example.com>", **more: Any) -> Email:
    given: dict[str, Any] = {"subject": "Your order", "text": "a secret of yours", **more}
    return dispatch(to=to, **given)


def pass_time(state: State, seconds: float) -> None:
    """Let so much time pass for events and webhooks."""
    with state.database.begin() as connection:
        for model, names in (
            (Event, ("due_at", "tried_until")),
            (Webhook, ("failing_since", "rests_until", "previous_until")),
        ):
            columns = {name: model.__table__.c[name] for name in names}
            earlier = {
                name: sa.type_coerce(column, sa.Double) - seconds
                for name, column in columns.items()
            }
            connection.execute(sa.update(model).values(earlier))


def stored(state: State) -> list[Any]:
    with state.database.read() as connection:
        return list(connection.execute(sa.select(Event.__table__).order_by(Event.id)))


def attempts(state: State) -> list[Any]:
    with state.database.read() as connection:
        statement = sa.select(EventAttempt.__table__).order_by(EventAttempt.id)
        return list(connection.execute(statement))


def test_what_becomes_of_an_email_is_told_and_signed_for_both_libraries(
    state: State, hook: Any
) -> None:
    hears, made = hook()
    email = send(tags={"kind": "order"}, bcc="bob@example.com")
    assert telling.tell(state) == 1
    drain(state, "default")
    assert telling.tell(state) == 2
    assert telling.tell(state) == 0
    queued, *sent = hears.heard
    assert queued.line == "POST /hook?shop=7 HTTP/1.1"
    assert queued.headers["host"] == f"127.0.0.1:{hears.port}"
    assert queued.headers["content-type"] == "application/json"
    document = Standard(made.secret).verify(queued.body, queued.headers)
    Svix(made.secret).verify(queued.body, queued.headers)  # or raises
    created_at = email.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert document["type"] == "email.queued"
    assert document["data"] == {
        "email_id": email.id,
        "created_at": created_at,
        "from": "Acme <hello@acme.example>",
        "to": ["Ada <ada@example.com>"],
        "subject": "Your order",
        "tags": {"kind": "order"},
    }
    told = {one.document["data"]["recipient"]: one.document for one in sent}
    assert told.keys() == {"ada@example.com", "bob@example.com"}
    assert told["bob@example.com"]["type"] == "email.sent"
    assert told["bob@example.com"]["data"]["to"] == ["bob@example.com"]
    assert not any(b"secret of yours" in one.body for one in hears.heard)
    assert {one.status for one in stored(state)} == {"delivered"}
    assert [(one.number, one.code) for one in attempts(state)] == [(1, 200)] * 3


def test_a_cancelled_email_says_why(state: State, hook: Any) -> None:
    hears, _ = hook(types=["email.canceled"])
    email = send(send_at=datetime.now(UTC) + timedelta(hours=1))
    state.ledger.cancel(Filters(email_id=email.id), actor="ops")
    telling.tell(state)
    (canceled,) = hears.heard
    assert canceled.type == "email.canceled"
    assert canceled.document["data"]["canceled"] == {"reason": "cancelled before it was sent"}


@pytest.mark.parametrize(
    ("type", "details", "part"),
    [
        (
            "email.failed",
            {"words": "no such user", "code": 550, "enhanced": "5.1.1", "attempt": 1},
            {"failed": {"reason": "no such user", "code": 550, "enhanced": "5.1.1", "attempt": 1}},
        ),
        (
            "email.bounced",
            {"bounce": {"type": "Permanent", "subType": "NoEmail"}},
            {"bounce": {"type": "Permanent", "subType": "NoEmail"}},
        ),
        (
            "email.suppressed",
            {"words": "on the list"},
            {
                "suppressed": {
                    "type": "OnAccountSuppressionList",
                    "reason": "previous_complaint",
                    "message": "on the list",
                    "diagnosticCode": [],
                }
            },
        ),
        ("email.scheduled", {"scheduled_at": "x"}, {"scheduled": {"scheduled_at": "x"}}),
        ("email.delivered", {}, {}),
        ("email.complained", {}, {}),
    ],
)
def test_each_type_has_its_part(
    state: State, hook: Any, type: str, details: dict[str, Any], part: dict[str, Any]
) -> None:
    email = send()
    hears, _ = hook()
    (row,) = state.ledger.show(email.id).deliveries
    with state.database.begin() as connection:
        add(connection, "Ada@example.com", origin="complaint")
        note(connection, [Note(type, email.id, row.id, details)])
    telling.tell(state)
    data = hears.heard[0].document["data"]
    common = {"email_id", "created_at", "from", "to", "subject", "tags", "recipient"}
    assert {name: value for name, value in data.items() if name not in common} == part


def test_a_template_is_named_and_its_context_is_not_told(state: State, hook: Any) -> None:
    hears, _ = hook()
    context = {"changed_at": "noon", "reset_url": "https://app.example.com/canary"}
    dispatch("password_changed", to="ada@example.com", context=context)
    telling.tell(state)
    data = hears.heard[0].document["data"]
    assert (data["template_id"], data["subject"]) == ("password_changed", "")
    assert b"canary" not in hears.heard[0].body


@pytest.mark.parametrize(
    ("act", "code", "words"),
    [
        (answer("500 Broken", "what\x1b[2J went wrong"), 500, "what [2J went wrong"),
        (
            answer("302 Found", location="http://169.254.169.254/latest"),
            302,
            "redirects are not followed: it leads to http://169.254.169.254/latest",
        ),
        (close, None, "no answer: "),
    ],
)
def test_a_failure_is_kept_and_tried_again_with_the_same_id(
    state: State, hook: Any, act: Any, code: int | None, words: str
) -> None:
    hears, _ = hook(act, answer())
    send()
    assert telling.tell(state) == 1
    (event,) = stored(state)
    (first,) = attempts(state)
    assert (event.status, event.attempts, first.code) == ("pending", 1, code)
    assert first.words.startswith(words)
    wait = (event.due_at - first.ended_at).total_seconds()
    assert 4.9 <= wait <= 10.1
    assert telling.tell(state) == 0
    pass_time(state, 11)
    assert telling.tell(state) == 1
    again, once = hears.heard[1], hears.heard[0]
    assert (again.id, again.body) == (once.id, once.body)
    assert hears.connections == 2
    assert stored(state)[0].status == "delivered"


def test_a_redirect_leads_nowhere(state: State, hook: Any) -> None:
    with receiver() as inner:
        hook(answer("307 Temporary Redirect", location=inner.url))
        send()
        telling.tell(state)
        assert inner.connections == 0


def test_an_event_fails_for_good_after_five_days_and_is_replayed(state: State, hook: Any) -> None:
    hears, made = hook(answer("500 Broken"), answer("500 Broken"), answer("500 Broken"), answer())
    send()
    since = datetime.now(UTC) - timedelta(minutes=1)
    telling.tell(state)
    pass_time(state, 5 * DAY - 60)
    telling.tell(state)
    assert stored(state)[0].status == "pending"
    pass_time(state, DAY)
    telling.tell(state)
    (event,) = stored(state)
    assert (event.status, event.attempts) == ("failed", 3)
    # Nothing else was told meanwhile: that was enough to disable it.
    webhooks.update(state, made.id, status="enabled", actor="test")
    assert telling.tell(state) == 0
    later = datetime.now(UTC) + timedelta(hours=1)
    assert webhooks.replay_since(state, made.id, later, actor="test") == (0, 0)
    assert webhooks.replay_since(state, made.id, since, actor="test") == replaying.Replayed(
        waiting=0, failed=1
    )
    assert webhooks.replay_since(state, made.id, since, actor="test") == (0, 0)
    telling.tell(state)
    (event,) = stored(state)
    assert (event.status, event.attempts) == ("delivered", 4)
    assert webhooks.replay(state, made.id, event.id, actor="test")
    telling.tell(state)
    assert [one.id for one in hears.heard] == [event.id] * 5


def test_one_replay_tells_a_receiver_that_is_mended_everything_at_once(
    state: State, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "AT_ONCE", 2)
    hears, made = hook(answer("503 Busy", retry_after="600"), types=["email.queued"])
    since = datetime.now(UTC) - timedelta(minutes=1)
    for _ in range(7):
        send()
    telling.tell(state)
    assert webhooks.get(state, made.id).rests_until is not None
    send()  # never tried: it waits for the webhook alone
    ids = [one.id for one in stored(state)]
    with state.database.begin() as connection:
        connection.execute(sa.update(Event).where(Event.id.in_(ids[:3])).values(status="failed"))
        # Another worker tells this one now.
        in_hand = sa.update(Event).where(Event.id == ids[6]).values(claim="another")
        connection.execute(in_hand)
    hears.script = [answer()]
    assert telling.tell(state) == 0
    assert webhooks.replay_since(state, made.id, since, actor="test") == replaying.Replayed(
        waiting=3, failed=3
    )
    telling.tell(state)
    told = {one.id: one.status for one in stored(state)}
    assert told == {**dict.fromkeys(ids, "delivered"), ids[6]: "pending"}


@pytest.mark.parametrize("status", webhooks.EVENT_STATUSES)
def test_events_of_one_status_are_found_by_an_index(
    state: State, hook: Any, status: webhooks.EventStatus
) -> None:
    _, made = hook(answer(), types=["email.queued"])
    for _ in range(3):
        send()
    one, *others = (event.id for event in stored(state))
    elsewhere = "failed" if status == "delivered" else "delivered"
    with state.database.begin() as connection:
        for ids, is_now in (([one], status), (others, elsewhere)):
            connection.execute(sa.update(Event).where(Event.id.in_(ids)).values(status=is_now))
    prefer_indexes(state.database)
    with plans(state.database) as made_plans:
        (found,) = webhooks.events(state, made.id, limit=9, status=status).rows
    assert found.id == one
    assert "ix_mailer_events_" in made_plans[-1]
    assert status != "failed" or "ix_mailer_events_failed" in made_plans[-1]


def test_a_webhook_that_failed_for_five_days_is_disabled_with_a_warning(
    state: State, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hears, made = hook(answer("500 Broken", "out of order"))
    send()
    telling.tell(state)
    pass_time(state, 5 * DAY + 1)
    send()
    with caplog.at_level(logging.WARNING):
        telling.tell(state)
    row = webhooks.get(state, made.id)
    reason = "nothing could be told for 5 days: out of order"
    assert (row.disabled_at is not None, row.disabled_reason) == (True, reason)
    assert f"webhook={made.id} status=disabled reason={reason}" in caplog.text
    before = len(hears.heard)
    send()  # of which nothing is noted
    pass_time(state, DAY)
    assert telling.tell(state) == 0
    with pytest.raises(ValueError, match="is disabled: enable it first"):
        webhooks.replay(state, made.id, hears.heard[0].id, actor="test")
    hears.script = [answer()]
    webhooks.update(state, made.id, status="enabled", actor="test")
    telling.tell(state)
    assert len(hears.heard) > before
    assert len(stored(state)) == 2


def test_a_success_ends_a_webhooks_bad_time(state: State, hook: Any) -> None:
    _, made = hook(answer("500 Broken"), answer("204 No Content"), answer("500 Broken"))
    send()
    telling.tell(state)
    pass_time(state, 4 * DAY)
    telling.tell(state)
    assert webhooks.get(state, made.id).failing_since is None
    pass_time(state, 2 * DAY)
    send()
    telling.tell(state)
    row = webhooks.get(state, made.id)
    assert (row.disabled_at, row.failures) == (None, 1)


def test_gone_disables_at_once(state: State, hook: Any) -> None:
    hears, made = hook(answer("410 Gone"))
    send()
    telling.tell(state)
    assert webhooks.get(state, made.id).disabled_reason == "it answered 410 Gone"
    send()
    pass_time(state, 60)
    assert telling.tell(state) == 0
    assert len(hears.heard) == 1


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_receiver_that_asks_for_a_pause_gets_it(state: State, hook: Any, status: str) -> None:
    hears, _ = hook(answer(status, retry_after="120"), answer())
    send()
    telling.tell(state)
    send()
    pass_time(state, 100)
    assert telling.tell(state) == 0
    pass_time(state, 21)
    assert telling.tell(state) == 2
    assert len(hears.heard) == 3


@pytest.mark.parametrize(
    ("code", "given", "seconds"),
    [
        (503, "120", 120),
        (429, "999999999", 3600),
        (500, "120", 0),
        (503, "-1", 0),
        (503, "soon", 0),
    ],
)
def test_a_pause_is_honoured_within_reason(code: int, given: str, seconds: float) -> None:
    told = telling.judged(
        a_telling(), Answer(code, {"retry-after": given}, b""), "", 1, random=lambda: 1.0
    )
    assert (told.rest, told.delay) == (seconds, max(seconds, 10))


def a_telling(**values: Any) -> Telling:
    blank: dict[str, Any] = dict.fromkeys(Telling._fields)
    return Telling(**{**blank, "attempt": 1, "age": 0.0, **values})


@pytest.mark.parametrize(
    ("attempt", "age", "seconds"),
    [(1, 0, 10), (2, 11, 11), (3, 60, 40), (5, 1e6, 160), (40, 1e6, 28_800), (40, 0, 10)],
)
def test_the_wait_doubles_up_to_eight_hours(attempt: int, age: float, seconds: float) -> None:
    assert telling.backoff(attempt, age, lambda: 1.0) == seconds
    assert telling.backoff(attempt, age, lambda: 0.0) == seconds / 2


def test_one_that_only_fails_is_asked_with_one_event_now_and_then(state: State, hook: Any) -> None:
    hears, made = hook(answer("500 Broken"))
    for _ in range(PROBED_AFTER):
        send()
    telling.tell(state)
    assert webhooks.get(state, made.id).rests_until is not None
    for _ in range(20):
        send()
    assert telling.tell(state) == 0
    pass_time(state, 2)
    before = len(hears.heard)
    assert telling.tell(state) == 1
    assert len(hears.heard) == before + 1
    hears.script = [answer()]
    pass_time(state, 60)
    assert telling.tell(state) == PROBED_AFTER + 20


def test_a_receiver_that_hangs_delays_no_others(
    state: State, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailer.telling.TIMEOUT_SECONDS", 4)
    slow, _ = hook(hang)
    quick, _ = hook()
    for _ in range(40):
        send()
    teller = threading.Thread(target=telling.tell, args=(state,))
    teller.start()
    try:
        quick.wait_for(40, seconds=3)
        assert len(slow.heard) == telling.EACH  # and not all the threads there are
        send()  # while the slow one still hangs
        quick.wait_for(41, seconds=2)
    finally:
        slow.stop()
        teller.join(20)
    assert not teller.is_alive()


@pytest.mark.parametrize("act", [hang, drip("x"), drip("X-Drip: 1\r\n", "HTTP/1.1 200 OK\r\n")])
def test_an_answer_that_does_not_come_is_not_waited_for(
    state: State, hook: Any, act: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailer.telling.TIMEOUT_SECONDS", 1)
    hook(act)
    send()
    began = time.monotonic()
    telling.tell(state)
    assert time.monotonic() - began < 3
    assert attempts(state)[0].words == "it took longer than 1 s"


def test_an_answer_whose_text_drips_counts_by_its_status(
    state: State, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailer.telling.TIMEOUT_SECONDS", 1)
    hook(drip("x", "HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"))
    send()
    telling.tell(state)
    assert stored(state)[0].status == "delivered"


def test_a_crash_after_the_claim_tells_again_with_the_same_id(state: State, hook: Any) -> None:
    hears, _ = hook()
    send()
    (claimed,) = state.ledger.claim_events({}, each=1, limit=1)  # and no more is heard of it
    assert telling.tell(state) == 0
    pass_time(state, LEASE_SECONDS)
    assert telling.tell(state) == 1
    assert hears.heard[0].id == claimed.event_id
    assert stored(state)[0].attempts == 2


def test_of_two_at_once_each_event_is_one_workers(state: State, hook: Any) -> None:
    hears, _ = hook()
    for _ in range(30):
        send()
    tellers = [threading.Thread(target=telling.tell, args=(state,)) for _ in range(2)]
    for one in tellers:
        one.start()
    for one in tellers:
        one.join(20)
    assert len(hears.heard) == len({one.id for one in hears.heard}) == 30


def test_a_claim_that_was_lost_settles_no_failure_but_a_success(state: State, hook: Any) -> None:
    hook()
    send()
    (old,) = state.ledger.claim_events({}, each=1, limit=1)
    pass_time(state, LEASE_SECONDS)
    (new,) = state.ledger.claim_events({}, each=1, limit=1)
    failure = telling.judged(old, None, "late", 1)
    assert state.ledger.settle_events([failure]).statuses == {}
    assert stored(state)[0].claim == new.claim
    success = telling.judged(old, Answer(200, {}, b""), "", 1)
    assert state.ledger.settle_events([success]).statuses == {old.event_id: "delivered"}
    assert state.ledger.settle_events([success]).statuses == {}


def test_an_event_whose_email_is_erased_meanwhile_is_settled_by_nobody(
    state: State, hook: Any
) -> None:
    _, made = hook()
    send()
    (claimed,) = state.ledger.claim_events({}, each=1, limit=1)
    state.ledger.purge("ada@example.com", actor="ops")
    told = telling.judged(claimed, None, "no answer", 1)
    assert state.ledger.settle_events([told]).statuses == {}
    assert attempts(state) == []
    assert webhooks.get(state, made.id).failures == 0


def test_after_a_rotation_both_secrets_sign_for_a_day(state: State, hook: Any) -> None:
    hears, made = hook()
    new = webhooks.rotate_secret(state, made.id, actor="test").secret
    send()
    telling.tell(state)
    for secret in (made.secret, new):
        for library in (Standard, Svix):
            library(secret).verify(hears.heard[0].body, hears.heard[0].headers)
    pass_time(state, DAY + 1)
    send()
    telling.tell(state)
    Standard(new).verify(hears.heard[1].body, hears.heard[1].headers)
    with pytest.raises(Exception, match="No matching signature"):
        Standard(made.secret).verify(hears.heard[1].body, hears.heard[1].headers)


def test_a_secret_is_rotated_once_by_all_who_saw_the_one_before(state: State, hook: Any) -> None:
    _, made = hook()

    def rotate(_: int) -> bool:
        try:
            seen = webhooks.digest(made.secret)
            webhooks.rotate_secret(state, made.id, actor="test", replaces=seen)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(rotate, range(4))) == [False, False, False, True]
    assert webhooks.get(state, made.id).previous_secret == made.secret


def test_what_is_no_longer_allowed_is_not_told(
    app: Flask, state: State, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hears, _ = hook()
    send()
    monkeypatch.setitem(app.config, "MAILER_WEBHOOK_ALLOW", None)
    telling.tell(state)
    assert hears.connections == 0
    assert attempts(state)[0].words.startswith("not told: expected https")


def test_a_bug_in_one_event_is_in_the_way_of_no_other(
    state: State, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hears, _ = hook()
    broken = send("bob@example.com")
    with state.database.begin() as connection:
        wrong = sa.update(Email).where(Email.id == broken.id).values(addresses={"from": []})
        connection.execute(wrong)
    send()
    assert telling.tell(state) == 2
    assert len(hears.heard) == 1
    assert [one.words for one in attempts(state) if one.code is None] == [
        "not told: an error of the dispatcher, see its log"
    ]
    assert "ValueError" in caplog.text


def test_no_proxy_of_the_environment_is_used(
    state: State, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        hears, _ = hook()
        send()
        telling.tell(state)
        assert (len(hears.heard), proxy.connections) == (1, 0)


def test_deleting_a_webhook_takes_its_events_along(state: State, hook: Any) -> None:
    _, made = hook()
    send()
    webhooks.delete(state, made.id, actor="ops")
    assert stored(state) == []
    assert telling.tell(state) == 0


def test_a_sweep_wakes_for_events_that_are_due(state: State, hook: Any) -> None:
    hook(answer("500 Broken"))
    assert not state.ledger.sweep().events_due
    send()
    assert state.ledger.sweep().events_due
    telling.tell(state)
    assert not state.ledger.sweep().events_due
    pass_time(state, 11)
    assert state.ledger.sweep().events_due


def test_a_dispatch_tells_by_itself_when_tasks_run_at_once(
    make_app: AppFactory, catcher: Catcher
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, MAILER_WEBHOOK_ALLOW="127.0.0.1")
    with app.app_context(), receiver() as hears:
        webhooks.create(of(app), hears.url, TYPES, actor="test")
        send()
        until(lambda: hears.types() == ["email.queued", "email.sent"])


def test_the_receiver_on_the_page_takes_what_is_told_and_nothing_else(
    state: State, hook: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    hears, made = hook()
    email = send()
    telling.tell(state)
    page = (CHECKOUT / "docs" / "webhooks.md").read_text()
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(found[1].replace("whsec_...", made.secret), names)  # noqa: S102
    client = names["app"].test_client()
    (heard,) = hears.heard
    told = {name: value for name, value in heard.headers.items() if name.startswith("webhook-")}
    for body, status in ((heard.body, 204), (heard.body + b" ", 400)):
        assert client.post("/mail-events", data=body, headers=told).status_code == status
    assert capsys.readouterr().out == f"email.queued {email.id}\n"


def test_the_page_has_every_type() -> None:
    page = (CHECKOUT / "docs" / "webhooks.md").read_text()
    assert set(re.findall(r"^\| `(email\.\w+)` \|", page, re.MULTILINE)) == set(TYPES)
