"""One conversation, over the wire, against a server that does what each test tells it."""

from __future__ import annotations

import base64
import hmac
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailer.errors import SettingError
from mailer.outcome import Kind, Outcome
from mailer.smtp import ConnectFailed, Connection, Envelope, Interrupted, Server
from mailer.smtp.reply import Reply
from tests.smtp_server import CLOSE, GOOD, HANG, RESET, Certificates, Do, SMTPServer

SECRET = "correct horse"


def server_of(smtp: SMTPServer, **options: object) -> Server:
    defaults: dict[str, object] = {"connect_timeout": 2, "timeout": 2, "final_timeout": 2}
    return Server(host="127.0.0.1", port=smtp.port, **(defaults | options))  # type: ignore[arg-type]


@contextmanager
def connected(smtp: SMTPServer, **options: object) -> Iterator[Connection]:
    connection = Connection(server_of(smtp, **options), transport="test")
    try:
        yield connection
    finally:
        connection.close()


def refusal(smtp: SMTPServer, kind: Kind = Kind.UNAVAILABLE, **options: object) -> Outcome:
    """Return why no connection can be opened; sees to it that nothing was sent."""
    with pytest.raises(ConnectFailed) as caught:
        Connection(server_of(smtp, **options), transport="test")
    outcome = caught.value.outcome
    assert outcome.kind is kind
    assert outcome.transport == "test"
    assert not [line for line in smtp.lines if line.startswith(("MAIL", "RCPT", "DATA"))]
    return outcome


def to(recipient: str, message: bytes = b"Subject: x\r\n\r\nhello\r\n", **more: bool) -> Envelope:
    return Envelope("orders@shop.example", recipient, message, **more)


ANN = to("ann@example.org")
BOB = to("bob@example.org")


class Timer:
    def __enter__(self) -> Timer:
        self.start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self.start


# Opening


def test_a_server_that_is_not_there_is_unavailable_at_connect() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed) as caught:
            Connection(Server(host="127.0.0.1", port=unused.getsockname()[1]))
    outcome = caught.value.outcome
    assert (outcome.kind, outcome.stage, outcome.code) == (Kind.UNAVAILABLE, "connect", None)
    assert "refused" in outcome.words


@pytest.mark.parametrize("code", [421, 554])
def test_a_banner_that_refuses_is_unavailable_with_its_words(code: int) -> None:
    with SMTPServer(script={"banner": [Do(b"%d 4.3.2 not now\r\n" % code)]}) as smtp:
        outcome = refusal(smtp)
    assert (outcome.stage, outcome.code) == ("banner", code)
    assert "not now" in outcome.words


@pytest.mark.parametrize(
    "banner", [HANG, Do(b"220-welcome\r\n" * 100, every=0.05), Do(b"220 never ends", then="hang")]
)
def test_the_banner_has_a_deadline_even_if_it_drips(banner: Do) -> None:
    with SMTPServer(script={"banner": [banner]}) as smtp, Timer() as timer:
        outcome = refusal(smtp, connect_timeout=0.5)
        assert outcome.stage == "banner"
        assert "timed out" in outcome.words
    assert timer.seconds < 5


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff\xfe\x00\r\n",
        b"2200 ESMTP\r\n",
        b"099 hello\r\n",
        b"220-" + b"x" * 70_000 + b"\r\n220 ok\r\n",
        b"220-more\r\n" * 8000 + b"220 ok\r\n",
    ],
)
def test_a_reply_that_is_none_or_too_long_breaks_the_connection(reply: bytes) -> None:
    with SMTPServer(script={"banner": [Do(reply)]}) as smtp:
        outcome = refusal(smtp)
    assert (outcome.stage, outcome.code) == ("banner", None)
    assert "not an SMTP reply" in outcome.words
    assert outcome.words.isprintable()
    assert len(outcome.words) < 500


def test_a_server_that_hangs_up_at_ehlo_is_unavailable() -> None:
    with SMTPServer(script={"ehlo": [CLOSE]}) as smtp:
        outcome = refusal(smtp)
    assert (outcome.stage, outcome.words) == ("ehlo", "the server closed the connection")


def test_a_server_older_than_ehlo_is_greeted_with_helo() -> None:
    with SMTPServer(script={"ehlo": [Do(b"502 5.5.2 what?\r\n")]}) as smtp:
        with connected(smtp) as connection:
            assert connection.deliver(ANN).kind is Kind.SENT
        assert smtp.lines[:3] == [
            "EHLO [127.0.0.1]",
            "HELO [127.0.0.1]",
            "MAIL FROM:<orders@shop.example>",
        ]


