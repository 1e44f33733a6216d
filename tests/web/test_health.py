"""``/healthz`` and ``/readyz``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from mailer import Mailer, dispatch
from mailer.db import Database
from mailer.dev.ports import free_port
from mailer.dev.redis import EmbeddedRedis
from mailer.state import of
from mailer.web import health
from tests.test_watch import nobody_sweeps_for

MakeApp = Callable[..., Flask]
NAMES = ["database", "redis", "scheduler", "transport"]


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "GOOD_FOR_SECONDS", 0)


def ready(app: Flask) -> tuple[int, dict[str, Any]]:
    answer = app.test_client().get("/readyz")
    assert answer.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = answer.get_json()
    return answer.status_code, document


def not_well(document: dict[str, Any]) -> list[str]:
    return [name for name, check in document["checks"].items() if not check["ok"]]


def test_alive_says_so_without_a_ledger_or_a_redis(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(CELERY={"broker_url": f"redis://127.0.0.1:{free_port()}/0"})
    of(app).close()
    of(app).database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'ledger.sqlite3'}")
    answer = app.test_client().get("/healthz")
    assert (answer.status_code, answer.get_json()) == (200, {"status": "ok"})
    assert "Set-Cookie" not in answer.headers


def test_ready_when_all_is_well(make_app: MakeApp, redis_url: str) -> None:
    code, document = ready(make_app(CELERY={"broker_url": redis_url}))
    assert (code, document["status"]) == (200, "ok")
    assert sorted(document["checks"]) == NAMES
    assert document["checks"]["redis"] == {"ok": True, "reason": "reachable"}
    assert document["oldest_due_seconds"] is None


def test_a_redis_that_is_away_is_said_without_its_address(make_app: MakeApp) -> None:
    port = free_port()
    app = make_app(CELERY={"broker_url": f"redis://:hunter2@127.0.0.1:{port}/0"})
    code, document = ready(app)
    assert (code, not_well(document)) == (503, ["redis"])
    assert not {"hunter2", "127.0.0.1", str(port)} & set(str(document).replace(":", " ").split())
    assert "127.0.0.1" not in str(document)


@pytest.fixture
def frozen_redis(tmp_path: Path) -> Iterator[str]:
    with EmbeddedRedis(tmp_path / "frozen") as server:
        server.freeze()
        yield server.url
        server.thaw()


def test_a_frozen_redis_costs_less_than_a_second_and_a_half(
    make_app: MakeApp, frozen_redis: str
) -> None:
    app = make_app(CELERY={"broker_url": frozen_redis})
    started = time.monotonic()
    code, document = ready(app)
    assert time.monotonic() - started < 1.5
    assert (code, not_well(document)) == (503, ["redis"])


def test_a_database_that_does_not_answer_is_not_waited_for(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    pool = of(app).database.engine
    held = [pool.connect() for _ in range(15)]  # all that it gives: the next one waits for 30 s
    try:
        started = time.monotonic()
        code, document = ready(app)
        ready(app)
        assert time.monotonic() - started < 3
    finally:
        for connection in held:
            connection.close()
    assert code == 503
    assert document["checks"]["database"]["reason"] == "does not answer"
    assert not_well(document) == ["database", "scheduler", "transport"]


def test_an_unmigrated_database_is_said_without_its_path(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    of(app).close()
    of(app).database = Database(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    code, document = ready(app)
    assert code == 503
    assert document["checks"]["database"]["reason"] == "not migrated"
    assert "sqlite" not in str(document)


def test_a_missing_scheduler_is_not_ready_after_a_minute(app: Flask) -> None:
    nobody_sweeps_for(of(app).database, 50)
    assert ready(app)[0] == 200
    nobody_sweeps_for(of(app).database, 15)
    code, document = ready(app)
    assert (code, not_well(document)) == (503, ["scheduler"])


def test_an_smtp_server_that_could_not_be_used_is_not_ready_and_not_named(
    make_app: MakeApp,
) -> None:
    port = free_port()
    app = make_app(
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=port,
        MAIL_SUPPRESS_SEND=False,
        CELERY={"broker_url": "memory://", "task_always_eager": True},
    )
    with app.app_context():
        dispatch(None, to="ada@example.com", subject="Hello", text="Hello")
    code, document = ready(app)
    assert (code, not_well(document)) == (503, ["transport"])
    assert str(port) not in str(document)
    assert "ada" not in str(document)


def test_a_paused_lane_is_shown_and_is_no_trouble(app: Flask) -> None:
    of(app).ledger.pause("bulk", actor="cli:ada")
    code, document = ready(app)
    assert (code, document["paused_lanes"]) == (200, ["bulk"])
    assert "ada" not in str(document)


def test_the_servers_are_asked_once_however_often_somebody_asks(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "GOOD_FOR_SECONDS", 60)
    assert ready(app)[0] == 200
    nobody_sweeps_for(of(app).database, 300)
    assert {ready(app)[0] for _ in range(50)} == {200}
    monkeypatch.setattr(health, "GOOD_FOR_SECONDS", 0)
    assert ready(app)[0] == 503


def test_another_app_registers_the_blueprint(tmp_path: Path) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config["CELERY"] = {"broker_url": "memory://"}
    Mailer(app)
    of(app).database.upgrade()
    app.register_blueprint(health.health)
    assert ready(app)[0] == 200
    of(app).close()
