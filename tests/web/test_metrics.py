"""What Prometheus is told, and who is told it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from mailer import delivery, dispatch, presence, webhooks
from mailer.dev.catcher import Catcher
from mailer.models import LANES, Email, Job, Webhook
from mailer.state import of
from tests.conftest import AppFactory, let_time_pass
from tests.test_tallies import let_it_be
from tests.worker import CHECKOUT

TOKEN = "a token of some length"
DOCS = CHECKOUT / "docs"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that hold for no time, so that each shows what was just done."""
    monkeypatch.setattr("mailer.web.metrics.GOOD_FOR_SECONDS", 0)


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher, redis_url: str) -> Flask:
    return make_app(
        MAIL_PORT=catcher.smtp_port,
        MAIL_SUPPRESS_SEND=False,
        MAILER_METRICS_TOKEN=TOKEN,
        MAILER_REDIS_URL=redis_url,
        MAILER_BACKOFF_BASE_SECONDS=600,
        MAILER_BACKOFF_CAP_SECONDS=600,
        CELERY={"broker_url": "memory://"},
    )


def text(app: Flask) -> str:
    answer = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    assert answer.content_type.startswith("text/plain; version=")
    return answer.text


def samples(app: Flask) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text(app))
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """Return the sum of what has these labels."""
    return sum(
        number for (of, with_), number in found.items() if of == name and labels.items() <= {*with_}
    )


def send(app: Flask, name: str, **email: Any) -> None:
    with app.app_context():
        dispatch(**{"to": f"{name}@example.com", "subject": "Hello", "text": "t", **email})
        for lane in LANES:
            delivery.drain(of(app), lane)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        ("Bearer another token", 401),
        (TOKEN, 401),
        ("Bearer tökén", 401),
        ("", 401),
        (None, 401),
    ],
)
def test_the_token_is_asked_for(app: Flask, header: str | None, status: int) -> None:
    headers = {"Authorization": header} if header is not None else {}
    answer = app.test_client().get("/metrics", headers=headers)
    assert answer.status_code == status
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert ("mailer_" in answer.text) == (status == 200)
    assert TOKEN not in answer.text


def test_without_a_token_there_is_no_such_page(make_app: AppFactory) -> None:
    assert make_app().test_client().get("/metrics").status_code == 404


def test_what_happened_is_counted_by_what_it_was(app: Flask, catcher: Catcher) -> None:
    catcher.script("rcpt", "550 5.1.1 No such user", address="gone@example.com")
    catcher.script("rcpt", "451 4.7.1 Later", address="grey@example.com")
    for name in ("ada", "ben", "gone", "grey"):
        send(app, name)
    send(app, "cleo", lane="critical")
    let_it_be(of(app).ledger, 60)
    of(app).ledger.tally(for_seconds=60)
    found = samples(app)
    assert value(found, "mailer_accepted_total") == 5
    assert value(found, "mailer_accepted_total", lane="critical") == 1
    assert value(found, "mailer_sent_total", transport="default", code="250") == 3
    assert value(found, "mailer_failed_total", code="550", lane="default", template="") == 1
    assert value(found, "mailer_deferred_total", code="451") == 1
    assert value(found, "mailer_latency_seconds_count") == 3
    assert value(found, "mailer_latency_seconds_bucket", le="+Inf") == 3
    assert value(found, "mailer_latency_seconds_bucket", le="20.0") == 3
    assert 0 < value(found, "mailer_latency_seconds_sum") < 60


