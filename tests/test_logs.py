"""Lines as JSON objects: their fields, and whose they are."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from mailer import logs, trace

SAID = "2026-11-24T12:30:00.250000+00:00"


class Log:
    """What is written to one logger, as JSON."""

    def __init__(self, name: str) -> None:
        self._written = io.StringIO()
        self.logger = logging.getLogger(name)
        self.handler = logging.StreamHandler(self._written)
        self.logger.addHandler(self.handler)
        logs.write_json(self.logger)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._written.getvalue().splitlines()]

    @property
    def only(self) -> dict[str, Any]:
        (line,) = self.lines
        return {name: value for name, value in line.items() if name not in {"timestamp", "process"}}


@pytest.fixture
def ours() -> Iterator[Log]:
    log = Log("mailer.test_logs")
    yield log
    log.logger.removeHandler(log.handler)


@pytest.fixture
def theirs() -> Iterator[Log]:
    log = Log("theirs.test_logs")
    yield log
    log.logger.removeHandler(log.handler)


def test_a_line_says_when_how_serious_who_and_what(ours: Log) -> None:
    record = ours.logger.makeRecord(ours.logger.name, logging.WARNING, "", 0, "Hello", (), None)
    record.created, record.process = 1795523400.25, 4711
    ours.logger.handle(record)
    assert ours.lines == [
        {
            "timestamp": SAID,
            "level": "warning",
            "logger": "mailer.test_logs",
            "process": 4711,
            "event": "Hello",
        }
    ]


def test_what_our_lines_call_by_name_is_a_field_of_its_type(ours: Log) -> None:
    ours.logger.warning(
        "delivery=%s status=%s code=%d ms=%.1f delay=%.0f retry=%ss 100%% stage=%s mark=failed n=7:"
        " %s",
        12, "deferred", 451, 3.1415, 29.6, 0.5, "-", "try again=later",
    )  # fmt: skip
    line = ours.only
    assert line.pop("event") == (
        "delivery=12 status=deferred code=451 ms=3.1 delay=30 retry=0.5s 100% stage=- "
        "mark=failed n=7: try again=later"
    )
    assert line == {
        "level": "warning",
        "logger": "mailer.test_logs",
        "delivery": 12,
        "status": "deferred",
        "code": 451,
        "ms": 3.1,
        "delay": 30,
        "retry": 0.5,
        "mark": "failed",
        "n": 7,
    }


def test_an_event_of_a_webhook_does_not_take_the_place_of_the_line(ours: Log) -> None:
    ours.logger.warning("event=%s webhook=%s", "msg_1", "w1")
    assert ours.only["event"] == "event=msg_1 webhook=w1"
    assert ours.only["event_id"] == "msg_1"


def test_words_of_others_make_no_field(ours: Log, theirs: Log) -> None:
    ours.logger.warning("code=%s: %s", 451, "status=sent level=info\nrequest=forged")
    theirs.logger.warning("status=%s", "sent")
    assert ours.only.keys() == {"level", "logger", "code", "event"}
    assert theirs.only.keys() == {"level", "logger", "event"}


def test_a_line_of_a_request_has_its_id(theirs: Log) -> None:
    with Flask("shop").test_request_context(headers={trace.HEADER: "shop-7"}):
        theirs.logger.warning("Hello")
    assert theirs.only["request"] == "shop-7"


def test_an_exception_and_a_stack_are_fields_of_the_one_line(theirs: Log) -> None:
    try:
        raise ValueError("of no use\nat all")
    except ValueError:
        theirs.logger.exception("It broke", stack_info=True)
    line = theirs.only
    assert line["exception"].startswith("Traceback")
    assert "of no use\nat all" in line["exception"]
    assert line["stack_info"].startswith("Stack")
    assert line["event"] == "It broke"


def test_what_is_logged_over_structlog_is_a_line_like_others(theirs: Log) -> None:
    import structlog

    structlog.stdlib.get_logger("theirs.test_logs")
    logger = structlog.wrap_logger(
        theirs.logger, processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    )
    logger.warning("Hello", customer=7)
    assert theirs.only == {
        "level": "warning",
        "logger": "theirs.test_logs",
        "event": "Hello",
        "customer": 7,
    }


def test_without_structlog_the_start_is_refused(settings: dict[str, Any]) -> None:
    code = "\n".join(
        [
            "import importlib.util as util",
            "found = util.find_spec",
            "util.find_spec = lambda name: None if name == 'structlog' else found(name)",
            "from mailer import create_app",
            f"create_app({settings | {'MAILER_LOG_FORMAT': 'json'}})",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "mailer.errors.SettingError: MAILER_LOG_FORMAT: json needs structlog: "
        "pip install 'mailer-dispatch[json-logs]'"
    )
