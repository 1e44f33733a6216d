"""gunicorn's settings: ``gunicorn -c python:mailer.gunicorn 'mailer:create_app()'``.

What differs on a machine is said on the command line, which wins: ``--bind``, ``--workers``,
``--threads``; or in ``GUNICORN_CMD_ARGS``. docs/production.md has the reasons for people.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from .web.lines import Lines
from .web.worker import Worker

# Processes, because Python runs one thread at a time in each; threads, because most of a request
# is waiting for the disk, and those that wait at once share a commit (`mailer.ledger.joint`).
workers = 2
threads = 8
worker_class = Worker

# The app is made once, before the workers: a wrong setting is said once and ends the start, a
# worker that is replaced is there at once, and all share its memory. What must not be shared is not
# open then (`mailer.app`), or dropped in the child (`mailer.state`).
preload_app = True

# A worker whose main loop stands still for so long is killed. It is not a limit for requests:
# those are waited for in threads, and `Worker` has theirs.
timeout = 30
# As long as the longest wait in a request (PostgreSQL's statement_timeout): none is cut off.
graceful_timeout = 30
# SDKs send one email after another over a connection. More than a reverse proxy keeps it for
# means that the proxy ends it, not we, just as it sends the next request.
keepalive = 75
# Whatever a library leaks, it leaks for so long; not in all workers at once.
max_requests = 50_000
max_requests_jitter = 5_000

# Of what comes before a body, which `web.security` and `api` limit. The longest line is a link with
# a token, of 300 bytes; the longest header an API key or a cookie.
limit_request_line = 4_094
limit_request_fields = 64
limit_request_field_size = 8_190

# Nobody's X-Forwarded-* counts here: MAILER_TRUSTED_PROXIES alone says whose do (`web.security`),
# and two places would say it twice.
forwarded_allow_ips = ""
# A header with an underscore looks like one with a hyphen to an app: a client could say what only
# a proxy may.
header_map = "drop"

# The heartbeat is a file, and on a disk that is busy it would wait.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nosec B108  # noqa: S108
# Nobody is to steer it but by signals.
control_socket_disable = True

# No access log of gunicorn's, which has addresses and paths: `web.access` writes ours.
accesslog = None
logconfig_dict: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"lines": {"()": Lines}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {"gunicorn.error": {"handlers": ["stderr"], "propagate": False}},
}


def when_ready(server: Any) -> None:
    """Keep the garbage collector off what the workers share; see `mailer.celery_app`."""
    gc.collect()
    gc.freeze()
