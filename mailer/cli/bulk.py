"""``mailer bulk``: one email to each row of a file."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import IO, Any

import click
import sqlalchemy as sa
from flask.cli import with_appcontext

from .. import bulk as sends
from .. import results
from ..drafting import Request
from ..ledger.record import uuid7
from ..models import LANES
from ..state import State, current
from . import output
from .steering import actor

_LOOK_SECONDS = 0.5
_SHOWN = 20
_PREVIEW_LINES = 12


class _Elsewhere(click.ClickException):
    """A bulk send went another way than whoever watches it asked for."""

    def __init__(self, job: sa.Row[Any]) -> None:
        stage, words = sends.stage(job), output.printable(job.words or "by somebody else")
        then = f"; mailer bulk resume {job.id} goes on" if stage == "paused" else ""
        super().__init__(f"it is {stage}: {words}{then}")


class _Bulk(click.Group):
    """``mailer bulk TEMPLATE FILE`` is ``mailer bulk send TEMPLATE FILE``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["send", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Bulk, short_help="Send one email to each row of a file, and steer that.")
def bulk() -> None:
    """Send one email to each row of a file: `mailer bulk TEMPLATE FILE`.

    The file is CSV with a header, or an object of JSON on each line: `email`, `name`, `locale`, and
    each variable of the template. It is checked as a whole before anything is sent.

    \b
      mailer bulk newsletter people.csv
      mailer bulk newsletter people.csv --dry-run
      mailer bulk watch ID
    """