def test_how_it_is(app: Flask) -> None:
    state = of(app)
    state.ledger.sweep()
    presence.announce(state.traffic.shared, "tests@host")
    state.ledger.pause("bulk", actor="ada")
    state.jobs_bell.ring("jobs", "one")
    state.ledger.add_job("waits", "retry", {"ids": [], "below": 9}, actor="ann", total=0)
    let_time_pass(state.database, "lease_until", 200, model=Job)
    state.config["MAILER_WEBHOOK_ALLOW"] = ["127.0.0.1"]
    webhooks.create(state, "https://127.0.0.1/", ["email.bounced"], actor="ann")
    with state.database.begin() as connection:
        connection.execute(sa.update(Webhook).values(failing_since=1.0))
    state.ledger.pause_transport("default", actor="ada")
    with app.app_context():
        dispatch(to="ada@example.com", subject="Hello", text="t")
    let_it_be(state.ledger, 100)
    found = samples(app)
    assert value(found, "mailer_check_ok", check="database") == 1
    assert value(found, "mailer_check_ok", check="transport") == 0
    assert value(found, "mailer_workers") == 1
    assert value(found, "mailer_doorbells_total", lane="jobs", result="rung") == 1
    assert value(found, "mailer_doorbells_total", lane="webhooks") == 0
    assert value(found, "mailer_other_due_seconds", queue="jobs") == pytest.approx(200, abs=10)
    assert value(found, "mailer_other_due_seconds", queue="webhooks") == 0
    assert value(found, "mailer_failing_webhooks") == 1
    assert value(found, "mailer_open_deliveries", lane="default", state="due") == 1
    assert value(found, "mailer_open_deliveries") == 1
    assert value(found, "mailer_oldest_due_seconds", lane="default") == pytest.approx(100, abs=10)
    assert value(found, "mailer_oldest_due_seconds", lane="bulk") == 0
    assert value(found, "mailer_lane_paused", lane="bulk") == 1
    assert value(found, "mailer_transport_state", transport="default", state="paused") == 1
    assert value(found, "mailer_transport_state", transport="default") == 1
    assert value(found, "mailer_scheduler_last_seen_timestamp_seconds") > 1e9


def test_no_counter_goes_down_when_the_history_is_deleted(app: Flask) -> None:
    send(app, "ada")
    let_it_be(of(app).ledger, 60)
    of(app).ledger.tally(for_seconds=60)
    with of(app).database.begin() as connection:
        connection.execute(sa.delete(Email))
    send(app, "ben")
    assert value(samples(app), "mailer_sent_total") == 1
    let_it_be(of(app).ledger, 60)
    of(app).ledger.prune(keep_bodies_seconds=0, keep_seconds=0, for_seconds=60)
    of(app).ledger.tally(for_seconds=60)
    assert value(samples(app), "mailer_sent_total") >= 1


def test_without_a_database_the_checks_are_told(app: Flask) -> None:
    with of(app).database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE mailer_deliveries")
    found = samples(app)
    assert value(found, "mailer_check_ok", check="database") == 0
    known = {"mailer_check_ok", "mailer_workers", "mailer_doorbells_total"}
    assert {name for name, _ in found} == known


def test_an_answer_holds_for_a_while(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailer.web.metrics.GOOD_FOR_SECONDS", 60)
    before = text(app)
    of(app).ledger.pause("bulk", actor="ada")
    assert text(app) == before


def exported(app: Flask) -> set[str]:
    """Return the names of the families, as the documents write them."""
    send(app, "ada")
    let_it_be(of(app).ledger, 60)
    of(app).ledger.sweep()
    of(app).ledger.tally(for_seconds=60)
    return {
        name + ("_total" if kind == "counter" and not name.endswith("_total") else "")
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text(app), re.MULTILINE)
    }


def test_the_documents_name_every_metric_and_no_other(app: Flask) -> None:
    names = exported(app)
    assert set(re.findall(r"`(mailer_\w+)`", (DOCS / "metrics.md").read_text())) == names
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for expression in [*(rule["expr"] for rule in rules), *shown]:
        for name in re.findall(r"mailer_\w+", expression):
            assert re.sub("_(bucket|sum|count)$", "", name) in names, expression
    assert {
        re.sub("_(bucket|sum|count)$", "", name)
        for name in re.findall(r"mailer_\w+", "".join(shown))
    } == names


def test_the_document_explains_every_alert() -> None:
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]
    table = re.findall(r"^\| `(Mailer\w+)`", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert [rule["alert"] for rule in rules] == table
    assert all(rule["annotations"]["summary"] for rule in rules)
