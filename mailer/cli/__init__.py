"""The command line: ``mailer ...`` for the service, ``flask mailer ...`` for an app with `Mailer`.

Exit codes: 0 it worked, 1 it did not (or there is no such email), 2 the command was not understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import click
from click.exceptions import NoArgsIsHelpError

from ..errors import InvalidEmail, MailerError

# Name of the command -> where it is. In the order of --help.
_COMMANDS = {
    "send": "send:send",
    "bulk": "bulk:bulk",
    "list": "listing:list_deliveries",
    "show": "show:show",
    "failed": "failed:failed",
    "why": "why:why",
    "retry": "steering:retry",
    "cancel": "steering:cancel",
    "resolve": "steering:resolve",
    "pause": "lanes:pause",
    "resume": "lanes:resume",
    "transports": "transports:transports",
    "export": "person:export",
    "purge": "person:purge",
    "suppressions": "suppressions:suppressions",
    "keys": "keys:keys",
    "users": "users:users",
    "webhooks": "webhooks:webhooks",
    "audit": "audit:audit",
    "bounce": "bounce:bounce",
    "status": "status:status",
    "top": "top:top",
    "preview": "preview:preview",
    "test": "test:test",
    "db": "db:db",
    "dev": "dev:dev",
}


class _Commands(click.Group):
    """Imports a command when it is used: most need the database, `dev` needs to start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f".{module}", __name__), name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _errors_in_one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        with _errors_in_one_line(ctx):
            return super().invoke(ctx)


@contextmanager
def _errors_in_one_line(ctx: click.Context) -> Iterator[None]:
    """End with ``mailer: ...`` for errors that somebody foresaw; others keep their traceback."""
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else ctx.command_path
        _say(f"{error.format_message().rstrip('.')} (see '{path} --help')")
        ctx.exit(error.exit_code)
    except click.ClickException as error:
        _say(error.format_message())
        ctx.exit(error.exit_code)
    except InvalidEmail as error:
        for field, message in error.problems:
            _say(f"{field}: {message}")
        ctx.exit(1)
    except MailerError as error:
        _say(str(error))
        ctx.exit(1)


def _say(words: str) -> None:
    click.echo(f"mailer: {' '.join(words.split())}", err=True)


@click.group("mailer", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mailer-dispatch", message="%(package)s %(version)s")
def group() -> None:
    """Send email, see what became of it, steer it.

    An email is what to send; a delivery is one recipient's copy of it, with a state of its own.
    """