def test_ehlo_says_the_name_that_was_given() -> None:
    with SMTPServer() as smtp, connected(smtp, local_hostname="app.example"):
        assert smtp.lines == ["EHLO app.example"]


def test_a_command_hidden_in_a_setting_is_refused() -> None:
    with pytest.raises(SettingError, match="local_hostname"):
        Server(host="h", local_hostname="x\r\nQUIT")


# TLS


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_message_travels_encrypted(certificates: Certificates, security: str) -> None:
    tls = certificates.server("good")
    with SMTPServer(tls=tls, implicit_tls=security == "tls") as smtp:
        with connected(smtp, security=security, ca_file=certificates.ca_file) as connection:
            assert connection.deliver(ANN).kind is Kind.SENT
            assert connection.deliver(BOB).kind is Kind.SENT
            assert connection.usable()
        assert smtp.recipients == [ANN.recipient, BOB.recipient]
        encrypted_from = smtp.sessions[0].encrypted_from
        assert encrypted_from is not None
        in_clear = b"".join(smtp.sessions[0].chunks[:encrypted_from])
        expected = b"EHLO [127.0.0.1]\r\nSTARTTLS\r\n" if security == "starttls" else b""
        assert in_clear == expected


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ("other-host", "mismatch"),
        ("expired", "expired"),
        ("self-signed", "self-signed"),
    ],
)
def test_a_certificate_that_proves_nothing_stops_everything(
    certificates: Certificates, security: str, certificate: str, words: str
) -> None:
    tls = certificates.server(certificate)
    with SMTPServer(features=["AUTH PLAIN"], tls=tls, implicit_tls=security == "tls") as smtp:
        outcome = refusal(
            smtp,
            security=security,
            ca_file=certificates.ca_file,
            username="app",
            password=SECRET,
        )
        assert outcome.stage == ("connect" if security == "tls" else "starttls")
        assert words in outcome.words
        assert smtp.lines == ([] if security == "tls" else ["EHLO [127.0.0.1]", "STARTTLS"])


def test_the_authority_must_be_known(certificates: Certificates) -> None:
    with SMTPServer(tls=certificates.server("good"), implicit_tls=True) as smtp:
        assert "certificate" in refusal(smtp, security="tls").words


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"starttls": [Do(b"454 4.7.0 not now\r\n")]}, "not now"),
        ({"starttls": [Do(b"220 go\r\n250-x\r\n250 AUTH PLAIN\r\n")]}, "plain text"),
        ({"tls": [CLOSE]}, "127.0.0.1"),
        ({"tls": [HANG]}, "timed out"),
        ({"tls": [Do(b"250 this is no TLS record\r\n", "hang")]}, "TLS"),
    ],
)
def test_starttls_that_fails_never_goes_on_in_plain_text(
    certificates: Certificates, script: dict[str, list[Do]], words: str
) -> None:
    with SMTPServer(tls=certificates.server("good"), script=script) as smtp:
        outcome = refusal(
            smtp, security="starttls", ca_file=certificates.ca_file, connect_timeout=0.5
        )
        assert outcome.stage == "starttls"
        assert words in outcome.words
        assert smtp.lines == ["EHLO [127.0.0.1]", "STARTTLS"]


def test_starttls_that_is_not_offered_is_unavailable() -> None:
    with SMTPServer() as smtp:
        outcome = refusal(smtp, security="starttls")
    assert (outcome.stage, outcome.code) == ("starttls", None)
    assert "does not offer STARTTLS" in outcome.words


def test_what_was_offered_before_tls_does_not_count(certificates: Certificates) -> None:
    with SMTPServer(features=[], tls=certificates.server("good")) as smtp:
        smtp.then("ehlo", Do(b"250-x\r\n250-SIZE 10\r\n250 STARTTLS\r\n"))
        with connected(smtp, security="starttls", ca_file=certificates.ca_file) as connection:
            assert connection.deliver(ANN).kind is Kind.SENT
        assert smtp.lines[3] == "MAIL FROM:<orders@shop.example>"


def test_a_missing_ca_file_is_named(tmp_path: Path) -> None:
    with SMTPServer() as smtp:
        outcome = refusal(smtp, security="tls", ca_file=str(tmp_path / "none.pem"))
    assert "none.pem" in outcome.words
    assert "No such file" in outcome.words


