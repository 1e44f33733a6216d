"""The catcher over real SMTP conversations: what it keeps, what it can be told to do wrong."""

from __future__ import annotations

import json
import select
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.dev.catcher import Catcher, Rule
from mailer.dev.catcher.listening import listen

MESSAGE = b"Subject: Hello\r\nFrom: a@example.com\r\n\r\nHi\r\n"


@pytest.fixture
def catcher() -> Iterator[Catcher]:
    with Catcher() as running:
        yield running


def connect(catcher: Catcher, *, timeout: float = 5) -> smtplib.SMTP:
    return smtplib.SMTP(
        "127.0.0.1", catcher.smtp_port, local_hostname="client.test", timeout=timeout
    )


def send(catcher: Catcher, *recipients: str, raw: bytes = MESSAGE) -> None:
    with connect(catcher) as client:
        client.sendmail("sender@example.com", recipients or ["to@example.com"], raw)


def replies(catcher: Catcher, sent: bytes, *, piece: int | None = None) -> list[bytes]:
    """Send bytes, ``piece`` at a time, and return every line the server says until it closes."""
    piece = piece or len(sent)
    with socket.create_connection(("127.0.0.1", catcher.smtp_port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), piece):
            client.sendall(sent[at : at + piece])
        with client.makefile("rb") as heard:
            return heard.read().splitlines()


# What is kept


def test_a_message_is_kept_byte_for_byte_with_its_envelope(catcher: Catcher) -> None:
    raw = "Subject: Grüße\r\n\r\n.\r\n..\r\n.dot\r\n\r\n\x00 end, no break".encode() + b"\xff\r\n"
    with connect(catcher) as client:
        client.sendmail("From@example.com", ["b@example.com", "a@example.com"], raw)
    [message] = catcher.wait_for(1)
    assert message.raw == raw
    assert message.sender == "From@example.com"
    assert message.recipients == ("b@example.com", "a@example.com")
    assert message.subject == "Grüße"


def test_an_empty_message_is_kept_as_empty(catcher: Catcher) -> None:
    replies(
        catcher, b"EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n.\r\nQUIT\r\n"
    )
    assert [message.raw for message in catcher.messages()] == [b""]


def test_the_null_sender_is_recorded_as_empty(catcher: Catcher) -> None:
    with connect(catcher) as client:
        client.sendmail("", ["to@example.com"], MESSAGE)
    assert catcher.messages()[0].sender == ""


def test_addresses_outside_ascii_are_taken_with_smtputf8(catcher: Catcher) -> None:
    with connect(catcher) as client:
        client.sendmail("zoë@exämple.test", ["łukasz@exämple.test"], MESSAGE, ["SMTPUTF8"])
    assert catcher.messages()[0].recipients == ("łukasz@exämple.test",)


def test_messages_are_found_by_any_envelope_recipient_in_any_case(catcher: Catcher) -> None:
    send(catcher, "one@example.com", "Two@Example.com")
    send(catcher, "one@example.com")
    assert len(catcher.messages(to="two@example.COM")) == 1
    assert len(catcher.wait_for(2, to="ONE@example.com")) == 2
    assert catcher.messages(to="three@example.com") == []


def test_the_newest_messages_are_kept_within_the_count() -> None:
    with Catcher(max_messages=3) as catcher:
        with connect(catcher) as client:
            for number in range(5):
                client.sendmail("a@x.test", [f"{number}@x.test"], MESSAGE)
        assert [m.recipients[0][0] for m in catcher.messages()] == ["2", "3", "4"]
        assert catcher.store.count("0@x.test") == 0


def test_the_newest_messages_are_kept_within_the_bytes() -> None:
    with Catcher(max_bytes=2 * len(MESSAGE)) as catcher:
        for _ in range(3):
            send(catcher)
        assert [message.id for message in catcher.messages()] == [2, 3]


def test_waiting_in_vain_says_what_was_there_instead(catcher: Catcher) -> None:
    send(catcher, "somebody@example.com")
    with pytest.raises(TimeoutError, match=r"2 messages to me@x.test, got 0.*'Hello' to somebody@"):
        catcher.wait_for(2, to="me@x.test", timeout=0.05)


