"""The main job: HTTP -> ledger -> Redis -> a real worker -> SMTP -> ledger."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from mailer import Filters, dispatch
from mailer.dev.catcher import Catcher
from mailer.models import Delivery
from mailer.state import of

from ..worker import beat, wait_until, worker

PASSWORD = "correct horse battery staple"


def statuses(app: Flask) -> Counter[str]:
    with of(app).database.read() as connection:
        rows = connection.execute(
            sa.select(Delivery.status, sa.func.count()).group_by(Delivery.status)
        )
        return Counter(dict(iter(rows)))


def wait_for_all_sent(app: Flask, number: int, seconds: float = 60) -> None:
    wait_until(lambda: statuses(app) == {"sent": number}, seconds, lambda: statuses(app))


def recipients(catcher: Catcher) -> Counter[str]:
    return Counter(message.recipients[0] for message in catcher.messages())


def test_signup_confirm_and_reset_mail_a_real_person(
    app: Flask, stack: dict[str, Any], catcher: Catcher, tmp_path: Path
) -> None:
    client = app.test_client()
    with worker(stack, tmp_path / "worker.log", "--concurrency", "1") as process:
        answer = client.post("/signup", json={"email": "ada@example.com", "password": PASSWORD})
        assert answer.status_code == 202
        (confirm,) = catcher.wait_for(1, to="ada@example.com")
        link = re.search(rb"https://app\.acme\.example(/confirm/\S+)", confirm.raw)
        assert link
        wait_for_all_sent(app, 1)

        answer = client.post("/reset", json={"email": "ada@example.com"})
        assert answer.status_code == 202
        reset = catcher.wait_for(2, to="ada@example.com")[-1]
        assert b"/reset/" in reset.raw
        assert re.search(rb"^Subject: .+", reset.raw, re.MULTILINE)
        wait_for_all_sent(app, 2)
        assert process.received() <= 2


def test_no_token_is_in_redis_the_ledger_or_a_log(
    app: Flask, stack: dict[str, Any], catcher: Catcher, redis_url: str, tmp_path: Path
) -> None:
    client = app.test_client()
    catcher.script("dot", "drop", times=1)  # so that one attempt fails with all it knew
    with (
        worker(stack, tmp_path / "worker.log", "--concurrency", "1") as process,
        beat(stack, tmp_path / "beat.log"),
    ):
        client.post("/signup", json={"email": "ada@example.com", "password": PASSWORD})
        catcher.wait_for(1, to="ada@example.com")
        client.post("/reset", json={"email": "ada@example.com"})
        catcher.wait_for(2, to="ada@example.com")
        wait_for_all_sent(app, 2)
        tokens = [
            re.search(rb"/(?:confirm|reset)/([\w.-]+)", message.raw)
            for message in catcher.messages()
        ]
        canaries = [found[1] for found in tokens if found]
        assert len(canaries) == 2
        with redis.Redis.from_url(redis_url) as store:
            keys: Any = store.keys("*")
            in_redis = b"".join(store.dump(key) or b"" for key in keys)
    ledger = Path(of(app).database.url.database or "")
    in_ledger = b"".join(path.read_bytes() for path in ledger.parent.glob(ledger.name + "*"))
    assert b"ada@example.com" in in_ledger
    for canary in canaries:
        assert canary not in in_ledger
        assert canary not in in_redis
        assert canary.decode() not in process.output
    assert PASSWORD not in process.output


def test_a_thousand_waiting_emails_are_each_received_once_by_few_tasks(
    app: Flask, stack: dict[str, Any], catcher: Catcher, tmp_path: Path
) -> None:
    with app.app_context():
        for number in range(1000):
            dispatch(
                "welcome",
                to=f"user{number}@example.com",
                context={"start_url": "https://a.example"},
            )
    with worker(stack, tmp_path / "worker.log", "--concurrency", "2") as process:
        wait_for_all_sent(app, 1000)
    assert recipients(catcher) == Counter({f"user{n}@example.com": 1 for n in range(1000)})
    assert 1 <= process.received() < 50


def test_a_thousand_emails_while_two_workers_run_are_each_received_once(
    app: Flask, stack: dict[str, Any], catcher: Catcher, tmp_path: Path
) -> None:
    with (
        worker(stack, tmp_path / "one.log", "--concurrency", "1", "--hostname", "one@%h") as one,
        worker(stack, tmp_path / "two.log", "--concurrency", "1", "--hostname", "two@%h") as two,
    ):
        with app.app_context():
            for number in range(1000):
                dispatch(
                    "welcome",
                    to=f"user{number}@example.com",
                    context={"start_url": "https://a.example"},
                )
        wait_for_all_sent(app, 1000)
        assert one.received() + two.received() < 100, (one.received(), two.received())
    assert recipients(catcher) == Counter({f"user{n}@example.com": 1 for n in range(1000)})


def test_nothing_is_lost_when_redis_is_flushed_in_the_middle(
    app: Flask, stack: dict[str, Any], catcher: Catcher, redis_url: str, tmp_path: Path
) -> None:
    with (
        worker(stack, tmp_path / "worker.log", "--concurrency", "1"),
        beat(stack, tmp_path / "beat.log"),
        redis.Redis.from_url(redis_url) as client,
        app.app_context(),
    ):
        for number in range(300):
            dispatch("welcome", to=f"user{number}@example.com", context={"start_url": "https://a"})
            if number % 50 == 25:
                client.flushall()
        wait_for_all_sent(app, 300)
    assert recipients(catcher) == Counter({f"user{n}@example.com": 1 for n in range(300)})


def test_nothing_is_lost_when_a_worker_is_killed_in_the_middle(
    app: Flask, stack: dict[str, Any], catcher: Catcher, tmp_path: Path
) -> None:
    # A lease as short as the relations of the settings allow, so that the test need not wait.
    stack |= {
        "MAIL_CONNECT_TIMEOUT_SECONDS": 0.1,
        "MAIL_TIMEOUT_SECONDS": 0.5,
        "MAIL_FINAL_TIMEOUT_SECONDS": 0.2,
        "MAILER_DRAIN_SECONDS": 1,
        "MAILER_TASK_SECONDS": 3,
        "MAILER_LEASE_SECONDS": 4,
    }
    with app.app_context():
        for number in range(300):
            dispatch("welcome", to=f"user{number}@example.com", context={"start_url": "https://a"})
    with worker(stack, tmp_path / "killed.log", "--concurrency", "1") as killed:
        catcher.wait_for(130)
        killed.kill()
    assert statuses(app)["sent"] < 300
    with (
        worker(stack, tmp_path / "worker.log", "--concurrency", "1"),
        beat(stack, tmp_path / "beat.log"),
    ):
        wait_for_all_sent(app, 300)
    received = recipients(catcher)
    assert set(received) == {f"user{n}@example.com" for n in range(300)}
    # What the killed worker had sent but not settled is sent again: at least once, and only that.
    assert sum(received.values()) <= 300 + 100
    with app.app_context():
        ambiguous = [row.delivery_id for row in of(app).ledger.list(Filters(), 1000)]
    assert len(ambiguous) == 300


@pytest.mark.parametrize("frozen", [False, True], ids=["down", "frozen"])
def test_redis_away_costs_a_request_little_and_no_email(
    frozen: bool, tmp_path: Path, settings: dict[str, Any], catcher: Catcher, make_app: Any
) -> None:
    import time

    from mailer.dev.redis import EmbeddedRedis

    with EmbeddedRedis(tmp_path / "redis") as server:
        stack = {
            **settings,
            "MAIL_PORT": catcher.smtp_port,
            "MAILER_SWEEP_SECONDS": 0.5,
            "CELERY": {"broker_url": server.url},
        }
        app = make_app(**stack)
        client = app.test_client()
        (server.freeze if frozen else server.stop)()
        started = time.monotonic()
        answer = client.post("/signup", json={"email": "ada@example.com", "password": PASSWORD})
        assert time.monotonic() - started < 2.5  # of which two hashes, on a busy machine
        assert answer.status_code == 202
        assert statuses(app) == {"queued": 1}
        (server.thaw if frozen else server.start)()
        with (
            worker(stack, tmp_path / "worker.log", "--concurrency", "1"),
            beat(stack, tmp_path / "beat.log"),
        ):
            catcher.wait_for(1, to="ada@example.com", timeout=20)
            wait_for_all_sent(app, 1)
