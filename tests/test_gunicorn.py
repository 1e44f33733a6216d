"""The service in gunicorn as it is shipped, asked over raw sockets."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mailer import keys
from mailer.db import Database
from mailer.dev.ports import free_port
from mailer.dev.services import answers_http
from mailer.grants import SCOPES, checked
from mailer.values import database_url

from .worker import CHECKOUT, Process, environment, wait_until

HELLO = {"from": "a@example.com", "to": "b@example.com", "subject": "Hello", "text": "Hello"}
LIMIT = 400 * 4 // 3 + 8 * 1000
"""Bytes of a request that `running` takes."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server(NamedTuple):
    port: int
    key: str
    process: Process

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, raw: bytes) -> Answer:
        """Send bytes as they are and return the answer."""
        with self.open() as connection:
            connection.sendall(raw)
            return heard(connection)

    def head(self, line: str, *headers: str) -> bytes:
        mine = ("Host: x", f"Authorization: Bearer {self.key}", "Content-Type: application/json")
        return "\r\n".join([line, *mine, *headers, "", ""]).encode("latin-1")

    def post(self, body: bytes, *headers: str) -> Answer:
        length = f"Content-Length: {len(body)}"
        return self.ask(self.head("POST /api/emails HTTP/1.1", length, *headers) + body)


def heard(connection: socket.socket) -> Answer:
    """Read one answer."""
    with connection.makefile("rb") as file:
        line = file.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        headers: dict[str, str] = {}
        while (header := file.readline().decode("latin-1").strip()) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        body = file.read(int(headers.get("content-length", "0")))
    return Answer(int(line.split()[1]), headers, body)


@contextmanager
def serving(settings: dict[str, Any], folder: Path, *arguments: str) -> Iterator[Server]:
    settings = {**settings, "CELERY": {"broker_url": "memory://"}}
    database = Database(database_url(settings["MAILER_DATABASE_URL"]))
    database.upgrade()
    _, token = keys.create(database, "test", checked(scopes=SCOPES), actor="test")
    database.close()
    (line,) = [
        line.removeprefix("web: ")
        for line in (CHECKOUT / "Procfile").read_text().splitlines()
        if line.startswith("web: ")
    ]
    program, *options = shlex.split(line)
    port = free_port()
    process = Process(
        [
            str(Path(sys.executable).with_name(program)),
            *options,
            *("--bind", f"127.0.0.1:{port}", *arguments),
        ],
        environment(settings),
        folder / "web.log",
    )
    try:
        wait_until(lambda: answers_http(port)(""), 20, lambda: process.output)
        yield Server(port, token, process)
    finally:
        process.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("web")
    settings = {
        "SECRET_KEY": "not a secret, this is a test",
        "MAIL_DEFAULT_SENDER": "hello@acme.example",
        "MAILER_BASE_URL": "http://app.acme.example",
        "MAILER_DATABASE_URL": f"sqlite:///{folder / 'ledger.sqlite3'}",
        "MAILER_MAX_BODY_BYTES": 1000,
        "MAILER_MAX_ATTACHMENT_BYTES": 400,
    }
    with serving(settings, folder) as server:
        yield server