def test_waiting_ends_as_soon_as_the_message_is_there(catcher: Catcher) -> None:
    sender = threading.Timer(0.1, send, [catcher])
    sender.start()
    started = time.monotonic()
    catcher.wait_for(1, timeout=30)
    assert time.monotonic() - started < 10
    sender.join()


def test_clear_forgets_messages_rules_and_counts(catcher: Catcher) -> None:
    catcher.script("rcpt", "550 5.1.1 No", address="nobody@x.test")
    send(catcher)
    catcher.clear()
    assert catcher.messages() == []
    assert catcher.rules.all() == []
    assert catcher.counts == {"connections": 0}


# The conversation


def test_the_extensions_are_offered(catcher: Catcher) -> None:
    with connect(catcher) as client:
        client.ehlo()
        offered = set(client.esmtp_features)
    assert {"pipelining", "8bitmime", "size", "smtputf8"} <= offered
    assert not {"auth", "starttls"} & offered


@pytest.mark.parametrize("piece", [None, 1, 5, 1000], ids=["at once", "1", "5", "1000"])
def test_the_next_envelope_may_travel_with_a_body(catcher: Catcher, piece: int | None) -> None:
    envelope = b"MAIL FROM:<a@x.test> BODY=8BITMIME SIZE=99\r\nRCPT TO:<%d@x.test>\r\nDATA\r\n"
    sent = b"EHLO x\r\n" + envelope % 0
    for number in range(1, 4):
        sent += b"Subject: %d\r\n\r\n..\r\n.\r\n" % (number - 1) + envelope % number
    sent += b"Subject: 3\r\n\r\n..\r\n.\r\nQUIT\r\n"

    codes = [line[:3] for line in replies(catcher, sent, piece=piece) if line[3:4] == b" "]

    assert codes == [b"220", b"250", *[b"250", b"250", b"354", b"250"] * 4, b"221"]
    assert [(m.recipients[0], m.raw) for m in catcher.messages()] == [
        (f"{number}@x.test", b"Subject: %d\r\n\r\n.\r\n" % number) for number in range(4)
    ]


def test_replies_to_grouped_commands_arrive_together(catcher: Catcher) -> None:
    with socket.create_connection(("127.0.0.1", catcher.smtp_port), timeout=5) as client:
        client.sendall(b"EHLO x\r\n")
        heard = b""
        while b"250 HELP\r\n" not in heard:
            heard += client.recv(4096)
        client.sendall(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n")
        assert client.recv(4096).count(b"\r\n") == 3


def test_earlier_replies_are_heard_before_a_pipelined_command_hangs(catcher: Catcher) -> None:
    catcher.script("rcpt", "hang", address="slow@x.test")
    with socket.create_connection(("127.0.0.1", catcher.smtp_port), timeout=5) as client:
        client.sendall(b"EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<slow@x.test>\r\nDATA\r\n")
        heard = b""
        while b"Sender OK\r\n" not in heard:
            heard += client.recv(4096)


def test_a_line_over_998_bytes_is_refused_and_the_connection_goes_on(catcher: Catcher) -> None:
    with connect(catcher) as client:
        with pytest.raises(smtplib.SMTPDataError, match="998"):
            client.sendmail("a@x.test", ["b@x.test"], b"x" * 999)
        client.sendmail("a@x.test", ["b@x.test"], b"x" * 998)
    assert len(catcher.messages()) == 1


def test_a_message_over_the_size_is_refused_and_the_connection_goes_on(catcher: Catcher) -> None:
    with connect(catcher) as client:
        client.ehlo()
        client.mail("a@x.test")
        client.rcpt("b@x.test")
        assert client.data((b"x" * 900 + b"\r\n") * 38_000)[0] == 552
        client.sendmail("a@x.test", ["b@x.test"], MESSAGE)
    assert len(catcher.messages()) == 1


def test_connections_and_commands_are_counted(catcher: Catcher) -> None:
    with connect(catcher) as client:
        for _ in range(3):
            client.sendmail("a@x.test", ["b@x.test", "c@x.test"], MESSAGE)
    counts = catcher.counts
    assert counts["connections"] == 1
    assert (counts["ehlo"], counts["mail"], counts["rcpt"], counts["data"]) == (1, 3, 6, 3)


# Scripted replies


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("connect", smtplib.SMTPConnectError),
        ("ehlo", smtplib.SMTPHeloError),
        ("mail", smtplib.SMTPSenderRefused),
        ("rcpt", smtplib.SMTPRecipientsRefused),
        ("data", smtplib.SMTPDataError),
        ("dot", smtplib.SMTPDataError),
    ],
)
def test_a_stage_can_be_refused(
    catcher: Catcher, stage: str, error: type[smtplib.SMTPException]
) -> None:
    catcher.script(stage, "451 4.3.0 Not now", times=1 if stage != "ehlo" else 2)
    with pytest.raises(error) as refused:
        send(catcher)
    assert "451" in str(refused.value)
    assert "4.3.0 Not now" in str(refused.value)
    assert catcher.messages() == []
    send(catcher)
    assert len(catcher.messages()) == 1