@bulk.command(short_help="Send a template to each row of a file.")
@click.argument("template")
@click.argument("file", type=click.File("rb"))
@click.option("--locale", metavar="LOCALE", help="Language, for rows that name none.")
@click.option("--lane", type=click.Choice(LANES), default="bulk", show_default=True, help="Queue.")
@click.option("--sender", metavar="ADDRESS", help="From; MAIL_DEFAULT_SENDER if not given.")
@click.option("--dry-run", is_flag=True, help="Only check the file.")
@click.option("--skip-bad", is_flag=True, help="Leave bad rows out, and send the others.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
@with_appcontext
def send(*, file: IO[bytes], dry_run: bool, skip_bad: bool, yes: bool, **arguments: Any) -> None:
    """Check a file, show what was found, ask, and send a template to each of its rows.

    Ctrl-C leaves it: it goes on, and `mailer bulk watch ID` shows it again. Ends with 1 if not all
    was accepted that was to be: with --dry-run, would be.
    """
    state, bulk_id = current(), uuid7()
    upload = sends.Upload.of(Path(file.name).name, file)
    sends.create(state, bulk_id, Request(**arguments), upload, actor=actor())
    _watch(state, bulk_id, until_checked=True)
    job = sends.find(state, bulk_id)
    if job.status != "checked":
        raise _Elsewhere(job)
    _show_check(state, job)
    number, bad = job.total, job.found["bad"]
    if dry_run or not number or (bad and not skip_bad):
        sends.cancel(state, bulk_id, unsent=False, actor=actor())
        if dry_run and number and (skip_bad or not bad):
            return
        why = f"{output.count(bad, 'row')} bad: --skip-bad sends the others" if number else "nobody"
        raise click.ClickException(f"nothing {'would be' if dry_run else 'is'} sent: {why}")
    if not yes:
        if not sys.stdin.isatty():
            sends.cancel(state, bulk_id, unsent=False, actor=actor())
            raise click.UsageError("to start needs --yes: nobody is here to be asked")
        question = f"Send {output.count(number, 'email')}?"
        if not click.confirm(question, err=True):
            sends.cancel(state, bulk_id, unsent=False, actor=actor())
            raise click.Abort
    sends.start(state, bulk_id, actor=actor(), skip_bad=skip_bad)
    _watch(state, bulk_id)
    job = sends.find(state, bulk_id)
    if job.status != "done":
        raise _Elsewhere(job)


@bulk.command("list", short_help="List bulk sends.")
@output.limit_option
@output.json_option
@with_appcontext
def list_bulk(limit: int, as_json: bool) -> None:
    """List bulk sends, the newest first."""
    state = current()
    rows, more = state.ledger.jobs(limit, kind=sends.KIND)
    if as_json:
        output.print_json({"bulk": [_document(row) for row in rows], "more": more})
    elif rows:
        output.print_table(
            ("ID", "STATE", f"CREATED {output.zone()}", "DONE", "TOTAL", "WHAT", "FILE"),
            [
                (
                    row.id,
                    sends.stage(row),
                    output.short(row.created_at),
                    row.done,
                    row.total,
                    sends.mailed(state, row),
                    row.details["name"],
                )
                for row in rows
            ],
            whole=2,
        )
        output.print_more(more, limit)
    else:
        click.echo("no bulk sends")


@bulk.command(short_help="Show a bulk send, and which rows are left out.")
@click.argument("bulk_id", metavar="ID")
@output.json_option
@with_appcontext
def show(bulk_id: str, as_json: bool) -> None:
    """Show a bulk send, and which rows of its file are left out, and why."""
    state = current()
    job = sends.find(state, bulk_id)
    left_out = state.ledger.left_out(bulk_id, sends.PROBLEMS_SHOWN)
    if as_json:
        rows = [dict(row._mapping) for row in left_out]
        output.print_json({**_document(job), "rows_left_out": rows})
        return
    output.print_fields(
        [
            ("id", job.id),
            ("state", sends.stage(job)),
            ("what", sends.mailed(state, job)),
            ("file", job.details["name"]),
            ("created", f"{output.local(job.created_at)} by {job.actor}"),
            ("ended", output.local(job.ended_at) if job.ended_at else None),
            ("done", f"{job.done} of {job.total}"),
            ("accepted", str(job.changed)),
            ("why", results.of_job(state, job).progress.get("words")),
        ]
    )
    _print_left_out(job, left_out)


@bulk.command(short_help="Watch a bulk send.")
@click.argument("bulk_id", metavar="ID")
@with_appcontext
def watch(bulk_id: str) -> None:
    """Watch a bulk send until it ends or rests. Ctrl-C leaves it: it goes on."""
    sends.find(current(), bulk_id)
    _watch(current(), bulk_id)


@bulk.command(short_help="Start a bulk send that was checked.")
@click.argument("bulk_id", metavar="ID")
@click.option("--skip-bad", is_flag=True, help="Leave bad rows out.")
@with_appcontext
def start(bulk_id: str, skip_bad: bool) -> None:
    """Start a bulk send that was checked."""
    started = sends.start(current(), bulk_id, actor=actor(), skip_bad=skip_bad)
    click.echo(f"started {bulk_id}" if started else f"{bulk_id} was started before")


@bulk.command(short_help="Pause a bulk send.")
@click.argument("bulk_id", metavar="ID")
@with_appcontext
def pause(bulk_id: str) -> None:
    """Accept no more emails of it for now; those that were are sent."""
    paused = sends.pause(current(), bulk_id, actor=actor())
    click.echo(f"paused {bulk_id}" if paused else f"{bulk_id} rests already, or has ended")


@bulk.command(short_help="Go on with a bulk send after a pause.")
@click.argument("bulk_id", metavar="ID")
@with_appcontext
def resume(bulk_id: str) -> None:
    """Go on with a bulk send after a pause."""
    resumed = sends.resume(current(), bulk_id, actor=actor())
    click.echo(f"resumed {bulk_id}" if resumed else f"{bulk_id} is not paused")


@bulk.command(short_help="End a bulk send for good.")
@click.argument("bulk_id", metavar="ID")
@click.option("--unsent", is_flag=True, help="Also cancel its emails that are still queued.")
@with_appcontext
def cancel(bulk_id: str, unsent: bool) -> None:
    """End a bulk send at once, for good."""
    done = sends.cancel(current(), bulk_id, unsent=unsent, actor=actor())
    click.echo(f"cancelled {bulk_id}" if done else f"{bulk_id} had ended")


@bulk.command(short_help="Print what became of each row.")
@click.argument("bulk_id", metavar="ID")
@click.option(
    "--output",
    "-o",
    "file",
    type=click.File("w", encoding="utf-8", lazy=True),
    default="-",
    help="File to write; standard output if not given.",
)
@with_appcontext
def report(bulk_id: str, file: Any) -> None:
    """Print CSV with what became of each row of the file.

    \b
      mailer bulk report ID --output report.csv
    """
    sends.find(current(), bulk_id)
    for text in sends.written(sends.report(current(), bulk_id)):
        file.write(text)


def _watch(state: State, bulk_id: str, *, until_checked: bool = False) -> None:
    """Show how far it is until it ends or rests, or somebody presses Ctrl-C."""
    try:
        while True:
            job = sends.find(state, bulk_id)
            stage = sends.stage(job)
            is_over = until_checked and job.found["phase"] != "checking"
            if is_over or job.ended_at or stage in {"checked", "paused"}:
                break
            _follow(state, bulk_id, stage)
    except KeyboardInterrupt:
        click.echo(err=True)
        click.echo(f"It goes on. To watch it again: mailer bulk watch {bulk_id}", err=True)
        raise click.exceptions.Exit(0) from None
    if job.status == "failed":
        raise click.ClickException(f"it failed: {job.words}")
    if not until_checked:
        why = f": {output.printable(job.words)}" if job.words else ""
        click.echo(f"{bulk_id}: {stage}, {output.count(job.changed, 'email')} accepted{why}")


def _follow(state: State, bulk_id: str, stage: str) -> None:
    """Draw one bar, for one phase."""
    job = sends.find(state, bulk_id)
    words = ""
    bar: Any
    with click.progressbar(
        length=job.total,
        label=stage,
        show_pos=True,
        file=sys.stderr,
        item_show_func=lambda item: words,
    ) as bar:
        begun, first = time.monotonic(), job.done
        while sends.stage(job) == stage:
            seconds = time.monotonic() - begun
            rate = f"{(job.done - first) / seconds:.0f}/s" if seconds > 1 else ""
            waits = results.of_job(state, job).progress.get("words", "")
            words = output.printable(waits or rate)
            bar.length = job.total
            bar.update(job.done - bar.pos, current_item=job)
            time.sleep(_LOOK_SECONDS)
            job = sends.find(state, bulk_id)
        # Of a phase that broke off the bar stays where the number is.
        is_over = sends.stage(job) in {"checked", "sending", "done"}
        bar.update((bar.length if is_over else job.done) - bar.pos)


def _show_check(state: State, job: sa.Row[Any]) -> None:
    left_out = state.ledger.left_out(job.id, _SHOWN)
    _print_left_out(job, left_out)
    for preview in sends.previews(state, job):
        click.echo()
        click.echo(f"To: {output.printable(preview.recipient)}")
        if preview.content is None:
            click.echo(output.printable(preview.words))
            continue
        click.echo(f"Subject: {output.printable(preview.content.subject)}")
        lines = preview.content.text.splitlines()
        for line in lines[:_PREVIEW_LINES]:
            click.echo(f"  {output.printable(line)}".rstrip())
        if len(lines) > _PREVIEW_LINES:
            click.echo("  ...")
    click.echo()
    click.echo(f"{output.count(job.total, 'email')} to send of {job.found['rows']} rows")


def _print_left_out(job: sa.Row[Any], rows: Any) -> None:
    counts = {kind: job.found[kind] for kind in ("bad", "duplicate", "suppressed")}
    if not any(counts.values()):
        return
    click.echo(f"left out: {', '.join(f'{number} {kind}' for kind, number in counts.items())}")
    output.print_table(
        ("LINE", "ADDRESS", "BECAUSE", "WHY"),
        [(row.line, row.address, row.left_out, row.reason) for row in rows],
        last_may_go_below=True,
    )
    if (more := sum(counts.values()) - len(rows)) > 0:
        click.echo(f"... and {more} more: mailer bulk report {job.id}")


def _document(job: sa.Row[Any]) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": sends.stage(job),
        "template": job.details["request"]["template"],
        "file": job.details["name"],
        "created_at": job.created_at,
        "ended_at": job.ended_at,
        "done": job.done,
        "total": job.total,
        "accepted": job.changed,
        **{name: job.found[name] for name in ("rows", "bad", "duplicate", "suppressed")},
        "words": job.words,
    }
