"""The inbox over real HTTP: the API, the pages, and that no email can do harm through them."""

from __future__ import annotations

import json
import re
import smtplib
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from html.parser import HTMLParser
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.dev.catcher import Catcher, CaughtMessage
from mailer.dev.catcher.frame import framed

PNG = b"\x89PNG\r\n\x1a\n pixels"


@pytest.fixture
def catcher() -> Iterator[Catcher]:
    with Catcher() as running:
        yield running


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    catcher: Catcher, path: str, *, method: str = "GET", sent: Any = None, **headers: str
) -> Answer:
    data = None if sent is None else json.dumps(sent).encode()
    if data is not None:
        headers.setdefault("Content_Type", "application/json")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(catcher.url + path, data, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


def deliver(catcher: Catcher, raw: bytes, *recipients: str) -> int:
    """Send the bytes and return the id they got."""
    with smtplib.SMTP("127.0.0.1", catcher.smtp_port, "client.test", timeout=5) as client:
        client.sendmail("sender@example.com", recipients or ["to@example.com"], raw)
    return catcher.messages()[-1].id


def composed(subject: str = "Hello", *, text: str = "Some text") -> EmailMessage:
    email = EmailMessage(policy=SMTP)
    email["From"] = "Zoë Krüger <zoe@example.com>"
    email["To"] = "Ben <ben@example.com>, carla@example.com"
    email["Cc"] = "dev@example.com"
    email["Subject"] = subject
    email["Date"] = "Tue, 24 Nov 2026 06:00:00 +0000"
    email["Message-ID"] = "<1@example.com>"
    email.set_content(text)
    return email


def with_picture() -> bytes:
    email = composed()
    email.add_alternative('<img src="cid:logo@x"> <img src="cid:other@x">', subtype="html")
    html = email.get_payload(1)
    assert isinstance(html, EmailMessage)
    html.add_related(PNG, "image", "png", cid="<logo@x>", filename="logo.png")
    email.add_attachment(b"%PDF", "application", "pdf", filename="Größe/..\\nr.pdf")
    return email.as_bytes()


# The API


def test_a_message_is_told_in_full(catcher: Catcher) -> None:
    number = deliver(catcher, with_picture(), "ben@example.com", "blind@example.com")
    told = call(catcher, f"/api/messages/{number}").json
    assert told["from"] == {"name": "Zoë Krüger", "email": "zoe@example.com"}
    assert told["to"][1] == {"name": "", "email": "carla@example.com"}
    assert told["cc"] == [{"name": "", "email": "dev@example.com"}]
    assert told["envelope"] == {
        "sender": "sender@example.com",
        "recipients": ["ben@example.com", "blind@example.com"],
    }
    assert (told["subject"], told["message_id"]) == ("Hello", "<1@example.com>")
    assert told["date"] == "Tue, 24 Nov 2026 06:00:00 +0000"
    assert ["Subject", "Hello"] in told["headers"]
    assert told["text"].strip() == "Some text"
    assert "cid:logo@x" in told["html"]
    assert told["source"].startswith("From: ")
    assert [(a["filename"], a["content_id"]) for a in told["attachments"]] == [
        ("logo.png", "logo@x"),
        ("Größe_.._nr.pdf", None),
    ]
    assert call(catcher, told["attachments"][0]["url"]).body == PNG


def test_messages_are_listed_newest_first_and_by_recipient_words_and_limit(
    catcher: Catcher,
) -> None:
    deliver(catcher, composed("Café au lait").as_bytes(), "one@example.com")
    deliver(catcher, composed("Tea", text="It was TEEMING down").as_bytes(), "two@example.com")
    deliver(catcher, composed("Tea").as_bytes(), "one@example.com")

    def ids(query: str) -> list[int]:
        return [m["id"] for m in call(catcher, f"/api/messages?{query}").json["messages"]]

    assert ids("") == [3, 2, 1]
    assert ids("to=ONE@example.com") == [3, 1]
    assert ids("q=caf%C3%89") == [1]
    assert ids("q=teeming") == [2]
    assert ids("q=two@example") == [2]
    assert ids("q=zo%C3%AB+tea") == [3, 2]
    assert ids("limit=2") == [3, 2]
    assert call(catcher, "/api/messages?limit=1").json["total"] == 3


def test_one_or_all_messages_can_be_deleted(catcher: Catcher) -> None:
    numbers = [deliver(catcher, composed().as_bytes()) for _ in range(3)]
    assert call(catcher, f"/api/messages/{numbers[1]}", method="DELETE").status == 204
    assert [m.id for m in catcher.messages()] == [numbers[0], numbers[2]]
    assert call(catcher, f"/api/messages/{numbers[1]}", method="DELETE").status == 404
    assert call(catcher, "/api/messages", method="DELETE").status == 204
    assert catcher.messages() == []


def test_rules_are_added_listed_and_removed(catcher: Catcher) -> None:
    rule = {"stage": "rcpt", "do": "550 5.1.1 No", "address": "bad@*", "times": 5}
    added = call(catcher, "/api/script", method="POST", sent=rule)
    assert added.status == 201
    assert rule.items() <= added.json.items()
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        deliver(catcher, b"", "bad@example.com")
    assert call(catcher, "/api/script").json["rules"][0]["used"] == 1
    assert "1 scripted reply active" in call(catcher, "/").text
    assert call(catcher, f"/api/script/{added.json['id']}", method="DELETE").status == 204
    assert deliver(catcher, b"", "bad@example.com") == 1
    catcher.script("rcpt", "drop")
    assert call(catcher, "/api/script", method="DELETE").status == 204
    assert catcher.rules.all() == []


@pytest.mark.parametrize(
    "rule",
    [
        [],
        {"stage": "rcpt"},
        {"stage": "rcpt", "do": 5},
        {"stage": "rcpt", "do": "drop", "times": "2"},
        {"stage": "rcpt", "do": "drop", "used": 2},
        {"stage": "nowhere", "do": "drop"},
    ],
)
def test_a_wrong_rule_is_answered_with_what_was_expected(catcher: Catcher, rule: Any) -> None:
    answer = call(catcher, "/api/script", method="POST", sent=rule)
    assert answer.status == 400
    assert "expected" in answer.json["error"]
    assert catcher.rules.all() == []


def test_counts_are_told(catcher: Catcher) -> None:
    deliver(catcher, b"")
    assert call(catcher, "/api/counts").json["connections"] == 1


def test_what_is_not_there_is_a_404_in_json(catcher: Catcher) -> None:
    for path in ("/api/messages/7", "/api/nothing"):
        assert call(catcher, path).status == 404
    assert call(catcher, "/api/messages/7").json == {"error": "there is no message 7"}


# The pages


def test_a_message_is_unread_until_somebody_opens_it(catcher: Catcher) -> None:
    number = deliver(catcher, composed("Fresh").as_bytes())
    assert "1 unread" in call(catcher, "/").text
    assert "Fresh" in call(catcher, f"/messages/{number}").text
    assert "unread" not in call(catcher, "/list").text.replace("data-unread", "")


def test_the_list_finds_what_the_search_says(catcher: Catcher) -> None:
    deliver(catcher, composed("Invoice").as_bytes())
    deliver(catcher, composed("Welcome").as_bytes())
    found = call(catcher, "/?q=invoice").text
    assert "Invoice" in found
    assert "Welcome" not in found
    assert "Nothing mentions" in call(catcher, "/list?q=nothing").text


def test_the_list_shows_a_hundred_and_offers_more(catcher: Catcher) -> None:
    for number in range(101):
        catcher.store.add("a@x.test", ("b@x.test",), b"Subject: number %03d.\r\n\r\n" % number)
    page = call(catcher, "/").text
    assert page.count("number ") == 100
    assert "number 000." not in page
    assert 'data-limit="200"' in page
    assert "number 000." in call(catcher, "/list?limit=200").text


def test_a_message_that_is_gone_is_a_page_that_says_so(catcher: Catcher) -> None:
    answer = call(catcher, "/messages/9")
    assert answer.status == 404
    assert "Message 9 is gone" in answer.text
    assert call(catcher, "/messages/9/html").status == 404


def test_pages_are_told_of_changes_while_they_happen(catcher: Catcher) -> None:
    with urllib.request.urlopen(f"{catcher.url}/events", timeout=10) as events:
        assert [events.readline() for _ in range(3)][1] == b"data: connected\n"
        deliver(catcher, b"")
        assert events.readline() == b"data: changed\n"


def test_the_source_can_be_downloaded_as_it_came(catcher: Catcher) -> None:
    raw = with_picture()
    number = deliver(catcher, raw)
    answer = call(catcher, f"/messages/{number}/message.eml")
    assert answer.body == raw
    assert answer.headers["Content-Disposition"].startswith("attachment")


# Hostile email

SCRIPT = "<script>alert(1)</script>"
QUOTED = "\"'><img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    """Collects the start tags of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def hostile() -> bytes:
    evil = f"{SCRIPT}{QUOTED}"
    html = f'<script>parent.alert(1)</script><a href="javascript:alert(1)">x</a>{QUOTED}'
    return (
        f"Subject: {evil}\r\n"
        f'From: "{SCRIPT}" <x@x.test>\r\n'
        f"To: {evil} <b@x.test>\r\n"
        f'Cc: Name <"{SCRIPT}"@x.test>\r\n'
        f"X-{SCRIPT}: {evil}\r\nDate: {evil}\r\nMessage-ID: {evil}\r\n"
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        f"--b\r\nContent-Type: text/plain\r\n\r\n{evil} http://x.test/{QUOTED}\r\n"
        "javascript:alert(1)\r\n"
        f"--b\r\nContent-Type: text/html\r\n\r\n{html}\r\n"
        f'--b\r\nContent-Type: text/html; name="a{SCRIPT}.html"\r\n'
        f'Content-Disposition: attachment; filename="{SCRIPT}\'.html"\r\n\r\n{html}\r\n'
        f'--b\r\nContent-Type: image/svg+xml; name="{SCRIPT}.svg"\r\nContent-ID: <{SCRIPT}>\r\n\r\n'
        "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>\r\n--b--\r\n"
    ).encode()


def test_nothing_in_an_email_becomes_markup_of_a_page(catcher: Catcher) -> None:
    number = deliver(catcher, hostile(), '"<script>alert(1)</script>"@x.test')
    catcher.script("rcpt", f"550 {SCRIPT}", address=f"*{SCRIPT}")
    query = "?q=alert"
    for path in ("/", "/list", "/list" + query, f"/messages/{number}", f"/messages/{number}/view"):
        page = call(catcher, path).text
        assert "alert(1)" in page, path
        for tag, attributes in Tags(page).found:
            assert tag != "script" or attributes == {"src": "/static/inbox.js", "defer": None}
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            for name in ("href", "src"):
                target = attributes.get(name) or "/"
                assert target.startswith(("/", "http://x.test/", "#")), (path, target)
    page = call(catcher, "/?q=" + quote(QUOTED)).text
    assert "onerror" not in [name for _, found in Tags(page).found for name in found]


def test_pages_allow_only_scripts_and_styles_that_are_files_of_ours(catcher: Catcher) -> None:
    number = deliver(catcher, hostile())
    for path in ("/", f"/messages/{number}", "/api/messages"):
        answer = call(catcher, path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_html_is_shown_in_a_sandbox_without_scripts_and_under_its_own_policy(
    catcher: Catcher,
) -> None:
    number = deliver(catcher, hostile())
    [iframe] = [
        attributes
        for tag, attributes in Tags(call(catcher, f"/messages/{number}").text).found
        if tag == "iframe"
    ]
    assert iframe["src"] == f"/messages/{number}/html"
    answer = call(catcher, iframe["src"])
    policy = dict(
        directive.strip().partition(" ")[::2]
        for directive in answer.headers["Content-Security-Policy"].split(";")
    )
    for sandbox in (iframe["sandbox"], policy["sandbox"]):
        assert sandbox == "allow-popups allow-popups-to-escape-sandbox"
    assert policy["default-src"] == "'none'"
    assert "script-src" not in policy
    assert policy["frame-ancestors"] == "'self'"
    assert policy["form-action"] == policy["base-uri"] == "'none'"


def test_inline_images_come_from_the_email_and_from_nowhere_else(catcher: Catcher) -> None:
    number = deliver(catcher, with_picture())
    answer = call(catcher, f"/messages/{number}/html")
    link = f"{catcher.url}/messages/{number}/parts/0"
    assert f'<img src="{link}">' in answer.text
    assert '<img src="cid:other@x">' in answer.text
    assert f"img-src data: {link};" in answer.headers["Content-Security-Policy"]


def test_a_content_id_cannot_add_to_the_policy_or_the_markup() -> None:
    html, policy = framed('<p>cid:a">;</p>', {'a"': "/parts/0"}, origin="http://127.0.0.1:1")
    assert policy.count("default-src") == 1
    assert "img-src data: http://127.0.0.1:1/parts/0;" in policy
    assert html.endswith("</p>")


def test_the_doctype_stays_in_front() -> None:
    html, _ = framed("\n<!DOCTYPE html>\n<html>", {}, origin="http://127.0.0.1:1")
    assert re.match(r'\s*<!DOCTYPE html><base target="_blank">', html)


def test_attachments_are_saved_and_never_shown_as_pages(catcher: Catcher) -> None:
    number = deliver(catcher, hostile())
    for index in range(2):
        answer = call(catcher, f"/messages/{number}/parts/{index}")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert call(catcher, f"/messages/{number}/parts/2").status == 404


def test_a_filename_has_no_path_and_breaks_no_header(catcher: Catcher) -> None:
    raw = (
        b"Content-Type: application/pdf\r\nContent-Disposition: attachment;\r\n"
        b" filename*=utf-8''..%2F..%2Fa%0D%0AX-Evil:1%00%22%F0%9F%8E%89.pdf\r\n\r\nx"
    )
    answer = call(catcher, f"/messages/{deliver(catcher, raw)}/parts/0")
    assert answer.status == 200
    assert "X-Evil" not in answer.headers
    assert catcher.messages()[0].attachments[0].filename == '_.._a X-Evil_1"🎉.pdf'


@pytest.mark.parametrize(
    "host", ["evil.test", "127.0.0.1.evil.test", "evil.test:80", "localhost@evil.test", ""]
)
def test_other_host_names_are_refused(catcher: Catcher, host: str) -> None:
    for path in ("/", "/api/messages", "/events", "/static/inbox.js"):
        assert call(catcher, path, Host=host).status in {400, 421}, path


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "[::1]:8025", "127.0.0.1"])
def test_names_of_this_machine_are_answered(catcher: Catcher, host: str) -> None:
    assert call(catcher, "/api/messages", Host=host).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_changes_from_other_pages_are_refused(catcher: Catcher, headers: dict[str, str]) -> None:
    deliver(catcher, b"")
    assert call(catcher, "/api/messages", method="DELETE", **headers).status == 403
    rule = {"stage": "rcpt", "do": "drop"}
    assert call(catcher, "/api/script", method="POST", sent=rule, **headers).status == 403
    assert len(catcher.messages()) == 1
    assert catcher.rules.all() == []


