"""Spans of OpenTelemetry: one trace from the call of ``dispatch`` to the server's reply.

A doorbell stands for many emails, so that no trace can travel with a Celery message: each email
has its own noted with it. Only OpenTelemetry's API is used, and nothing is done before the
application has set a tracer provider, which decides what is kept and where it goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from .ledger import Claimed, Draft, Recorded
from .outcome import UNBEGUN, Kind, Outcome
from .smtp import Server

try:
    from opentelemetry import trace as otel
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    _IS_INSTALLED = False
else:
    _IS_INSTALLED = True
    _TRACER = otel.get_tracer("mailer")
    _W3C = TraceContextTextMapPropagator()

_FIELD = "traceparent"
_FLUSH_MILLISECONDS = 3_000
_SYSTEM = "mailer"
_WELL = frozenset({Kind.SENT, Kind.UNWANTED, Kind.SUPPRESSED})


def is_on() -> bool:
    """Say whether the application traces."""
    return _IS_INSTALLED and not isinstance(otel.get_tracer_provider(), otel.ProxyTracerProvider)


def dispatching(drafts: list[Draft], store: Callable[[], list[Recorded]]) -> list[Recorded]:
    """Return what ``store`` does, within a span that is noted with the emails."""
    if not is_on():
        return store()
    attributes: dict[str, str | int] = {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": "dispatch",
        "messaging.operation.type": "create",
        "messaging.destination.name": drafts[0].email["lane"],
    }
    if len(drafts) > 1:
        attributes["messaging.batch.message_count"] = len(drafts)
    with _TRACER.start_as_current_span(
        "mailer.dispatch",
        kind=otel.SpanKind.PRODUCER,
        attributes=attributes,
        # The words of an exception may be about a recipient.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        noted: dict[str, str] = {}
        _W3C.inject(noted)
        for one in drafts:
            one.email["traceparent"] = noted.get(_FIELD)
        try:
            recorded = store()
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(otel.StatusCode.ERROR)
            raise
        if len(recorded) == 1:
            span.set_attribute("messaging.message.id", recorded[0].values["id"])
        return recorded


def flush() -> None:
    """Export what the provider still holds back. The API knows no such thing, but the SDK does."""
    if is_on() and (force := getattr(otel.get_tracer_provider(), "force_flush", None)):
        force(_FLUSH_MILLISECONDS)


class Attempts:
    """The attempts of one batch, a span each: a child of its dispatch, linked to the drain."""

    def __init__(self, server_of: Callable[[str], Server]) -> None:
        """``server_of`` a transport's name."""
        self._is_on = is_on()
        self._server_of = server_of

    def end(self, claimed: Claimed, outcome: Outcome, seconds: float) -> None:
        """Make the span of an attempt that took so long and is over now, unless it never began."""
        if not self._is_on or outcome.kind in UNBEGUN:
            return
        now = time.time_ns()
        origin, links = None, []
        if claimed.email.traceparent is not None:
            origin = _W3C.extract({_FIELD: claimed.email.traceparent})
            drain = otel.get_current_span().get_span_context()
            links = [otel.Link(drain)] if drain.is_valid else []
        span = _TRACER.start_span(
            "mailer.send",
            context=origin,
            kind=otel.SpanKind.CLIENT,
            attributes=self._attributes(claimed, outcome),
            links=links,
            start_time=now - int(seconds * 1e9),
        )
        if outcome.kind not in _WELL:
            # Not the server's words: they may name the recipient.
            said = [str(part) for part in (outcome.code, outcome.enhanced) if part]
            span.set_status(otel.StatusCode.ERROR, " ".join([outcome.kind, outcome.stage, *said]))
        span.end(now)

    def _attributes(self, claimed: Claimed, outcome: Outcome) -> Mapping[str, str | int]:
        server = self._server_of(outcome.transport) if outcome.transport else None
        found: dict[str, str | int | None] = {
            "messaging.system": _SYSTEM,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": claimed.email.lane,
            "messaging.message.id": claimed.email.id,
            "network.protocol.name": "smtp" if server else None,
            "server.address": server.host if server else None,
            "server.port": server.port if server else None,
            "error.type": None if outcome.kind in _WELL else str(outcome.code or outcome.kind),
            "mailer.delivery": claimed.delivery_id,
            "mailer.attempt": claimed.attempt,
            "mailer.template": claimed.email.template,
            "mailer.transport": outcome.transport,
            "mailer.outcome": outcome.kind.value,
            "mailer.stage": outcome.stage or None,
            "mailer.smtp.code": outcome.code,
            "mailer.smtp.enhanced": outcome.enhanced,
        }
        return {name: value for name, value in found.items() if value is not None}