def refused(answer: Answer, status: int, name: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert (answer.json["statusCode"], answer.json["name"]) == (status, name)


def test_an_email_is_accepted_and_its_line_looks_as_gunicorns_own(running: Server) -> None:
    answer = running.post(json.dumps(HELLO).encode(), "X-Request-Id: raw-1")
    assert answer.status == 200
    assert answer.headers["x-request-id"] == "raw-1"
    assert not re.search(r"\d", answer.headers["server"]), "it says its version"
    wait_until(lambda: "request=raw-1" in running.process.output, 5)
    said = running.process.output.splitlines()
    (line,) = [one for one in said if "request=raw-1" in one]
    (booted, *_) = [one for one in said if "Booting worker" in one]
    for one in (line, booted):
        assert re.match(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: INFO/\d+\] ", one)
    assert f"email={answer.json['id']}" in line
    assert "route=/api/emails status=200" in line


def test_nothing_in_the_log_is_an_address(running: Server) -> None:
    running.post(json.dumps(HELLO).encode(), "X-Request-Id: raw-2")
    running.ask(b"GET /reset/secret-token BAD/1.1\r\n\r\n")
    wait_until(lambda: "request=raw-2" in running.process.output, 5)
    for secret in ("a@example.com", "127.0.0.1 ", "ip=", "secret-token", running.key):
        assert secret not in running.process.output


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /api/emails HTTP/1.1\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET /api/emails HTTP/1.1\r\n" + b"X: y\r\n" * 70 + b"\r\n", 431),
        (b"GET /api/emails\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /api/\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"get /api/emails HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /api/emails HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /api/emails HTTP/1.1\r\nX-A: \x00\r\n\r\n", 400),
        (b"POST /api/emails HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (
            b"POST /api/emails HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST /api/emails HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n", 501),
    ],
)
def test_what_never_comes_to_the_app_is_refused_in_json(
    running: Server, raw: bytes, status: int
) -> None:
    refused(
        running.ask(raw), status, "internal_server_error" if status > 499 else "invalid_request"
    )


