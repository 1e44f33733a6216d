"""The service with bugs in it, which know secrets."""

from __future__ import annotations

from celery import shared_task
from flask import request

from mailer import LedgerUnavailable, create_app

flask_app = create_app()
celery_app = flask_app.extensions["celery"]


@flask_app.get("/bug/<token>")
def bug(token: str) -> str:
    """Fail on what is secret."""
    raise ValueError(f"{request.args['who']} cannot use {token}")


@flask_app.get("/away")
def away() -> str:
    """Meet a ledger that cannot be used."""
    raise LedgerUnavailable("the disk is full")


@shared_task(name="test.bug")
def broken(context: dict[str, str]) -> None:
    """Fail on what is secret."""
    (address,) = context.values()
    raise ValueError(f"no account of {address}")


@shared_task(name="test.away")
def unavailable() -> None:
    """Meet a ledger that cannot be used."""
    raise LedgerUnavailable("the disk is full")