# AUTH


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("offered", "lines"),
    [
        ("PLAIN LOGIN CRAM-MD5", ["AUTH PLAIN " + b64("\0app\0pässword")]),
        ("XOAUTH2 LOGIN", ["AUTH LOGIN", b64("app"), b64("pässword")]),
        (
            "CRAM-MD5",
            [
                "AUTH CRAM-MD5",
                b64("app " + hmac.new("pässword".encode(), b"<123@test>", "md5").hexdigest()),
            ],
        ),
    ],
)
def test_logs_in_by_the_first_mechanism_in_common(offered: str, lines: list[str]) -> None:
    with SMTPServer(features=[f"AUTH {offered}"]) as smtp:
        with connected(smtp, username="app", password="pässword") as connection:
            assert connection.deliver(ANN).kind is Kind.SENT
        assert smtp.lines[1 : 1 + len(lines)] == lines


def test_an_old_style_offer_of_auth_is_understood() -> None:
    with SMTPServer(features=["AUTH=PLAIN"]) as smtp:
        with connected(smtp, username="app", password=SECRET):
            pass
        assert smtp.lines[1].startswith("AUTH PLAIN ")


@pytest.mark.parametrize("code", [454, 530, 534, 535])
def test_a_refused_login_is_told_after_one_try(code: int) -> None:
    with SMTPServer(features=["AUTH CRAM-MD5 PLAIN LOGIN"]) as smtp:
        smtp.then("auth", Do(b"%d 5.7.8 no, %s is wrong\r\n" % (code, SECRET.encode())))
        for_now = code == 454
        kind = Kind.DEFERRED if for_now else Kind.UNAVAILABLE
        outcome = refusal(smtp, kind, username="app", password=SECRET)
        assert (outcome.stage, outcome.code) == ("auth", code)
        assert "no, *** is wrong" in outcome.words
        assert [line for line in smtp.lines if line.startswith("AUTH")] == [smtp.lines[1]]


def test_only_the_login_is_blotted_out() -> None:
    with (
        SMTPServer(features=["AUTH PLAIN"]) as smtp,
        connected(smtp, username="app", password="queued") as connection,
    ):
        assert connection.deliver(ANN).words == "queued"


@pytest.mark.parametrize("features", [[], ["AUTH XOAUTH2"]])
def test_no_mechanism_in_common_is_said_clearly(features: list[str]) -> None:
    with SMTPServer(features=features) as smtp:
        outcome = refusal(smtp, username="app", password=SECRET)
    assert outcome.stage == "auth"
    assert "expected PLAIN, LOGIN or CRAM-MD5" in outcome.words


def test_a_password_never_leaves_in_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    # The only server that tests may talk to is on the loopback: have it look far away.
    far = ("203.0.113.7", 25)
    with SMTPServer(features=["AUTH PLAIN"]) as smtp:
        monkeypatch.setattr(socket.socket, "getpeername", lambda _: far)
        outcome = refusal(smtp, username="app", password=SECRET)
        assert outcome.stage == "auth"
        assert "plain text" in outcome.words
        assert smtp.lines == ["EHLO [127.0.0.1]"]


@pytest.mark.parametrize("password", [None, ""])
def test_a_username_without_a_password_is_an_error(password: str | None) -> None:
    with pytest.raises(SettingError, match="password: expected one for username 'app'"):
        Server(host="h", username="app", password=password)
    with pytest.raises(SettingError, match="username"):
        Server(host="h", password=SECRET)


def test_the_password_is_in_no_repr() -> None:
    assert SECRET not in repr(Server(host="h", username="app", password=SECRET))


def test_an_observer_hears_everything_but_the_secrets() -> None:
    heard: list[str] = []
    with SMTPServer(features=["AUTH LOGIN"]) as smtp:
        connection = Connection(
            server_of(smtp, username="app", password=SECRET),
            observe=lambda who, words: heard.append(f"{who}: {words}"),
        )
        connection.deliver(ANN)
        connection.close()
    transcript = "\n".join(heard)
    assert SECRET not in transcript
    assert b64(SECRET) not in transcript
    for expected in (
        "note: connected to 127.0.0.1",
        "server: 220 test.example ESMTP",
        "client: AUTH LOGIN",
        "client: ***",
        "client: RCPT TO:<ann@example.org>",
        "server: 354 go on",
        "server: 250 2.0.0 queued",
        "client: QUIT",
    ):
        assert expected in transcript


