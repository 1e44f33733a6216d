"""Whatever ``dispatch`` accepts can be composed, and reads back as it was accepted."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from hypothesis import event, given
from hypothesis import strategies as st

from mailer.composition import Composed, compose, message_id
from mailer.content import Address, Attachment
from mailer.drafting import Request, draft
from mailer.errors import InvalidEmail
from mailer.plaintext import from_html
from mailer.state import of

from ..test_message import (
    assert_on_the_wire,
    bare,
    body,
    decoded,
    lines,
    modern,
    nasty,
    old,
    old_addresses,
)
from .conftest import examples

# Such as people write; and now and then what breaks mail libraries, or is refused.
plain = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"]),
    min_size=1,
    max_size=60,
)
words = st.one_of(plain, plain, plain, st.sampled_from(["a, b <c@d>", "=?utf-8?q?x?="]), nasty)
bodies = words | nasty.map(lambda text: text.replace("\0", "").replace("\ud800", ""))
emails = st.sampled_from(
    ["anna@example.com", "BOB@Example.COM", "jürgen@faß.example", "c+d@example.com"]
)
named = st.tuples(plain, emails)
mailboxes = st.one_of(emails, named, named, named, st.tuples(words, emails))
groups = st.lists(mailboxes, max_size=3)
files = st.builds(
    Attachment,
    filename=st.sampled_from(["a.txt", "Über uns.pdf", "漢字 1.png"]),
    data=st.binary(max_size=100),
    content_type=st.sampled_from(["image/png", "application/octet-stream"]),
    content_id=st.none() | st.sampled_from(["logo", "logo@acme.example"]),
)
requests = st.builds(
    Request,
    to=st.lists(mailboxes, min_size=1, max_size=3),
    cc=groups,
    bcc=st.lists(st.just("blind@elsewhere.example"), max_size=1),
    reply_to=groups,
    sender=st.none() | emails | named,
    subject=plain | words,
    text=bodies | bodies | st.none(),
    html=st.none() | bodies | st.builds("<p>{}</p><a href='{}'>x</a>".format, bodies, bodies),
    headers=st.dictionaries(
        st.sampled_from(["X-Campaign", "X-Note", "List-Unsubscribe"]), words, max_size=1
    ),
    attachments=st.lists(files, max_size=2),
    on_unknown=st.none() | st.sampled_from(["resend", "hold"]),
)


@examples(250)
@given(request=requests)
def test_whatever_is_accepted_is_composed_and_reads_back_as_it_was_meant(
    app: Flask, request: Request
) -> None:
    state = of(app)
    with app.app_context():
        try:
            made = draft(state, request)
        except InvalidEmail:
            event("refused")
            return
        event("accepted")
        with state.database.begin() as connection:
            (recorded,) = state.ledger.record(connection, [made])
        stored = state.ledger.show(recorded.email.id).email
        composed = compose(state, stored, "ada@example.com")
        assert composed == compose(state, stored, "ada@example.com")  # on every attempt
    assert isinstance(composed, Composed)
    _check_head(composed, stored, request)
    _check_parts(composed.message, request, state.ledger.attachments(stored.id))


def _check_head(composed: Composed, stored: Any, request: Request) -> None:
    data = composed.message
    assert_on_the_wire(data)
    assert b"blind@elsewhere.example" not in data
    assert composed.smtputf8 == (not data.isascii())
    read, plain = modern(data), old(data)
    assert read["subject"] == request.subject
    sender = Address(*stored.addresses["from"][0])
    assert composed.sender == sender.email
    assert plain["message-id"] == f"<{message_id(stored.id, sender)}>"
    for header in ("from", "to", "cc", "reply-to"):
        intended = [Address(*pair) for pair in stored.addresses[header.replace("-", "_")]]
        if not intended:
            assert header not in read
            continue
        got = old_addresses(plain, header)
        assert [(bare(one.name), one.email) for one in got] == [
            (bare(one.name), one.email) for one in intended
        ]
    for name, value in (request.headers or {}).items():
        assert decoded(re.sub(r"\r\n(?=[ \t])", "", plain[name])) == value


def _check_parts(data: bytes, request: Request, attachments: Any) -> None:
    leaves = [part for part in modern(data).walk() if not part.is_multipart()]
    texts = [part for part in leaves if part.get_content_disposition() is None]
    expected = [request.text if request.text is not None else from_html(request.html or "")]
    expected += [request.html] if request.html is not None else []
    assert [body(part) for part in texts] == [lines(one) for one in expected]
    others = [part for part in leaves if part.get_content_disposition() is not None]
    got = [(part.get_content_type(), part.get_payload(decode=True)) for part in others]
    meant = [(file.content_type, file.data) for file in attachments]
    assert sorted(got, key=repr) == sorted(meant, key=repr)  # images come first
