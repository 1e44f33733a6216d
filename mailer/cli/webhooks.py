"""``mailer webhooks``: who is told what becomes of emails."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
from flask.cli import with_appcontext

from .. import webhooks as hooks
from ..ledger.events import TYPES
from ..state import current
from . import output, parameters
from .steering import actor

_PAGE = 100


@click.group(short_help="Make, list and steer webhooks: who is told what becomes of emails.")
def webhooks() -> None:
    """Make, list and steer webhooks: addresses that are told what becomes of emails."""


@webhooks.command(short_help="Make a webhook, and print its secret.")
@click.argument("url")
@click.option(
    "--event",
    "types",
    type=click.Choice(TYPES),
    multiple=True,
    help="What it is told; may be given several times. Default: everything.",
)
@output.json_option
@with_appcontext
def create(*, url: str, types: tuple[str, ...], as_json: bool) -> None:
    """Make a webhook, and print the secret with which its receiver checks what it is told.

    \b
      mailer webhooks create https://shop.example/mail-events
      mailer webhooks create https://shop.example/failures --event email.failed
    """
    try:
        made = hooks.create(current(), url, types or TYPES, actor=actor())
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        output.print_json({"id": made.id, "signing_secret": made.secret})
        return
    click.echo(made.secret)
    click.echo(f"Webhook {made.id}.", err=True)


@webhooks.command("list", short_help="List the webhooks.")
@output.json_option
@with_appcontext
def list_webhooks(as_json: bool) -> None:
    """List the webhooks, the newest first, and why some are disabled."""
    rows = []
    page = hooks.listing(current(), limit=_PAGE)
    rows += page.rows
    while page.has_more:
        page = hooks.listing(current(), limit=_PAGE, after=rows[-1].id)
        rows += page.rows
    if as_json:
        output.print_json(
            [
                {
                    name: value
                    for name, value in row._mapping.items()
                    if name not in {"secret", "previous_secret"}
                }
                for row in rows
            ]
        )
        return
    output.print_table(
        ("ID", "STATUS", "URL", "EVENTS", "WHY"),
        [
            (
                row.id,
                hooks.standing(row),
                row.url,
                "all" if len(row.events) == len(TYPES) else " ".join(row.events),
                row.disabled_reason or _trouble(row),
            )
            for row in rows
        ],
        whole=1,
    )


def _trouble(row: Any) -> str:
    """Return since when a webhook fails; empty when it does not."""
    if row.failing_since is None:
        return ""
    return f"{row.failures} times since {output.local(row.failing_since)}"


@webhooks.command(short_help="Delete a webhook.")
@click.argument("webhook_id", metavar="ID")
@with_appcontext
def delete(webhook_id: str) -> None:
    """Delete a webhook, with what it was and is to be told."""
    hooks.delete(current(), webhook_id, actor=actor())
    click.echo(f"deleted {webhook_id}")


@webhooks.command(short_help="Tell a webhook again.")
@click.argument("webhook_id", metavar="ID")
@with_appcontext
def enable(webhook_id: str) -> None:
    """Tell a webhook again, what waited first."""
    hooks.update(current(), webhook_id, status="enabled", actor=actor())
    click.echo(f"enabled {webhook_id}")


@webhooks.command(short_help="Tell a webhook nothing any more.")
@click.argument("webhook_id", metavar="ID")
@with_appcontext
def disable(webhook_id: str) -> None:
    """Tell a webhook nothing, and note nothing for it, until it is enabled."""
    hooks.update(current(), webhook_id, status="disabled", actor=actor())
    click.echo(f"disabled {webhook_id}")


@webhooks.command(short_help="List what a webhook is to be told.")
@click.argument("webhook_id", metavar="ID")
@click.option("--status", type=click.Choice(hooks.EVENT_STATUSES), help="Only these.")
@output.limit_option
@output.json_option
@with_appcontext
def events(webhook_id: str, status: hooks.EventStatus | None, limit: int, as_json: bool) -> None:
    """List what a webhook is or was to be told, the newest first.

    pending: it is told soon, or tried again. failed: no attempt follows, but for `replay`.

    \b
      mailer webhooks events 0193a5b2-1c3d-7abc-8def-0123456789ab --status failed
    """
    page = hooks.events(current(), webhook_id, limit=limit, status=status)
    if as_json:
        columns = ("id", "type", "email_id", "at", "status", "attempts")
        documents = [
            {name: getattr(row, name) for name in columns} | {"next_attempt_at": _next(row)}
            for row in page.rows
        ]
        output.print_json({"events": documents, "more": page.has_more})
    elif page.rows:
        output.print_table(
            ("ID", "STATUS", f"SINCE {output.zone()}", "ATTEMPTS", "NEXT", "EVENT"),
            [
                (
                    row.id,
                    row.status,
                    output.short(row.at),
                    row.attempts,
                    output.short(following) if (following := _next(row)) else "",
                    row.type,
                )
                for row in page.rows
            ],
            whole=5,
            last_may_go_below=True,
        )
        output.print_more(page.has_more, limit)
    else:
        click.echo("no events")


def _next(event: Any) -> datetime | None:
    return event.due_at if event.status == "pending" else None


@webhooks.command(short_help="List the attempts to tell an event.")
@click.argument("event_id", metavar="EVENT")
@output.json_option
@with_appcontext
def attempts(event_id: str, as_json: bool) -> None:
    """List the attempts to tell an event, in their order, and what was answered.

    \b
      mailer webhooks attempts msg_01a20ee759480000966f8c003a57d3e1
    """
    rows = hooks.attempts(current(), event_id)
    if as_json:
        columns = ("number", "ended_at", "code", "words", "milliseconds")
        documents = [{name: getattr(row, name) for name in columns} for row in rows]
        output.print_json({"attempts": documents})
    elif rows:
        output.print_table(
            ("ATTEMPT", f"ENDED {output.zone()}", "CODE", "MS", "ANSWER"),
            [
                (row.number, output.local(row.ended_at), row.code, row.milliseconds, row.words)
                for row in rows
            ],
            whole=4,
            last_may_go_below=True,
        )
    else:
        click.echo("no attempts")


@webhooks.command(short_help="Tell again what could not be told.")
@click.argument("webhook_id", metavar="ID")
@click.option(
    "--since",
    type=parameters.past,
    metavar="WHEN",
    required=True,
    help="Such as '2h ago': what happened then or later.",
)
@output.json_option
@with_appcontext
def replay(webhook_id: str, since: datetime, as_json: bool) -> None:
    """Tell a webhook all events again that failed, and now those that wait for their next attempt.

    \b
      mailer webhooks replay 0193a5b2-1c3d-7abc-8def-0123456789ab --since '2h ago'
    """
    try:
        replayed = hooks.replay_since(current(), webhook_id, since, actor=actor())
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        output.print_json(replayed._asdict())
        return
    click.echo(
        f"{output.count(sum(replayed), 'event')} to be told now: "
        f"{replayed.failed} failed, {replayed.waiting} waited for the next attempt"
    )
