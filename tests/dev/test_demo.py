"""The demo, against a small app that does what it is told and a real catcher."""

from __future__ import annotations

import http.server
import io
import json
import re
import smtplib
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailer.dev.catcher import Catcher
from mailer.dev.demo import Demo
from mailer.dev.terminal import Terminal

Sender = Callable[[str, str], None]
"""Given a path and an address: what the app does about it."""


@pytest.fixture
def catcher() -> Iterator[Catcher]:
    with Catcher() as catcher:
        yield catcher


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Return a function that starts an app which answers every post alike."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def serve(send: Sender, status: int = 202) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                posted = json.loads(self.rfile.read(size))
                body = json.dumps({"status": "accepted"}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                send(self.path, posted["email"])

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def mail_to(catcher: Catcher) -> Sender:
    def send(path: str, address: str) -> None:
        message = EmailMessage()
        message["From"] = "Mailer <no-reply@example.com>"
        message["To"] = address
        message["Subject"] = f"About {path}"
        message.set_content(f"Hello,\n\nthis is about {path}.\x1b[2J\n")
        with smtplib.SMTP("127.0.0.1", catcher.smtp_port) as smtp:
            smtp.send_message(message)

    return send


def demo(
    app: str, catcher: Catcher, output: io.StringIO, tmp_path: Path, *, colour: bool = False
) -> Demo:
    return Demo(
        app=app,
        inbox=catcher.url,
        terminal=Terminal(output, colour=colour),
        stopping=threading.Event(),
        worker_log=tmp_path / "worker.log",
        patience=0.5,
    )


def test_each_request_is_shown_with_its_answer_and_its_email(
    serve: Callable[..., str], catcher: Catcher, tmp_path: Path
) -> None:
    output = io.StringIO()
    assert demo(serve(mail_to(catcher)), catcher, output, tmp_path).run()
    shown = output.getvalue()
    assert shown.count("202 Accepted") == 2
    assert shown.count('"status": "accepted"') == 2
    assert shown.index("About /signup") < shown.index("About /reset")
    assert len(re.findall(r"in the inbox after \d\.\d\d s", shown)) == 2
    [address] = {recipient for message in catcher.messages() for recipient in message.recipients}
    assert f"│ To      {address}" in shown
    assert "│ From    Mailer <no-reply@example.com>" in shown
    assert [f"{catcher.url}/messages/{id}" in shown for id in (1, 2)] == [True, True]


def test_the_password_and_what_would_steer_the_terminal_are_not_shown(
    serve: Callable[..., str], catcher: Catcher, tmp_path: Path
) -> None:
    output = io.StringIO()
    demo(serve(mail_to(catcher)), catcher, output, tmp_path).run()
    assert '"password": "..."' in output.getvalue()
    assert "\x1b" not in output.getvalue()


def test_colour_is_used_only_when_asked_for(
    serve: Callable[..., str], catcher: Catcher, tmp_path: Path
) -> None:
    output = io.StringIO()
    demo(serve(mail_to(catcher)), catcher, output, tmp_path, colour=True).run()
    assert "\x1b[1mSign up\x1b[0m" in output.getvalue()


def test_an_email_that_does_not_come_fails_with_the_last_words_of_the_worker(
    serve: Callable[..., str], catcher: Catcher, tmp_path: Path
) -> None:
    (tmp_path / "worker.log").write_text("delivery=7c1e status=deferred code=451\n")
    output = io.StringIO()
    assert not demo(serve(lambda *_: None), catcher, output, tmp_path).run()
    assert "arrived within 0.5 s" in output.getvalue()
    assert "delivery=7c1e status=deferred code=451" in output.getvalue()
    assert "/reset" not in output.getvalue()


def test_a_refused_request_fails_without_waiting_for_an_email(
    serve: Callable[..., str], catcher: Catcher, tmp_path: Path
) -> None:
    output = io.StringIO()
    assert not demo(serve(mail_to(catcher), 429), catcher, output, tmp_path).run()
    assert "429 Too Many Requests" in output.getvalue()
    assert "/signup was not accepted" in output.getvalue()


def test_an_app_that_does_not_answer_fails_with_the_reason(
    catcher: Catcher, tmp_path: Path
) -> None:
    output = io.StringIO()
    assert not demo("http://127.0.0.1:1", catcher, output, tmp_path).run()
    assert "Connection refused" in output.getvalue()