# Replies


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        (Reply(250, b"2.0.0 Ok: queued as 1\r"), ("2.0.0", "Ok: queued as 1")),
        (Reply(550, b"no such user\r"), (None, "no such user")),
        (Reply(550, b"5.1.1 no\r\n5.1.1 such user\r"), ("5.1.1", "no such user")),
        (Reply(250, b"5.1.1 is a section\r"), (None, "5.1.1 is a section")),
        (Reply(450, b"4.2.0\r"), ("4.2.0", "")),
        (Reply(450, b""), (None, "")),
        (Reply(250, b"10.0.0.1 is fine\r"), (None, "10.0.0.1 is fine")),
        (Reply(250, b"a\tb\x1b[31m\x00\xe2\x80\xa8c\r"), (None, "a b [31m c")),
        (Reply(250, b"\xff ok\r"), (None, "� ok")),
        (Reply(250, b"x" * 600), (None, "x" * 499 + "…")),
    ],
)
def test_a_reply_reads_as_status_and_one_clean_line(
    reply: Reply, read: tuple[str | None, str]
) -> None:
    assert reply.read() == read


def test_a_reply_of_many_lines_may_arrive_in_pieces() -> None:
    reply = b"550-5.7.1 your message\r\n550 5.7.1 is spam\r\n"
    with (
        SMTPServer(script={"dot": [Do(reply, every=0.002)]}) as smtp,
        connected(smtp) as connection,
    ):
        outcome = connection.deliver(ANN)
    assert outcome == Outcome(Kind.REFUSED, "dot", 550, "5.7.1", "your message is spam", "test")


def test_a_reply_that_drips_is_given_up_after_the_timeout() -> None:
    with (
        SMTPServer(script={"rcpt": [Do(b"250 " + b"k" * 500, every=0.02)]}) as smtp,
        Timer() as timer,
        connected(smtp, timeout=0.5) as connection,
        pytest.raises(Interrupted) as caught,
    ):
        connection.deliver(ANN)
    assert timer.seconds < 5
    assert caught.value.outcome == Outcome(Kind.DEFERRED, "rcpt", None, None, "timed out", "test")


# Messages


def test_a_message_that_is_accepted_is_sent_with_the_servers_words() -> None:
    with (
        SMTPServer(script={"dot": [Do(b"250 2.0.0 Ok: queued as 7F\r\n")]}) as smtp,
        connected(smtp) as connection,
    ):
        outcome = connection.deliver(ANN)
    assert outcome == Outcome(Kind.SENT, "dot", 250, "2.0.0", "Ok: queued as 7F", "test")
    assert smtp.messages[0][:3] == (ANN.sender, ANN.recipient, ANN.message)


def test_the_next_commands_travel_with_the_message() -> None:
    envelopes = [to(f"user{n}@example.org") for n in range(4)]
    with SMTPServer() as smtp:
        with connected(smtp) as connection:
            for envelope, following in zip(envelopes, [*envelopes[1:], None], strict=True):
                assert connection.deliver(envelope, following=following).kind is Kind.SENT

        def commands(n: int) -> bytes:
            return (
                b"MAIL FROM:<orders@shop.example>\r\nRCPT TO:<user%d@example.org>\r\nDATA\r\n"
            ) % n

        body = ANN.message + b".\r\n"
        assert smtp.sessions[0].chunks == [
            b"EHLO [127.0.0.1]\r\n",
            commands(0),
            body + commands(1),
            body + commands(2),
            body + commands(3),
            body,
            b"QUIT\r\n",
        ]
        assert smtp.recipients == [envelope.recipient for envelope in envelopes]


def test_without_pipelining_every_command_waits_for_its_reply() -> None:
    with SMTPServer(features=["8BITMIME"], script={"mail": [GOOD, Do(b"451 later\r\n")]}) as smtp:
        with connected(smtp) as connection:
            assert connection.deliver(ANN, following=BOB).kind is Kind.SENT
            assert connection.deliver(BOB).kind is Kind.DEFERRED
            assert connection.deliver(BOB).kind is Kind.SENT
        mail, data = b"MAIL FROM:<orders@shop.example>\r\n", b"DATA\r\n"
        ann, bob = b"RCPT TO:<ann@example.org>\r\n", b"RCPT TO:<bob@example.org>\r\n"
        body = ANN.message + b".\r\n"
        assert smtp.sessions[0].chunks[1:] == [
            mail, ann, data, body, mail, b"RSET\r\n", mail, bob, data, body, b"QUIT\r\n",
        ]  # fmt: skip


@pytest.mark.parametrize(
    "message",
    [
        b".\r\n",
        b".leading\r\n..two\r\n\r\n.\r\n",
        b"Subject: x\r\n\r\na\r\n.\r\nMAIL FROM:<evil@example.org>\r\n",
        b"\r\n",
        b"x.\r\n",
    ],
)
def test_dots_arrive_as_they_were(message: bytes) -> None:
    with SMTPServer() as smtp:
        with connected(smtp) as connection:
            assert connection.deliver(to("ann@example.org", message)).kind is Kind.SENT
        assert [received.data for received in smtp.messages] == [message]
        assert len([line for line in smtp.lines if line.startswith("MAIL")]) == 1