def test_changes_from_the_inbox_itself_are_taken(catcher: Catcher) -> None:
    own = {"Origin": catcher.url, "Sec_Fetch_Site": "same-origin"}
    assert call(catcher, "/api/messages", method="DELETE", **own).status == 204


def test_a_rule_posted_as_a_form_is_refused(catcher: Catcher) -> None:
    rule = {"stage": "rcpt", "do": "drop"}
    answer = call(catcher, "/api/script", method="POST", sent=rule, Content_Type="text/plain")
    assert answer.status == 415
    assert "error" in answer.json


# Malformed email

HEADERS = st.sampled_from(
    [
        "Subject: =?utf-8?b?4pyT?= =?x-none?q?a?= =?utf-8?b?!!?=",
        "Subject: a\r\n\tb\r\n c",
        'From: ,,<@>;:"',
        "To: =?utf-8?q?a=2C_b?= <a@x.test>, group: c@x.test;",
        "Content-Type: text/html; charset=no-such",
        "Content-Type: text/plain; charset*=x'y'%FF",
        "Content-Type: multipart/mixed; boundary=b",
        "Content-Type: multipart/alternative",
        "Content-Type: message/rfc822",
        "Content-Type: ;;;=",
        "Content-Disposition: attachment; filename*0*=utf-8''a%; filename*1=b; filename*x=c",
        'Content-Disposition: attachment; filename="=?utf-8?b?4pyT?="',
        "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: x-uuencode",
        "Content-Transfer-Encoding: quoted-printable",
        "Content-ID: <>",
        "\x00: \x01",
        "no colon here",
    ]
)
BODIES = st.sampled_from(
    ["", "--b", "--b--", "=\r\n=ZZ", "begin 644 x\r\n!!!\r\nend", "AAA", "<p>a&b;<"]
)