@pytest.mark.parametrize("path", [b"/api/%00", b"/api/a%2Fb", b"/api/%ff", b"/api/../x", b"/api//"])
def test_a_path_as_no_client_would_write_it(running: Server, path: bytes) -> None:
    refused(running.ask(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n"), 404, "not_found")


def test_a_method_that_nobody_knows(running: Server) -> None:
    answer = running.ask(running.head("PROPFIND /api/emails HTTP/1.1"))
    refused(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (*chunks, b""))


def test_a_body_in_chunks_is_taken(running: Server) -> None:
    whole = json.dumps(HELLO).encode()
    head = running.head("POST /api/emails HTTP/1.1", "Transfer-Encoding: chunked")
    assert running.ask(head + chunked(whole[:9], whole[9:])).status == 200


def test_a_body_that_is_too_large_by_what_its_length_says(running: Server) -> None:
    answer = running.post(b"x" * (LIMIT + 1))
    refused(answer, 413, "payload_too_large")
    assert str(LIMIT) in answer.json["message"]


def test_a_body_in_chunks_that_is_too_large(running: Server) -> None:
    head = running.head("POST /api/emails HTTP/1.1", "Transfer-Encoding: chunked")
    body = chunked(b'"' + b"x" * 5_000, b"x" * 5_000 + b'"')
    refused(running.ask(head + body), 413, "payload_too_large")


def test_a_length_that_promises_gigabytes_is_refused_before_they_come(running: Server) -> None:
    head = running.head("POST /api/emails HTTP/1.1", "Content-Length: 9999999999")
    refused(running.ask(head), 413, "payload_too_large")


def test_chunks_that_are_malformed_are_the_clients_fault(running: Server) -> None:
    head = running.head(
        "POST /api/emails HTTP/1.1", "Transfer-Encoding: chunked", "X-Request-Id: raw-3"
    )
    refused(running.ask(head + b"zz\r\nhello\r\n0\r\n\r\n"), 400, "invalid_request")
    wait_until(lambda: "request=raw-3" in running.process.output, 5)
    assert "Traceback" not in running.process.output


def test_deep_json_is_refused(running: Server) -> None:
    refused(running.post(b"[" * 4000 + b"]" * 4000), 422, "validation_error")


def test_a_refusal_leaves_the_connection_good_for_the_next_request(running: Server) -> None:
    body = b"x" * (LIMIT + 1)
    length = f"Content-Length: {len(body)}"
    with running.open() as connection:
        connection.sendall(running.head("POST /api/emails HTTP/1.1", length) + body)
        assert heard(connection).status == 413
        connection.sendall(running.head("GET /api/emails HTTP/1.1"))
        assert heard(connection).status == 200


def test_only_the_proxies_that_are_trusted_say_who_asks(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    forwarded = ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X_Forwarded_For: y")
    settings |= {"MAILER_LIMIT_PER_CLIENT": "1/hour"}

    def reset(server: Server, *headers: str) -> int:
        body = b'{"email": "a@example.com"}'
        length = f"Content-Length: {len(body)}"
        return server.ask(server.head("POST /reset HTTP/1.1", length, *headers) + body).status

    with serving(settings, tmp_path, "--workers", "1") as server:
        assert [reset(server), reset(server, *forwarded)] == [202, 429]
    (tmp_path / "proxied").mkdir()
    settings |= {"MAILER_TRUSTED_PROXIES": 1}
    with serving(settings, tmp_path / "proxied", "--workers", "1") as server:
        assert [reset(server), reset(server, *forwarded)] == [202, 202]
        assert reset(server, *forwarded) == 429


def test_clients_that_send_too_slowly_take_no_thread_from_others_for_long(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    impatient = tmp_path / "impatient.py"
    impatient.write_text(
        "from mailer.gunicorn import *\n"
        "from mailer.web.worker import Worker\n"
        "class Impatient(Worker):\n"
        "    request_seconds = 2.0\n"
        "worker_class = Impatient\n"
    )
    arguments = ("--config", str(impatient), "--workers", "1", "--threads", "2")
    with serving(settings, tmp_path, *arguments) as server:
        beginning, with_body = server.open(), server.open()
        with beginning, with_body:
            beginning.sendall(b"GET /api/emails HT")
            head = server.head("POST /api/emails HTTP/1.1", "Content-Length: 500")
            with_body.sendall(head + b'{"from"')
            began = time.monotonic()
            wait_until(lambda: asked_within(server, 10), 10)
            assert time.monotonic() - began > 1, "both threads were waiting"
            assert beginning.recv(100) == b"", "it was left without an answer"
            refused(heard(with_body), 400, "invalid_request")


def asked_within(server: Server, seconds: float) -> bool:
    with server.open() as connection:
        connection.settimeout(seconds)
        connection.sendall(server.head("GET /api/emails HTTP/1.1"))
        return heard(connection).status == 200


def test_a_wrong_setting_is_said_once_and_ends_the_start(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    (line,) = [one for one in (CHECKOUT / "Procfile").read_text().splitlines() if "web: " in one]
    program, *options = shlex.split(line.removeprefix("web: "))
    environ = {**environment(settings), "FLASK_MAIL_PORT": "smtp"}
    command = [str(Path(sys.executable).with_name(program)), *options]
    process = Process(
        [*command, "--bind", f"127.0.0.1:{free_port()}"], environ, tmp_path / "web.log"
    )
    try:
        wait_until(lambda: process.exit_code is not None, 20, lambda: process.output)
        assert process.exit_code
        assert process.output.count("MAIL_PORT: expected") == 1
    finally:
        process.stop()


def test_what_is_in_hand_when_it_ends_is_answered(settings: dict[str, Any], tmp_path: Path) -> None:
    with serving(settings, tmp_path) as server, server.open() as connection:
        body = json.dumps(HELLO).encode()
        connection.sendall(server.head("POST /api/emails HTTP/1.1", f"Content-Length: {len(body)}"))
        connection.sendall(body[:9])
        time.sleep(0.2)  # it is being read: there is nothing to see of that
        server.process.signal(signal.SIGTERM)
        wait_until(lambda: "Handling signal: term" in server.process.output, 5)
        connection.sendall(body[9:])
        assert heard(connection).status == 200
        wait_until(lambda: server.process.exit_code is not None, 10)
        assert server.process.exit_code == 0


def test_a_worker_that_dies_is_replaced_and_shares_nothing_that_was_open(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    with serving(settings, tmp_path, "--workers", "1") as server:
        assert server.post(json.dumps(HELLO).encode()).status == 200
        for _ in range(2):
            (pid,) = children(server.process.pid)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: children(server.process.pid) not in ([], [pid]), 10)  # type: ignore[misc]
            wait_until(lambda: answers_http(server.port)(""), 10)
            assert server.post(json.dumps(HELLO).encode()).status == 200
        listed = server.ask(server.head("GET /api/emails HTTP/1.1"))
        assert len(listed.json["data"]) == 3


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(one) for one in found.split()]
