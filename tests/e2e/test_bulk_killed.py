"""A bulk send whose workers are killed: every row is accepted exactly once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import bulk
from mailer.bulk import Upload
from mailer.dev.catcher import Catcher
from mailer.drafting import Request
from mailer.models import BulkRow, Delivery, Job
from mailer.state import of

from ..worker import wait_until, worker

ROWS = 4_000
KILLS = 3


@pytest.fixture
def stack(stack: dict[str, Any], database_url: str) -> dict[str, Any]:
    """That stack on each database, with short leases of jobs."""
    return {**stack, "MAILER_DATABASE_URL": database_url}


def _goes_on(accepted: Callable[[], int], before: int) -> bool:
    return accepted() > before


def test_a_worker_that_is_killed_costs_no_row_and_doubles_none(
    app: Flask, stack: dict[str, Any], catcher: Catcher, tmp_path: Path
) -> None:
    state, job_id = of(app), str(uuid.uuid4())
    people = "email\n" + "".join(f"p{number}@shop.example\n" for number in range(ROWS))
    with app.app_context():
        upload = Upload("people.csv", [people.encode()], is_csv=True)
        request = Request(subject="News", text="Hello.")
        bulk.create(state, job_id, request, upload, actor="ann", confirm=True)

    def accepted() -> int:
        return int(state.ledger.job(job_id).changed)

    for number in range(KILLS):
        before, log = accepted(), tmp_path / f"worker{number}.log"
        options = ("--queues", "mailer.jobs", "--concurrency", "1")
        with worker(stack, log, *options) as process:
            state.jobs_bell.pass_on("jobs", job_id)
            wait_until(partial(_goes_on, accepted, before), 60)
            process.kill()
        with state.database.begin() as connection:  # as time would
            connection.execute(sa.update(Job).where(Job.status == "running").values(lease_until=0))
    assert accepted() < ROWS
    with worker(stack, tmp_path / "last.log") as process:
        state.jobs_bell.pass_on("jobs", job_id)
        wait_until(lambda: state.ledger.job(job_id).ended_at, 60, lambda: process.output)
        wait_until(lambda: len(catcher.messages()) >= ROWS, 120, lambda: process.output[-2000:])
    assert (state.ledger.job(job_id).status, accepted()) == ("done", ROWS)
    with state.database.read() as connection:
        rows = set(connection.scalars(sa.select(BulkRow.email_id)))
        deliveries = list(connection.scalars(sa.select(Delivery.email_id)))
    assert len(deliveries) == ROWS
    assert set(deliveries) == rows
