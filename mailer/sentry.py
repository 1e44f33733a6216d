"""Bugs told to Sentry, once ``MAILER_SENTRY_DSN`` says where it is: which, and where in the code.

What an email says and to whom never leaves this way: an event is made anew of the few parts in
which it cannot be. Errors that are to be expected are in the log and the ledger, and no events.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from . import trace
from .errors import LedgerUnavailable, SettingError

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

_KEPT = (
    *("event_id", "timestamp", "level", "platform", "sdk"),
    *("environment", "release", "server_name"),
    *("transaction", "transaction_info"),
)
_KEPT_OF_EXCEPTION = ("type", "module", "mechanism", "stacktrace")


def start(dsn: str) -> None:
    """Tell Sentry of bugs in views, tasks and threads of this process and those that it forks.
    Raises SettingError without sentry-sdk."""
    if find_spec("sentry_sdk") is None:
        raise SettingError(
            "MAILER_SENTRY_DSN: needs sentry-sdk: pip install 'mailer-dispatch[sentry]'"
        )
    import sentry_sdk  # noqa: PLC0415 - for those who want it
    from sentry_sdk.integrations.atexit import AtexitIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.celery import CeleryIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.flask import FlaskIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.threading import ThreadingIntegration  # noqa: PLC0415

    sentry_sdk.init(
        dsn,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        send_client_reports=False,
        ignore_errors=[LedgerUnavailable],
        before_send=_bare,
        # Those that read log lines, statements and command lines are not among them.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            FlaskIntegration(transaction_style="url"),  # the rule: a path may have a token in it
            CeleryIntegration(propagate_traces=False),
            ThreadingIntegration(),
            DedupeIntegration(),
            AtexitIntegration(callback=lambda _pending, _timeout: None),
        ],
    )


def _bare(event: Event, _: Hint) -> Event:
    """Return what says nothing about an email. The words of an exception may: they are in the log,
    with the same request or task."""
    given: dict[str, Any] = dict(event)
    kept: Any = {name: given[name] for name in _KEPT if name in given}
    raised = (given.get("exception") or {}).get("values", ())
    kept["exception"] = {
        "values": [{name: one.get(name) for name in _KEPT_OF_EXCEPTION} for one in raised]
    }
    task_id = (given.get("tags") or {}).get("celery_task_id")
    kept["tags"] = {"request": trace.request_id(), "celery_task_id": task_id}
    return kept  # type: ignore[no-any-return]
