"""Log lines that look alike, whoever writes them: as Celery's do, and with the request's id."""

from __future__ import annotations

import logging

from .. import trace

FORMAT = "[%(asctime)s: %(levelname)s/%(process)d] %(message)s"


class Lines(logging.Formatter):
    """Celery's format, with the process's id for its name. What is logged while a request is
    answered says which one, if it does not yet; other libraries know nothing of it."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line = super().formatMessage(record)
        request_id = trace.request_id()
        if request_id is None or f"request={request_id}" in line:
            return line
        return f"{line} request={request_id}"