@pytest.mark.parametrize(("message", "arrives"), [(b"a\r\nb", b"a\r\nb\r\n"), (b"", b"\r\n")])
def test_a_message_always_ends_its_last_line(message: bytes, arrives: bytes) -> None:
    with SMTPServer() as smtp:
        with connected(smtp) as connection:
            assert connection.deliver(to("ann@example.org", message)).kind is Kind.SENT
        assert [received.data for received in smtp.messages] == [arrives]


@pytest.mark.parametrize(
    ("features", "envelope", "mail"),
    [
        (["8BITMIME"], to("a@b.example", b"x\r\n"), ""),
        (["8BITMIME"], to("a@b.example", b"\xc3\xa4\r\n"), " BODY=8BITMIME"),
        ([], to("a@b.example", b"\xc3\xa4\r\n"), ""),
        (["SIZE"], to("a@b.example", b"x\r\n"), " SIZE=3"),
        (["SIZE 0"], to("a@b.example", b"x\r\n"), " SIZE=3"),
        (["size 3"], to("a@b.example", b"x\r\n"), " SIZE=3"),
        (["SMTPUTF8"], to("a@b.example", b"x\r\n"), ""),
        (["SMTPUTF8"], to("a@b.example", b"x\r\n", smtputf8=True), " SMTPUTF8"),
        (["SMTPUTF8"], to("ä@b.example", b"x\r\n"), " SMTPUTF8"),
    ],
)
def test_what_is_declared_is_what_the_message_needs(
    features: list[str], envelope: Envelope, mail: str
) -> None:
    with SMTPServer(features=features) as smtp:
        with connected(smtp) as connection:
            assert connection.deliver(envelope).kind is Kind.SENT
        assert smtp.lines[1] == f"MAIL FROM:<orders@shop.example>{mail}"
        assert smtp.messages[0].recipient == envelope.recipient


@pytest.mark.parametrize(
    ("envelope", "words"),
    [
        (to("a@b.example", b"12345678\r\n"), "10 bytes; the server takes at most 9"),
        (to("ä@b.example", b"x\r\n"), "SMTPUTF8"),
        (to("a@b.example", b"x\r\n", smtputf8=True), "SMTPUTF8"),
        (to("a@b.example>\r\nRCPT TO:<x@b.example", b"x\r\n"), "address"),
        (to("a@b.example> NOTIFY=NEVER", b"x\r\n"), "address"),
        (to("a b@b.example", b"x\r\n"), "address"),
        (to("\ud800@b.example", b"x\r\n"), "address"),
        (to("", b"x\r\n"), "address"),
        (Envelope("a\n@b.example", "a@b.example", b"x\r\n"), "address"),
    ],
)
def test_what_the_server_cannot_take_is_refused_before_a_word(
    envelope: Envelope, words: str
) -> None:
    good = to("ann@example.org", b"x\r\n")
    with SMTPServer(features=["PIPELINING", "SIZE 9"]) as smtp:
        with connected(smtp) as connection:
            assert connection.deliver(good, following=envelope).kind is Kind.SENT
            outcome = connection.deliver(envelope, following=good)
            assert connection.deliver(good).kind is Kind.SENT
        assert (outcome.kind, outcome.stage, outcome.code) == (Kind.REFUSED, "mail", None)
        assert words in outcome.words
        assert smtp.recipients == [good.recipient, good.recipient]
        assert "RSET" not in smtp.lines


def test_a_bounce_has_no_sender() -> None:
    with SMTPServer() as smtp:
        with connected(smtp) as connection:
            connection.deliver(ANN._replace(sender=""))
        assert smtp.lines[1] == "MAIL FROM:<>"


