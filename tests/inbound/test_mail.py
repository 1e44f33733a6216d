"""Reports that come as mail: what is read of them, and that nothing else is raised."""

from __future__ import annotations

import random
import string
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.errors import NotAReport
from mailer.inbound import dsn
from mailer.inbound.told import Heard, Told

from . import reports
from .reports import ADA, EMAIL_ID, feedback, recipient


def read(raw: bytes) -> Told:
    heard = dsn.read(raw)
    (one,) = heard.told
    assert (heard.ignored, heard.malformed) == (0, ())
    return one


def test_a_failed_delivery_is_a_bounce_with_everything_that_was_said() -> None:
    one = read(reports.dsn())
    assert one._replace(source_id="") == Told(
        kind="bounced",
        source="dsn",
        source_id="",
        once=None,
        email_id=EMAIL_ID,
        reference=None,
        recipients=(ADA,),
        occurred_at=datetime(2026, 11, 22, 9, 0, 1, tzinfo=UTC),
        permanent=True,
        code=550,
        enhanced="5.1.1",
        words=f"<{ADA}>: Recipient address rejected: User unknown",
    )


@pytest.mark.parametrize(
    ("status", "diagnostic", "permanent", "enhanced"),
    [
        ("5.1.1", "smtp; 550 5.1.1 unknown", True, "5.1.1"),
        ("5.0.0", "smtp; 550 5.1.1 unknown", True, "5.1.1"),
        ("5.0.0", "smtp; 550 unknown", True, "5.0.0"),
        ("5.0.0", "smtp; 554 no", False, "5.0.0"),
        ("", "smtp; 550 unknown", True, None),
        ("5.2.1", "smtp; 550 5.2.1 disabled", True, "5.2.1"),
        ("5.4.4", "X-Postfix; Host or domain name not found", True, "5.4.4"),
        ("5.1.8", "smtp; 501 5.1.8 sender", False, "5.1.8"),
        ("5.2.2", "smtp; 552 5.2.2 mailbox full", False, "5.2.2"),
        ("5.7.1", "smtp; 550 5.7.1 looks like spam", False, "5.7.1"),
        ("4.4.1", "X-Postfix; connect to mx: timed out", False, "4.4.1"),
        ("", "", False, None),
    ],
)
def test_only_what_says_that_the_address_is_at_fault_is_permanent(
    status: str, diagnostic: str, permanent: bool, enhanced: str | None
) -> None:
    one = read(reports.dsn(recipient(Status=status, Diagnostic_Code=diagnostic)))
    assert (one.kind, one.permanent, one.enhanced) == ("bounced", permanent, enhanced)


def test_each_recipient_is_a_report_of_its_own_and_a_delay_is_none() -> None:
    heard = dsn.read(
        reports.dsn(
            recipient("a@example.com"),
            recipient("b@example.com", Action="delayed", Status="4.4.1"),
            recipient("c@example.com", Action="delivered", Status="2.0.0", Diagnostic_Code=""),
            recipient("d@example.com", Action="relayed", Status="2.0.0"),
            recipient("e@example.com", Action="expanded (to a list)", Status="2.0.0"),
            recipient("f@example.com", Action="Expanded", Status="2.0.0"),
        )
    )
    assert [(one.kind, *one.recipients) for one in heard.told] == [
        ("bounced", "a@example.com"),
        ("delivered", "c@example.com"),
        ("delivered", "e@example.com"),
        ("delivered", "f@example.com"),
    ]
    assert heard.ignored == 2
    assert len({one.source_id for one in heard.told}) == 4


def test_whom_we_wrote_to_comes_before_where_it_was_passed_on() -> None:
    passed_on = recipient("Ada.L@elsewhere.example", Original_Recipient=f"RFC822; <{ADA}>")
    assert read(reports.dsn(passed_on)).recipients == (ADA, "ada.l@elsewhere.example")


@pytest.mark.parametrize("returned", ["message/rfc822", "text/rfc822-headers", "message/global"])
def test_the_message_is_found_in_what_was_returned(returned: str) -> None:
    assert read(reports.dsn(returned=returned)).email_id == EMAIL_ID


@pytest.mark.parametrize("name", ["In-Reply-To", "References"])
def test_the_message_is_found_by_what_the_report_answers(name: str) -> None:
    more = f"{name}: <other@example.com> <{EMAIL_ID}@acme.example>\r\n"
    assert read(reports.dsn(email_id=None, more=more)).email_id == EMAIL_ID


