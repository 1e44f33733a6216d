"""One trace from the request to the server's reply, and nothing in it that is nobody's business."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mailer import Filters, InvalidEmail, delivery, dispatch, dispatch_many
from mailer.db import Database
from mailer.state import of

from .smtp_server import Do, SMTPServer

HELLO: dict[str, Any] = {"to": "ada@example.com", "subject": "Hello Ada", "text": "Dear Ada"}
MakeApp = Callable[..., Flask]


@pytest.fixture(scope="session")  # until then what other tests send is traced, too
def exporter() -> Iterator[InMemorySpanExporter]:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    otel.set_tracer_provider(provider)  # once a process
    yield memory
    provider.shutdown()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


@pytest.fixture
def smtp() -> Iterator[SMTPServer]:
    with SMTPServer() as server:
        yield server


@pytest.fixture
def traced(
    make_app: MakeApp, database: Database, smtp: SMTPServer, spans: InMemorySpanExporter
) -> Flask:
    """An app that sends when it is told to."""
    return make_app(
        MAIL_PORT=smtp.port,
        MAILER_DATABASE_URL=database.url.render_as_string(hide_password=False),
        CELERY={"broker_url": "memory://"},
    )


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


class _Broken(SpanProcessor):
    """What an application may have: it raises at each end of a span of an attempt."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == "mailer.send":
            raise RuntimeError("the exporter is broken")


def test_a_trace_that_fails_has_no_email_sent_twice(traced: Flask, smtp: SMTPServer) -> None:
    provider = otel.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    processors = provider._active_span_processor._span_processors
    provider.add_span_processor(_Broken())
    try:
        with pytest.raises(RuntimeError, match="the exporter is broken"):
            sent_by(traced)
    finally:
        provider._active_span_processor._span_processors = processors
    (row,) = of(traced).ledger.list(Filters(), 10)
    assert (row.status, len(smtp.messages)) == ("sent", 1)


def context(span: ReadableSpan) -> otel.SpanContext:
    found: otel.SpanContext | None = span.get_span_context()
    assert found is not None
    return found


def sent_by(app: Flask, **changes: Any) -> None:
    with app.app_context():
        dispatch(**{**HELLO, **changes})
        delivery.drain(of(app), "default")


def test_each_attempt_is_a_child_of_its_dispatch_and_linked_to_the_drain(
    traced: Flask, spans: InMemorySpanExporter
) -> None:
    tracer = otel.get_tracer("test")
    with traced.app_context():
        with tracer.start_as_current_span("POST /signup"):
            dispatch(**HELLO)
        with tracer.start_as_current_span("POST /orders"):
            dispatch_many([{**HELLO, "to": to} for to in ("b@example.com", "c@example.com")])
        with tracer.start_as_current_span("run/mailer.send_email"):
            delivery.drain(of(traced), "default")
    (signup,), (orders,) = named(spans, "POST /signup"), named(spans, "POST /orders")
    (task,) = named(spans, "run/mailer.send_email")
    one, many = named(spans, "mailer.dispatch")
    assert (one.parent, many.parent) == (context(signup), context(orders))
    assert (one.attributes or {})["messaging.destination.name"] == "default"
    assert (many.attributes or {})["messaging.batch.message_count"] == 2
    sends = named(spans, "mailer.send")
    parents = [span.parent and span.parent.span_id for span in sends]
    assert sorted(parents) == sorted([context(one).span_id, *[context(many).span_id] * 2])  # type: ignore[type-var]
    for span in sends:
        assert [link.context.span_id for link in span.links] == [context(task).span_id]
        assert context(span).trace_id in {context(signup).trace_id, context(orders).trace_id}


def test_a_span_says_where_it_went_and_how_it_ended(
    traced: Flask, spans: InMemorySpanExporter, smtp: SMTPServer
) -> None:
    sent_by(traced)
    (dispatched,), (sent,) = named(spans, "mailer.dispatch"), named(spans, "mailer.send")
    email_id = (dispatched.attributes or {})["messaging.message.id"]
    assert dispatched.kind is SpanKind.PRODUCER
    assert sent.kind is SpanKind.CLIENT
    assert sent.status.status_code is StatusCode.UNSET
    assert dict(sent.attributes or {}) == {
        "messaging.system": "mailer",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "default",
        "messaging.message.id": email_id,
        "network.protocol.name": "smtp",
        "server.address": "127.0.0.1",
        "server.port": smtp.port,
        "mailer.delivery": 1,
        "mailer.attempt": 1,
        "mailer.transport": "default",
        "mailer.outcome": "sent",
        "mailer.stage": "dot",
        "mailer.smtp.code": 250,
        "mailer.smtp.enhanced": "2.0.0",
    }