def test_quit_can_be_refused_after_the_message_was_taken(catcher: Catcher) -> None:
    catcher.script("quit", "451 4.3.0 Stay")
    client = connect(catcher)
    client.sendmail("a@x.test", ["b@x.test"], MESSAGE)
    assert client.quit() == (451, b"4.3.0 Stay")
    assert len(catcher.messages()) == 1


def test_only_the_matching_recipient_is_refused(catcher: Catcher) -> None:
    catcher.script("rcpt", "550 5.1.1 No such user", address="Bad*@X.test")
    with connect(catcher) as client:
        refused = client.sendmail("a@x.test", ["good@x.test", "bad.one@x.test"], MESSAGE)
    assert refused == {"bad.one@x.test": (550, b"5.1.1 No such user")}
    assert catcher.messages()[0].recipients == ("good@x.test",)


def test_a_sender_pattern_applies_to_mail(catcher: Catcher) -> None:
    catcher.script("mail", "550 5.7.1 Not you", address="spam@*")
    with connect(catcher) as client:
        assert client.sendmail("ham@x.test", ["b@x.test"], MESSAGE) == {}
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.sendmail("spam@x.test", ["b@x.test"], MESSAGE)


def test_a_rule_applies_as_often_as_it_says_and_then_is_gone(catcher: Catcher) -> None:
    rule = catcher.script("rcpt", "451 4.2.0 Greylisted", times=2)
    with connect(catcher) as client:
        client.ehlo()
        client.mail("a@x.test")
        assert [client.rcpt("b@x.test")[0] for _ in range(3)] == [451, 451, 250]
    assert rule.used == 2
    assert catcher.rules.all() == []


def test_the_first_rule_added_wins_and_removing_it_uncovers_the_next(catcher: Catcher) -> None:
    first = catcher.script("rcpt", "450 4.0.0 first")
    catcher.script("rcpt", "550 5.0.0 second")
    with connect(catcher) as client:
        client.ehlo()
        client.mail("a@x.test")
        assert client.rcpt("b@x.test")[0] == 450
        assert catcher.rules.remove(first.id)
        assert client.rcpt("b@x.test")[0] == 550


def test_a_2xx_reply_only_replaces_the_words(catcher: Catcher) -> None:
    catcher.script("rcpt", "251 2.1.5 Will forward")
    catcher.script("dot", "250 2.0.0 queued as 7F\nas one of many")
    with connect(catcher) as client:
        client.ehlo()
        client.mail("a@x.test")
        assert client.rcpt("b@x.test") == (251, b"2.1.5 Will forward")
        assert client.data(MESSAGE) == (250, b"2.0.0 queued as 7F\nas one of many")
    assert len(catcher.messages()) == 1


def test_extensions_can_be_taken_away(catcher: Catcher) -> None:
    catcher.script("ehlo", "250 plain.test")
    with connect(catcher) as client:
        client.sendmail("a@x.test", ["b@x.test"], MESSAGE)
        assert client.esmtp_features == {}