def test_the_id_of_another_system_is_no_email_of_ours() -> None:
    assert read(reports.dsn(email_id="CAJ7Gk")).email_id is None
    assert read(reports.dsn(email_id=EMAIL_ID.replace("-774b", "-474b"))).email_id is None
    assert read(reports.dsn(email_id=f"a{EMAIL_ID}")).email_id is None


def test_a_report_that_comes_twice_has_the_same_id_also_over_another_way() -> None:
    first = read(reports.dsn())
    again = read(b"Received: from mx2.acme.example\r\n" + reports.dsn())
    other = read(reports.dsn(dsn_id="<another@mx.acme.example>"))
    assert first.source_id == again.source_id != other.source_id


def test_reports_without_an_id_differ_by_what_they_say() -> None:
    one, other = (read(reports.dsn(dsn_id="", more=more)) for more in ("", "X-A: 1\r\n"))
    assert one.source_id != other.source_id
    assert read(reports.dsn(dsn_id="")) == one


def test_a_status_in_base64_and_international_addresses_are_read() -> None:
    fields = recipient(
        Original_Recipient="", Final_Recipient="utf-8; jörg@exämple.com", Action="failed"
    )
    encoded = b64encode(f"Reporting-MTA: dns; mx\r\n\r\n{fields}".encode()).decode()
    raw = (
        "Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n"
        "Content-Type: message/global-delivery-status\r\n"
        f"Content-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n--x--\r\n"
    )
    one = read(raw.encode())
    assert one.recipients == ("jörg@exämple.com",)
    assert one.enhanced == "5.1.1"


def test_a_complaint_names_its_kind_and_the_recipient_if_it_was_told() -> None:
    one = read(feedback())
    assert (one.kind, one.recipients, one.email_id) == ("complained", (ADA,), EMAIL_ID)
    assert one.words == "abuse Feedback/1.0"
    assert not one.permanent
    assert read(feedback(address="")).recipients == ()


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure"])
def test_a_feedback_that_is_no_complaint_is_ignored(kind: str) -> None:
    assert dsn.read(feedback(kind)) == Heard([], ignored=1)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "got text/plain"),
        (b"Subject: Out of office\r\n\r\nI am away.\r\n", "got text/plain"),
        (b"Content-Type: multipart/report; boundary=x\r\n\r\nnothing", "got multipart/report"),
        (reports.dsn().replace(b"message/delivery-status", b"text/plain"), "expected a part"),
        (reports.dsn(recipient(Action="")), "expected a recipient with an Action"),
        (reports.dsn(*[recipient()] * 501), "expected at most 500 recipients, got 501"),
        (feedback(""), "expected a Feedback-Type"),
    ],
)
def test_what_is_no_report_is_refused_in_words(raw: bytes, words: str) -> None:
    with pytest.raises(NotAReport, match=words):
        dsn.read(raw)


def test_what_follows_the_report_is_not_read_however_much_it_is() -> None:
    whole = reports.dsn().replace(b"Secret words", b"x" * 72 + b"\r\n", 1)
    huge = whole.replace(b"\r\n--4F1A.1795338001/mx.acme.example--", b"y" * 30_000_000)
    assert read(huge).email_id == EMAIL_ID


def test_no_words_of_others_are_stored_as_they_came() -> None:
    evil = recipient(Diagnostic_Code="smtp; 550 \x1b[2J\x00\x07 \u202e gone" + "x" * 10_000)
    one = read(reports.dsn(evil))
    assert one.words.startswith("[2J gone")
    assert 490 < len(one.words) <= 500
    assert one.words.isprintable()


@pytest.mark.parametrize("deep", [50, 5_000, 100_000])
def test_parts_within_parts_are_no_way_to_exhaust_us(deep: int) -> None:
    raw = b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (n, n) for n in range(deep)
    )
    with pytest.raises(NotAReport):
        dsn.read(raw.replace(b"mixed", b"report", 1))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2_000))
def test_arbitrary_bytes_are_refused_in_words(raw: bytes) -> None:
    with pytest.raises(NotAReport):
        dsn.read(raw)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([reports.dsn(), feedback()]))
def test_a_report_with_bytes_changed_is_read_or_refused(rng: random.Random, raw: bytes) -> None:
    changed = bytearray(raw)
    for _ in range(rng.randrange(1, 40)):
        at = rng.randrange(len(changed))
        match rng.randrange(3):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                del changed[at : at + rng.randrange(60)]
            case _:
                changed[at:at] = rng.choice(string.printable).encode() * rng.randrange(30)
    try:
        heard = dsn.read(bytes(changed))
    except NotAReport:
        return
    for one in heard.told:
        assert one.words.isprintable()
        one.words.encode()
        assert all(address == address.lower() and "@" in address for address in one.recipients)