# Refusals


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize(("code", "kind"), [(451, Kind.DEFERRED), (554, Kind.REFUSED)])
def test_a_refusal_says_where_and_why_and_costs_the_next_nothing(
    *, pipelining: bool, stage: str, code: int, kind: Kind
) -> None:
    script = {stage: [GOOD, Do(b"%d %d.7.1 because\r\n" % (code, code // 100))]}
    with SMTPServer(features=["PIPELINING"] if pipelining else [], script=script) as smtp:
        with connected(smtp) as connection:
            assert connection.deliver(BOB, following=ANN).kind is Kind.SENT
            outcome = connection.deliver(ANN, following=BOB)
            assert connection.deliver(BOB).kind is Kind.SENT
        assert outcome == Outcome(kind, stage, code, f"{code // 100}.7.1", "because", "test")
        assert smtp.recipients == [BOB.recipient, BOB.recipient]
        assert len(smtp.sessions) == 1


def test_a_transaction_left_open_is_reset_in_the_same_round_trip() -> None:
    with SMTPServer(script={"rcpt": [Do(b"550 5.1.1 unknown\r\n")]}) as smtp:
        with connected(smtp) as connection:
            assert connection.deliver(ANN, following=BOB).code == 550
            assert connection.deliver(BOB).kind is Kind.SENT
        assert smtp.sessions[0].chunks[2] == (
            b"RSET\r\nMAIL FROM:<orders@shop.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"
        )


def test_a_message_awaited_for_nobody_is_ended_with_a_lone_dot() -> None:
    script = {"rcpt": [Do(b"550 5.1.1 unknown\r\n")], "data": [Do(b"354 go on\r\n")]}
    with SMTPServer(script=script) as smtp:
        with connected(smtp) as connection:
            outcome = connection.deliver(ANN)
            assert connection.deliver(BOB).kind is Kind.SENT
        assert (outcome.kind, outcome.stage, outcome.code) == (Kind.REFUSED, "rcpt", 550)
        assert smtp.sessions[0].chunks[2] == b".\r\n"
        assert smtp.recipients == [BOB.recipient]


def test_a_message_awaited_against_a_refused_sender_is_not_begun() -> None:
    script = {
        "mail": [Do(b"550 5.7.1 you?\r\n")],
        "rcpt": [Do(b"250 2.1.5 ok\r\n")],
        "data": [Do(b"354 go on\r\n")],
    }
    with SMTPServer(script=script) as smtp:
        with connected(smtp) as connection:
            outcome = connection.deliver(ANN)
            assert not connection.alive
        assert (outcome.kind, outcome.stage, outcome.code) == (Kind.REFUSED, "mail", 550)
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.messages == []


@pytest.mark.parametrize("end", [CLOSE, RESET, Do(b"421 too many errors\r\n", "close")])
def test_a_refusal_stands_though_the_server_hangs_up_over_it(end: Do) -> None:
    with (
        SMTPServer(script={"rcpt": [Do(b"550 5.7.1 spam\r\n")], "data": [end]}) as smtp,
        connected(smtp) as connection,
    ):
        # Were the reset to overtake the refusal, nobody could know of the refusal.
        smtp.script["rcpt"] = [Do(b"550 5.7.1 spam\r\n", every=0.0005)]
        outcome = connection.deliver(ANN)
        assert not connection.alive
    assert (outcome.kind, outcome.stage, outcome.code) == (Kind.REFUSED, "rcpt", 550)


# Losses before the final dot


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_a_421_to_a_command_defers_the_email(stage: str) -> None:
    with (
        SMTPServer(script={stage: [Do(b"421 4.3.2 closing\r\n", "close")]}) as smtp,
        connected(smtp) as connection,
    ):
        with pytest.raises(Interrupted) as caught:
            connection.deliver(ANN)
        assert not connection.alive
    assert caught.value.outcome == Outcome(Kind.DEFERRED, stage, 421, "4.3.2", "closing", "test")


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
@pytest.mark.parametrize(
    "loss", [CLOSE, RESET, HANG, Do(b"???\r\n"), Do(b"2 50 ok\r\n"), Do(b"334 what\r\n")]
)
def test_a_connection_lost_before_the_message_defers_it(stage: str, loss: Do) -> None:
    if loss.reply == b"334 what\r\n" and stage == "data":
        loss = Do(b"250 what\r\n")
    with SMTPServer(script={stage: [loss]}) as smtp, Timer() as timer:
        with connected(smtp, timeout=0.4) as connection:
            with pytest.raises(Interrupted) as caught:
                connection.deliver(ANN)
            assert not connection.alive
        outcome = caught.value.outcome
        assert (outcome.kind, outcome.code) == (Kind.DEFERRED, None)
        assert outcome.stage == stage or loss is RESET
        assert outcome.words
        assert smtp.messages == []
    assert timer.seconds < 5


def big() -> Envelope:
    """Return more than the kernel's buffers hold."""
    return to("ann@example.org", b"x" * 998 + b"\r\n" + (b"y" * 998 + b"\r\n") * 20_000)


@pytest.mark.parametrize("loss", [CLOSE, RESET, HANG, Do(b"", "read slowly")])
@pytest.mark.parametrize("security", ["none", "tls"])
def test_a_message_cut_off_before_its_dot_is_deferred(
    certificates: Certificates, security: str, loss: Do
) -> None:
    tls = certificates.server("good")
    with SMTPServer(script={"body": [loss]}, tls=tls, implicit_tls=security == "tls") as smtp:
        with (
            Timer() as timer,
            connected(
                smtp, timeout=0.4, security=security, ca_file=certificates.ca_file
            ) as connection,
        ):
            outcome = connection.deliver(big(), following=BOB)
            assert not connection.alive
        assert (outcome.kind, outcome.stage, outcome.code) == (Kind.DEFERRED, "data", None)
        assert smtp.messages == []
    assert timer.seconds < 5


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (b"552 5.3.4 too big\r\n", Kind.REFUSED, 552),
        (b"451 4.3.0 disk full\r\n", Kind.DEFERRED, 451),
        (b"421 4.3.2 closing\r\n", Kind.DEFERRED, 421),
        (b"250 2.0.0 fine\r\n", Kind.DEFERRED, None),
    ],
)
def test_a_server_that_hangs_up_in_the_message_is_heard_out(
    reply: bytes, kind: Kind, code: int | None
) -> None:
    with (
        SMTPServer(script={"body": [Do(reply, "close")]}) as smtp,
        connected(smtp) as connection,
    ):
        outcome = connection.deliver(big())
        assert not connection.alive
    assert (outcome.kind, outcome.stage, outcome.code) == (kind, "data", code)


def test_a_server_that_talks_while_we_write_does_not_hold_us_up() -> None:
    with (
        SMTPServer(script={"body": [Do(b"250 chatter\r\n" * 1_000_000, "hang")]}) as smtp,
        Timer() as timer,
        connected(smtp, timeout=0.4) as connection,
    ):
        outcome = connection.deliver(big())
    assert (outcome.kind, outcome.stage) == (Kind.DEFERRED, "data")
    assert timer.seconds < 5


def test_a_message_bigger_than_all_buffers_arrives_whole() -> None:
    with SMTPServer() as smtp:
        with connected(smtp) as connection:
            envelope = big()
            assert connection.deliver(envelope, following=BOB).kind is Kind.SENT
            assert connection.deliver(BOB).kind is Kind.SENT
        assert smtp.messages[0].data == envelope.message


def test_a_reply_too_many_is_not_taken_for_acceptance() -> None:
    script = {"data": [Do(b"354 go on\r\n250 2.0.0 queued\r\n")]}
    with SMTPServer(script=script) as smtp, connected(smtp) as connection:
        with pytest.raises(Interrupted) as caught:
            connection.deliver(ANN)
        assert caught.value.outcome.kind is Kind.DEFERRED
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.messages == []


# After the final dot


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(
    "loss", [CLOSE, RESET, HANG, Do(b"garbage\r\n"), Do(b"354 go on\r\n"), Do(b"25")]
)
def test_a_reply_to_the_message_that_is_not_heard_is_ambiguous(loss: Do, *, accepted: bool) -> None:
    lost = Do(loss.reply, loss.then, accept=accepted)
    with SMTPServer(script={"dot": [lost]}) as smtp, Timer() as timer:
        with connected(smtp, final_timeout=0.5) as connection:
            outcome = connection.deliver(ANN, following=BOB)
            assert not connection.alive
        assert (outcome.kind, outcome.stage, outcome.code) == (Kind.AMBIGUOUS, "dot", None)
        assert outcome.words
        assert len(smtp.messages) == accepted
    assert timer.seconds < 5


def test_a_421_to_the_message_defers_it() -> None:
    with (
        SMTPServer(script={"dot": [Do(b"421 4.3.2 closing\r\n", "close")]}) as smtp,
        connected(smtp) as connection,
    ):
        outcome = connection.deliver(ANN, following=BOB)
        assert not connection.alive
    assert outcome == Outcome(Kind.DEFERRED, "dot", 421, "4.3.2", "closing", "test")


@pytest.mark.parametrize("end", ["close", "hang"])
def test_a_250_is_final_whatever_follows(end: str) -> None:
    do = Do(b"250 2.0.0 queued\r\n", end)  # type: ignore[arg-type]
    with (
        SMTPServer(script={"dot": [do]}) as smtp,
        Timer() as timer,
        connected(smtp) as connection,
    ):
        assert connection.deliver(ANN).kind is Kind.SENT
    assert timer.seconds < 5, "QUIT is not waited for"


def test_the_reply_to_the_dot_may_take_longer_than_a_command() -> None:
    slow = Do(b"250 2.0.0 queued\r\n", every=0.05)  # 18 bytes
    with (
        SMTPServer(script={"dot": [slow]}) as smtp,
        connected(smtp, timeout=0.5, final_timeout=10) as connection,
    ):
        assert connection.deliver(ANN).kind is Kind.SENT


# Permission to start


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_message_that_may_not_start_is_never_finished(*, pipelining: bool) -> None:
    with SMTPServer(features=["PIPELINING"] if pipelining else []) as smtp:
        with connected(smtp) as connection:
            assert connection.deliver(ANN, following=BOB).kind is Kind.SENT
            outcome = connection.deliver(BOB, following=ANN, mark=lambda _: False)
            assert outcome.kind is Kind.NOT_STARTED
            assert not connection.alive
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.recipients == [ANN.recipient]
        assert smtp.sessions[0].abandoned
        assert smtp.lines[-1] == "DATA"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_on_the_way_leaves_no_connection_to_reuse(error: type[BaseException]) -> None:
    def mark(position: int) -> bool:
        raise error

    with SMTPServer() as smtp, connected(smtp) as connection:
        with pytest.raises(error):
            connection.deliver(ANN, mark=mark)
        assert not connection.alive
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.messages == []


def test_an_envelope_can_not_take_the_place_of_the_one_announced() -> None:
    with SMTPServer() as smtp, connected(smtp) as connection:
        connection.deliver(ANN, following=BOB)
        with pytest.raises(ValueError, match="announced"):
            connection.deliver(ANN)
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.recipients == [ANN.recipient]


# Between messages


@pytest.mark.parametrize(
    "spoil",
    [
        lambda smtp: smtp.hang_up(),
        lambda smtp: smtp.say(b"421 4.4.2 idle for too long\r\n"),
        lambda smtp: smtp.say(b"2"),
    ],
)
@pytest.mark.parametrize("security", ["none", "tls"])
def test_a_connection_the_server_gave_up_is_not_usable(
    certificates: Certificates, security: str, spoil: Callable[[SMTPServer], None]
) -> None:
    tls = certificates.server("good")
    with (
        SMTPServer(tls=tls, implicit_tls=security == "tls") as smtp,
        connected(smtp, security=security, ca_file=certificates.ca_file) as connection,
    ):
        connection.deliver(ANN)
        assert connection.usable()
        spoil(smtp)
        deadline = time.monotonic() + 5
        while connection.usable() and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not connection.usable()


def test_a_connection_with_commands_under_way_is_not_usable_and_left_without_a_word() -> None:
    with SMTPServer(script={"mail": [GOOD, HANG]}) as smtp:
        with connected(smtp) as connection:
            connection.deliver(ANN, following=BOB)
            assert not connection.usable()
        assert not connection.alive
    assert smtp.lines[-1] == "MAIL FROM:<orders@shop.example>"
    assert smtp.sessions[0].chunks[-1].endswith(b"DATA\r\n")


def test_what_tls_says_for_itself_is_not_the_server_speaking(certificates: Certificates) -> None:
    with (
        SMTPServer(tls=certificates.server("good"), implicit_tls=True) as smtp,
        connected(smtp, security="tls", ca_file=certificates.ca_file) as connection,
    ):
        connection.deliver(ANN)
        smtp.say(b"\x17\x03\x03", under_tls=True)  # the beginning of a record
        assert connection.usable()


def test_closing_says_quit() -> None:
    with SMTPServer() as smtp:
        with connected(smtp) as connection:
            connection.deliver(ANN)
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.lines[-1] == "QUIT"
        assert not smtp.sessions[0].abandoned


def test_a_server_that_ignores_quit_costs_no_more_than_a_moment() -> None:
    with SMTPServer(script={"quit": [HANG]}) as smtp:
        connection = Connection(server_of(smtp, timeout=30))
        with Timer() as timer:
            connection.close()
    assert timer.seconds < 5


def test_an_extension_is_not_used_where_a_server_is_to_do_without() -> None:
    features = ["PIPELINING", "CHUNKING", "SIZE 1000"]
    with SMTPServer(features=features) as smtp:
        without = frozenset({"CHUNKING", "SIZE"})
        with connected(smtp) as usual, connected(smtp, without=without) as connection:
            assert usual.takes_groups
            assert not connection.takes_groups
            assert connection.deliver(ANN).kind is Kind.SENT
    assert f"MAIL FROM:<{ANN.sender}>" in smtp.lines