def test_a_421_closes_the_connection(catcher: Catcher) -> None:
    catcher.script("mail", "421 4.3.2 Shutting down")
    heard = replies(catcher, b"EHLO x\r\nMAIL FROM:<a@x.test>\r\n")
    assert heard[-1] == b"421 4.3.2 Shutting down"


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data", "dot", "quit"])
def test_a_connection_can_be_dropped_at_a_stage(catcher: Catcher, stage: str) -> None:
    catcher.script(stage, "drop", times=1)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        connect_and_send(catcher)
    assert len(catcher.messages()) == (1 if stage == "quit" else 0)
    send(catcher)


@pytest.mark.parametrize("do", ["drop", "hang", "451 4.3.0 Or was it"])
def test_a_message_can_be_stored_and_its_reply_be_lost(catcher: Catcher, do: str) -> None:
    catcher.script("dot", do, address="to@example.com", stored=True)
    with pytest.raises((OSError, smtplib.SMTPException)):
        connect_and_send(catcher, timeout=1)
    assert [message.raw for message in catcher.wait_for(1)] == [MESSAGE]


def test_one_hanging_conversation_holds_up_no_other(catcher: Catcher) -> None:
    rule = catcher.script("mail", "hang", address="slow@x.test")
    with connect(catcher) as hanging:
        hanging.ehlo()
        hanging.putcmd("mail", "FROM:<slow@x.test>")
        send(catcher)
        assert rule.used == 1
        assert hanging.sock is not None
        assert not select.select([hanging.sock], [], [], 0.1)[0], "it was answered"
        hanging.close()
    assert len(catcher.messages()) == 1


def connect_and_send(catcher: Catcher, *, timeout: float = 5) -> None:
    client = connect(catcher, timeout=timeout)
    try:
        # sendmail hides a lost connection behind other errors, so step by step.
        client.ehlo()
        client.mail("sender@example.com")
        client.rcpt("to@example.com")
        code, words = client.data(MESSAGE)
        if code != 250:
            raise smtplib.SMTPDataError(code, words)
        client.quit()
    finally:
        client.close()


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"stage": "rcpts", "do": "drop"}, "stage: expected one of"),
        ({"stage": "rcpt", "do": "451"}, "do: expected 'hang'"),
        ({"stage": "rcpt", "do": "451 a\r\n250 b"}, "do: expected 'hang'"),
        ({"stage": "data", "do": "250 fine"}, "takes a 4xx or 5xx"),
        ({"stage": "quit", "do": "drop", "address": "a@x"}, "no address"),
        ({"stage": "rcpt", "do": "drop", "times": 0}, "times: expected"),
        ({"stage": "rcpt", "do": "drop", "stored": True}, "only for stage 'dot'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Rule(**rule)  # type: ignore[arg-type]


# TLS and logins


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate for localhost."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    keys = ["-keyout", str(file), "-out", str(file.with_suffix(".crt"))]
    subprocess.run([*command.split(), *keys], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + file.with_suffix(".crt").read_bytes())
    return file


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_tls(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))


