"""``python -m mailer.dev.catcher``: the catcher as a process of its own."""

from __future__ import annotations

import argparse
import json
import signal
import sys

from mailer.dev.catcher import Catcher

_SCRIPTED = """\
It refuses, defers, hangs or hangs up as it is told over HTTP (docs/catcher.md has more):

  curl http://127.0.0.1:8025/api/script -H 'Content-Type: application/json' \\
    -d '{"stage": "rcpt", "do": "451 4.7.1 Greylisted", "address": "grey@*", "times": 2}'
"""


def main() -> int:
    """Run until SIGTERM or SIGINT. Prints one JSON line when ready, and nothing else."""
    parser = argparse.ArgumentParser(
        prog="python -m mailer.dev.catcher",
        description="An SMTP server that keeps every message and shows it in an inbox.",
        epilog=_SCRIPTED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--smtp-port", type=int, default=1025, help="0 takes a free one")
    parser.add_argument("--http-port", type=int, default=8025, help="0 takes a free one")
    options = parser.parse_args()
    # Blocked before any thread starts, so that `sigwait` is the only one to see them.
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    catcher = Catcher(smtp_port=options.smtp_port, http_port=options.http_port)
    try:
        catcher.start()
    except OSError as error:
        sys.stderr.write(f"catcher: cannot listen: {error}\n")
        return 1
    sys.stdout.write(json.dumps({"smtp_port": catcher.smtp_port, "url": catcher.url}) + "\n")
    sys.stdout.flush()
    signal.sigwait(stop_signals)
    catcher.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
