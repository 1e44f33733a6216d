"""One request to a receiver that is scripted: pinned, verified, bounded."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from mailer import request as requesting
from mailer.destination import Destination
from mailer.request import ANSWER_MAX, Answer, NoAnswer, ask

from .receiver import Act, answer, drip, hang, receiver
from .smtp_server import Certificates

LOOPBACK = ["127.0.0.1"]


@pytest.fixture(autouse=True)
def authorities(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trust the authority of the tests alone."""
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca_file)
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    requesting._context.cache_clear()
    yield
    requesting._context.cache_clear()


def tell(port: int, host: str = "127.0.0.1", *, scheme: str = "http", seconds: float = 5) -> Answer:
    destination = Destination(scheme, host, port, "/hook?a=b")
    return ask("POST", destination, LOOPBACK, {"X-One": "1"}, b"hello", seconds=seconds)


def test_a_request_is_whole_and_its_answer_is_heard() -> None:
    with receiver(answer("201 Created", "thank you", x_more="2")) as hears:
        found = tell(hears.port)
    assert (found.code, found.body, found.headers["x-more"]) == (201, b"thank you", "2")
    (heard,) = hears.heard
    assert heard.line == "POST /hook?a=b HTTP/1.1"
    assert heard.headers == {
        "host": f"127.0.0.1:{hears.port}", "x-one": "1", "content-length": "5",
        "connection": "close",
    }  # fmt: skip
    assert heard.body == b"hello"


def test_a_connection_goes_to_the_checked_address_whatever_the_name_is() -> None:
    with receiver() as hears:
        tell(hears.port, "rebound.example")
        assert hears.heard[0].headers["host"] == f"rebound.example:{hears.port}"


def test_tls_is_verified_for_the_name_that_was_asked_for(certificates: Certificates) -> None:
    with receiver(context=certificates.server("other-host")) as hears:
        assert tell(hears.port, "other.example", scheme="https").code == 200
        with pytest.raises(NoAnswer, match="its certificate is refused: Hostname mismatch"):
            tell(hears.port, "rebound.example", scheme="https")
        with pytest.raises(NoAnswer, match="its certificate is refused: IP address mismatch"):
            tell(hears.port, scheme="https")
        assert len(hears.heard) == 1
    with receiver(context=certificates.server("good")) as hears:
        assert tell(hears.port, scheme="https").code == 200


@pytest.mark.parametrize(
    ("name", "told"), [("expired", "has expired"), ("self-signed", "self.signed certificate")]
)
def test_a_certificate_that_is_not_good_is_refused(
    certificates: Certificates, name: str, told: str
) -> None:
    with receiver(context=certificates.server(name)) as hears:
        with pytest.raises(NoAnswer, match=told):
            tell(hears.port, scheme="https")
        assert hears.heard == []


def test_nothing_is_said_to_a_server_without_tls() -> None:
    with receiver() as hears:
        with pytest.raises(NoAnswer):
            tell(hears.port, scheme="https", seconds=1)
        assert not any(b"hello" in one.body for one in hears.heard)


def test_the_next_address_is_tried_when_one_refuses() -> None:
    with receiver() as hears:
        destination = Destination("http", "shop.example", hears.port, "/")
        found = ask("POST", destination, ["127.0.0.2", "127.0.0.1"], {}, b"", seconds=5)
    assert found.code == 200


def test_nobody_there_is_told_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NoAnswer, match=r"cannot connect to 127\.0\.0\.1: Connection refused"):
        tell(port)


@pytest.mark.parametrize(
    "act",
    [
        hang,
        drip("H"),
        drip("X-Drip: 1\r\n", "HTTP/1.1 200 OK\r\n"),
        drip("HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_one_deadline_holds_for_all_of_it(act: Act) -> None:
    with receiver(act) as hears:
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="longer than 1 s"):
            tell(hears.port, seconds=1)
        assert 0.9 < time.monotonic() - began < 2


def test_a_handshake_that_hangs_ends_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="longer than 1 s"):
            tell(deaf.getsockname()[1], scheme="https", seconds=1)
        assert time.monotonic() - began < 2


def test_of_an_answer_only_the_beginning_is_read() -> None:
    with receiver(answer("200 OK", "x" * 5_000_000)) as hears:
        began = time.monotonic()
        assert tell(hears.port).body == b"x" * ANSWER_MAX
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "said",
    ["", "nonsense\r\n\r\n", "HTTP/1.1 2OO OK\r\n\r\n", "HTTP/1.1 200 OK\r\n" + "a: b\r\n" * 200,
     "HTTP/1.1 200 OK\r\nX: " + "x" * 100_000],
)  # fmt: skip
def test_what_is_no_http_is_no_answer(said: str) -> None:
    with (
        receiver(lambda conversation: conversation.say(said)) as hears,
        pytest.raises(NoAnswer, match="no answer: "),
    ):
        tell(hears.port)


def test_a_redirect_is_an_answer_like_another() -> None:
    moved = "308 Permanent Redirect"
    with receiver() as inner, receiver(answer(moved, location=inner.url)) as outer:
        assert tell(outer.port).code == 308
        assert inner.connections == 0