def test_starttls_encrypts_and_counts_as_one_connection(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    with Catcher(tls=server_tls) as catcher:
        with smtplib.SMTP("localhost", catcher.smtp_port, "client.test", timeout=5) as client:
            client.starttls(context=client_tls)
            client.sendmail("a@x.test", ["b@x.test"], MESSAGE)
            assert not client.has_extn("auth")
        assert len(catcher.messages()) == 1
        assert catcher.counts["connections"] == 1


def test_implicit_tls_speaks_tls_from_the_first_byte(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    with Catcher(tls=server_tls, tls_mode="implicit", credentials=("app", "pw")) as catcher:
        with smtplib.SMTP_SSL(
            "localhost", catcher.smtp_port, "client.test", timeout=5, context=client_tls
        ) as client:
            client.login("app", "pw")
            client.sendmail("a@x.test", ["b@x.test"], MESSAGE)
        assert len(catcher.messages()) == 1


def test_with_a_certificate_a_login_is_offered_only_after_starttls(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    with (
        Catcher(tls=server_tls, credentials=("app", "pw")) as catcher,
        smtplib.SMTP("localhost", catcher.smtp_port, "client.test", timeout=5) as client,
    ):
        client.ehlo()
        assert not client.has_extn("auth")
        client.starttls(context=client_tls)
        client.login("app", "pw")
        client.sendmail("a@x.test", ["b@x.test"], MESSAGE)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize(
    ("name", "password", "code"),
    [("app", "pässword", b"235"), ("app", "x", b"535"), ("x", "pässword", b"535")],
)
def test_a_login_needs_the_right_name_and_password(
    mechanism: str, name: str, password: str, code: bytes
) -> None:
    lines = [b"AUTH LOGIN", b64encode(name.encode()), b64encode(password.encode())]
    if mechanism == "PLAIN":
        lines = [b"AUTH PLAIN " + b64encode(f"\0{name}\0{password}".encode())]
    with Catcher(credentials=("app", "pässword")) as catcher:
        heard = replies(catcher, b"EHLO x\r\n" + b"\r\n".join(lines) + b"\r\nQUIT\r\n")
    assert heard[-2][:3] == code


def test_mail_without_a_login_is_refused_where_there_are_credentials() -> None:
    with Catcher(credentials=("app", "pw")) as catcher, connect(catcher) as client:
        client.ehlo()
        assert client.mail("a@x.test")[0] == 530
        client.login("app", "pw")
        assert client.sendmail("a@x.test", ["b@x.test"], MESSAGE) == {}


def test_a_login_can_be_deferred_by_a_rule() -> None:
    with Catcher(credentials=("app", "pw")) as catcher:
        catcher.script("auth", "454 4.7.0 Temporary authentication failure")
        with connect(catcher) as client:
            client.ehlo()
            with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                client.login("app", "pw")
        assert refused.value.smtp_code == 454


# Starting and stopping


def test_a_stopped_catcher_refuses_connections_and_comes_back_on_its_ports() -> None:
    catcher = Catcher()
    catcher.start()
    port, url = catcher.smtp_port, catcher.url
    send(catcher)
    catcher.stop()
    with pytest.raises(ConnectionRefusedError):
        connect(catcher)
    catcher.start()
    try:
        assert (catcher.smtp_port, catcher.url) == (port, url)
        send(catcher)
        assert len(catcher.messages()) == 2
    finally:
        catcher.stop()


def test_stopping_cuts_open_connections_at_once() -> None:
    catcher = Catcher().start()
    catcher.script("mail", "hang")
    with connect(catcher, timeout=10) as client:
        client.ehlo()
        client.putcmd("mail", "FROM:<a@x.test>")
        started = time.monotonic()
        catcher.stop()
        assert time.monotonic() - started < 2
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
            client.getreply()
        client.close()


def test_sockets_are_such_that_asyncio_switches_nagle_off() -> None:
    with listen(0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_a_busy_port_is_named(catcher: Catcher) -> None:
    with pytest.raises(OSError, match=rf"127.0.0.1:{catcher.smtp_port}: "):
        Catcher(smtp_port=catcher.smtp_port).start()


def run_process(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mailer.dev.catcher", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_when_it_is_ready_and_ends_within_a_second(stop: signal.Signals) -> None:
    with run_process("--smtp-port", "0", "--http-port", "0") as process:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 30)[0], "not ready within 30 s"
        ready = json.loads(process.stdout.readline())
        with (
            smtplib.SMTP("127.0.0.1", ready["smtp_port"], "client.test", timeout=5) as client,
            urllib.request.urlopen(f"{ready['url']}/events", timeout=5) as events,
        ):
            client.sendmail("a@x.test", ["b@x.test"], MESSAGE)
            assert events.readline() == b"retry: 1000\n"
            started = time.monotonic()
            process.send_signal(stop)
            rest, errors = process.communicate(timeout=10)
            took = time.monotonic() - started
            client.close()
    assert (process.returncode, rest, errors) == (0, "", "")
    assert took < 1


def test_the_process_names_a_busy_port_in_one_line(catcher: Catcher) -> None:
    with run_process("--smtp-port", str(catcher.smtp_port), "--http-port", "0") as process:
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (1, "")
    assert errors.count("\n") == 1
    assert f"127.0.0.1:{catcher.smtp_port}" in errors
