"""Whatever bytes a server says, in whatever pieces they come."""

from __future__ import annotations

import itertools
import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.outcome import Kind
from mailer.smtp import ConnectFailed, Connection, Envelope, Interrupted, Server
from mailer.smtp.reply import Reply
from mailer.smtp.wire import Broken, Wire

from ..smtp_server import Do, SMTPServer
from .conftest import examples

ANN = Envelope("orders@shop.example", "ann@example.org", b"Subject: x\r\n\r\nhello\r\n")

codes = st.sampled_from([b"220", b"250", b"299", b"354", b"421", b"450", b"550", b"999", b"25"])
lines = st.builds(
    b"".join,
    st.tuples(
        codes | st.binary(max_size=3),
        st.sampled_from([b" ", b"-", b"", b"\t"]),
        st.sampled_from([b"", b"2.0.0 ok", b"4.2.0", b"\xff\x00\x1b[31m", b"\r"])
        | st.binary(max_size=20),
        st.sampled_from([b"\r\n", b"\r\n", b"\n", b""]),
    ),
)
speech = st.lists(lines, max_size=6).map(b"".join)


def codes_of(said: bytes) -> list[int]:
    """Return the codes of the whole replies up to what is none; in another way than the product."""
    found = []
    for line in said.split(b"\n")[:-1]:
        if not re.fullmatch(rb"[2-5]\d\d(?:[ -].*|\r?)", line, re.DOTALL):
            break
        if line[3:4] != b"-":
            found.append(int(line[:3]))
    return found


def heard(pieces: list[bytes]) -> tuple[list[Reply], str]:
    """Return what is read when each of the pieces comes by itself, and how it ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire("127.0.0.1", listener.getsockname()[1], 2, None)
        wire.close()
    # Each packet of this kind of socket is one read, however many wait.
    server, wire._socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with server:
        for piece in pieces:
            server.send(piece)
    replies: list[Reply] = []
    try:
        while True:
            replies.append(wire.hear("dot", 2))
    except Broken as broken:
        return replies, broken.words.partition(":")[0]
    finally:
        wire.close()


@examples(500)
@given(said=speech, cuts=st.lists(st.integers(0, 60), max_size=8))
def test_replies_read_the_same_in_whatever_pieces_they_come(said: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(said)), len(said)]
    pieces = [said[a:b] for a, b in itertools.pairwise(edges) if said[a:b]]
    replies, end = heard(pieces)
    assert (replies, end) == heard([said] if said else [])
    assert end in {"the server closed the connection", "not an SMTP reply"}
    assert [reply.code for reply in replies] == codes_of(said)


@examples(500)
@given(code=st.integers(200, 599), text=st.binary(max_size=700))
def test_the_words_of_a_reply_are_one_clean_line_and_its_status_fits_the_code(
    code: int, text: bytes
) -> None:
    enhanced, words = Reply(code, text).read()
    assert words.isprintable()
    assert len(words) <= 500
    assert words == " ".join(words.split())
    assert enhanced is None or re.fullmatch(rf"{code // 100}\.\d{{1,3}}\.\d{{1,3}}", enhanced)


@pytest.fixture(scope="module")
def smtp() -> Iterator[SMTPServer]:
    with SMTPServer() as server:
        yield server


@examples(400)
@given(said=speech, stage=st.sampled_from(["dot", "dot", "mail", "rcpt", "data"]))
def test_only_a_2xx_to_the_message_is_sent_and_only_a_5xx_is_a_refusal(
    smtp: SMTPServer, said: bytes, stage: str
) -> None:
    connection = Connection(Server(host="127.0.0.1", port=smtp.port, timeout=5, final_timeout=5))
    smtp.then(stage, Do(said, "close"))
    code, *others = codes_of(said) or [0]
    try:
        outcome = connection.deliver(ANN)
    except Interrupted as interrupted:
        outcome = interrupted.outcome
        assert stage != "dot"
        assert outcome.kind is Kind.DEFERRED
    connection.close()
    assert (outcome.kind is Kind.SENT) == (stage == "dot" and 200 <= code < 300)
    if stage == "dot":
        assert (outcome.kind is Kind.REFUSED) == (code >= 500)
        assert (outcome.kind is Kind.DEFERRED) == (400 <= code < 500)
    else:  # what it says too much may stand for its replies to the next commands
        assert (outcome.kind is Kind.REFUSED) >= (code >= 500)
        assert (outcome.kind is Kind.REFUSED) <= (max(code, *others, 0) >= 500)
    assert outcome.words.isprintable()


@examples(200)
@given(said=speech, stage=st.sampled_from(["banner", "ehlo"]))
def test_a_greeting_is_understood_or_the_server_is_unavailable(
    smtp: SMTPServer, said: bytes, stage: str
) -> None:
    smtp.then(stage, Do(said, "close"))
    codes = codes_of(said)
    understood, kind = True, None
    try:
        Connection(Server(host="127.0.0.1", port=smtp.port, timeout=5)).abandon()
    except ConnectFailed as failed:
        understood, kind = False, failed.outcome.kind
    assert kind in {None, Kind.UNAVAILABLE}
    needed = 2 if stage == "banner" else 1
    assert understood <= (sum(200 <= code < 300 for code in codes) >= needed)
    if stage == "ehlo" and codes and 200 <= codes[0] < 300:
        assert understood