def read_all(raw: bytes) -> CaughtMessage:
    message = CaughtMessage(1, datetime.now(UTC), "", (), raw)
    _ = message.headers, message.subject, message.from_, message.to, message.cc, message.source
    _ = message.text, message.html, message.attachments, message.snippet, message.envelope_differs
    assert not message.mentions("\x00nothing")
    assert "\n" not in message.subject
    return message


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(HEADERS, BODIES, st.just("")), max_size=12), st.binary(max_size=40))
def test_reading_a_malformed_message_never_raises(lines: list[str], tail: bytes) -> None:
    read_all("\r\n".join(lines).encode() + tail)


def test_parts_nested_without_end_are_read_as_far_as_possible() -> None:
    nested = "".join(
        f"Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n"
        for depth in range(5_000)
    )
    message = read_all(b"Subject: deep\r\n" + nested.encode() + b"\r\ntext")
    assert message.subject == "deep"


@pytest.mark.parametrize(
    "piece", ["<style", "<!--", "<img ", "cid:", "http://(", "((((", "=?utf-8?q?"]
)
def test_no_message_takes_long_to_read(catcher: Catcher, piece: str) -> None:
    big = (piece * (900 // len(piece)) + "\r\n") * 1_000
    raw = f"Subject: {piece * 90}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    for kind in ("plain", "html"):
        raw += f"--b\r\nContent-Type: text/{kind}\r\n\r\n{big}\r\n"
    number = deliver(catcher, raw.encode())
    for path in ("/?q=nothing", f"/messages/{number}", f"/messages/{number}/html"):
        # `call` gives up after 10 seconds.
        assert call(catcher, path).status == 200
