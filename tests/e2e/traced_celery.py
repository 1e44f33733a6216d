"""The service with OpenTelemetry's SDK, as an application sets it up: spans go to a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from mailer import create_app

_file = Path(os.environ["TRACES"]).open("a")  # noqa: SIM115 - as long as the process


def _line(span: ReadableSpan) -> str:
    return json.dumps(json.loads(span.to_json())) + "\n"


provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=_file, formatter=_line)))
trace.set_tracer_provider(provider)

flask_app = create_app()
celery_app = flask_app.extensions["celery"]