def test_attempts_that_fail_are_errors_of_the_same_trace_without_the_servers_words(
    traced: Flask, spans: InMemorySpanExporter, smtp: SMTPServer
) -> None:
    later, never = b"451 4.7.1 <ada@example.com> later\r\n", b"550 5.1.1 no ada@example.com\r\n"
    smtp.then("rcpt", Do(later), Do(never))
    sent_by(traced)
    with traced.app_context():
        delivery.drain(of(traced), "default")
    (dispatched,) = named(spans, "mailer.dispatch")
    first, second = named(spans, "mailer.send")
    assert first.parent is not None
    assert second.parent is not None
    assert first.parent.span_id == second.parent.span_id == context(dispatched).span_id
    assert first.status.status_code is second.status.status_code is StatusCode.ERROR
    assert first.status.description == "deferred rcpt 451 4.7.1"
    assert second.status.description == "refused rcpt 550 5.1.1"
    assert [(span.attributes or {})["error.type"] for span in (first, second)] == ["451", "550"]
    assert [(span.attributes or {})["mailer.attempt"] for span in (first, second)] == [1, 2]


def test_a_span_lasts_from_composing_to_the_reply(
    traced: Flask, spans: InMemorySpanExporter, smtp: SMTPServer
) -> None:
    with traced.app_context():
        dispatch(**HELLO)
    tracer = otel.get_tracer("test")
    with tracer.start_as_current_span("drain"), traced.app_context():
        delivery.drain(of(traced), "default")
    (sent,), (drain,) = named(spans, "mailer.send"), named(spans, "drain")
    times = (drain.start_time, sent.start_time, sent.end_time, drain.end_time)
    assert list(times) == sorted(times)  # type: ignore[type-var]
    assert sent.start_time != sent.end_time


def test_no_address_subject_or_body_is_in_a_span(
    traced: Flask, spans: InMemorySpanExporter, smtp: SMTPServer
) -> None:
    smtp.then("rcpt", Do(b"550 5.1.1 <ada@example.com> unknown\r\n"))
    sent_by(traced)
    with traced.app_context(), pytest.raises(InvalidEmail):
        dispatch(**{**HELLO, "to": "ada@"})
    everything = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "mailer.send" in everything
    for secret in ("ada", "Ada", "acme.example"):
        assert secret not in everything


def test_what_the_ledger_refuses_is_an_error_by_its_name_alone(
    traced: Flask, spans: InMemorySpanExporter
) -> None:
    with traced.app_context():
        dispatch(**HELLO, idempotency_key="ada@example.com")
        with pytest.raises(Exception, match="used before"):
            dispatch(**{**HELLO, "text": "Other"}, idempotency_key="ada@example.com")
    _, refused = named(spans, "mailer.dispatch")
    assert refused.status.status_code is StatusCode.ERROR
    assert (refused.attributes or {})["error.type"] == "IdempotencyConflict"
    assert "ada" not in refused.to_json()


def test_what_was_not_traced_when_it_was_dispatched_is_told_as_a_part_of_the_drain(
    traced: Flask, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with traced.app_context():
        with monkeypatch.context() as off:
            off.setattr("mailer.spans._IS_INSTALLED", False)
            dispatch(**HELLO)
        with otel.get_tracer("test").start_as_current_span("drain"):
            delivery.drain(of(traced), "default")
    (sent,), (drain,) = named(spans, "mailer.send"), named(spans, "drain")
    assert sent.parent == context(drain)
    assert not sent.links


OFF = """
import json, sys
if {missing}:
    sys.modules["opentelemetry"] = None
from mailer import create_app, delivery, dispatch, spans
from mailer.state import of

app = create_app({settings})
with app.app_context():
    of(app).database.upgrade()
    email = dispatch(to="ada@example.com", subject="Hello", text="Hello")
    claimed, = of(app).ledger.claim("default", 1).deliveries
    print(json.dumps([spans.is_on(), claimed.email.traceparent]))
"""


@pytest.mark.parametrize("missing", [True, False])
def test_nothing_is_noted_without_opentelemetry_or_before_it_is_set_up(
    settings: dict[str, Any], missing: bool
) -> None:
    settings |= {"MAIL_SUPPRESS_SEND": True, "CELERY": {"broker_url": "memory://"}}
    done = subprocess.run(
        [sys.executable, "-c", OFF.format(missing=missing, settings=settings)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, None]
