"""What services post: each kind of event in its own words, read into ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.errors import NotAReport
from mailer.inbound import documents, mailgun, postmark, sendgrid, ses, sns
from mailer.inbound.told import Heard, Told

from . import reports
from .reports import ADA, EMAIL_ID

KEY = "a signing key of Mailgun"


def posted(**more: Any) -> mailgun.Posted:
    return mailgun.parse(json.dumps(reports.mailgun(key=KEY, **more)).encode())


def one(heard: Heard) -> Told:
    (found,) = heard.told
    return found


BOUNCED = ("bounced", EMAIL_ID, (ADA,), True, 550, "5.1.1")


@pytest.mark.parametrize(
    ("told", "at"),
    [
        (one(ses.read(reports.ses())), datetime(2026, 11, 22, 9, 0, 1, tzinfo=UTC)),
        (
            one(ses.read(reports.ses(field="eventType"))),
            datetime(2026, 11, 22, 9, 0, 1, tzinfo=UTC),
        ),
        (
            one(postmark.read(json.dumps(reports.postmark()).encode())),
            datetime(2026, 11, 22, 9, 0, 1, 123456, tzinfo=timezone(timedelta(hours=-5))),
        ),
        (
            one(sendgrid.read(json.dumps([reports.sendgrid()]).encode())),
            datetime.fromtimestamp(1795338001, UTC),
        ),
        (one(mailgun.read(posted())), datetime.fromtimestamp(1795338001.29, UTC)),
    ],
    ids=["ses notification", "ses event", "postmark", "sendgrid", "mailgun"],
)
def test_a_bounce_is_the_same_whoever_tells_it(told: Told, at: datetime) -> None:
    found = (
        told.kind, told.email_id, told.recipients, told.permanent, told.code, told.enhanced,
    )  # fmt: skip
    assert (found, told.occurred_at) == (BOUNCED, at)
    assert told.words[:1].isalpha()
    assert told.source_id


@pytest.mark.parametrize(
    "told",
    [
        one(ses.read(reports.ses("Complaint"))),
        one(postmark.read(json.dumps(reports.postmark("SpamComplaint")).encode())),
        one(postmark.read(json.dumps(reports.postmark(Type="SpamComplaint")).encode())),
        one(sendgrid.read(json.dumps([reports.sendgrid("spamreport")]).encode())),
        one(mailgun.read(posted(event="complained"))),
    ],
)
def test_a_complaint_is_the_same_whoever_tells_it(told: Told) -> None:
    assert (told.kind, told.email_id, told.recipients, told.permanent) == (
        "complained", EMAIL_ID, (ADA,), False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        one(ses.read(reports.ses("Delivery"))),
        one(postmark.read(json.dumps(reports.postmark("Delivery")).encode())),
        one(sendgrid.read(json.dumps([reports.sendgrid("delivered")]).encode())),
        one(mailgun.read(posted(event="delivered"))),
    ],
)
def test_a_delivery_is_the_same_whoever_tells_it(told: Told) -> None:
    assert (told.kind, told.email_id, told.recipients, told.permanent) == (
        "delivered", EMAIL_ID, (ADA,), False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        one(ses.read(reports.ses(bounce_type="Transient"))),
        one(ses.read(reports.ses(bounce_type="Undetermined"))),
        *(
            one(postmark.read(json.dumps(reports.postmark(Type=kind)).encode()))
            for kind in ("SoftBounce", "Blocked", "SpamNotification", "DnsError", "Unknown")
        ),
        one(sendgrid.read(json.dumps([reports.sendgrid(type="blocked")]).encode())),
        one(
            sendgrid.read(
                json.dumps([reports.sendgrid("dropped", reason="Spam Reporting Address")]).encode()
            )
        ),
        one(mailgun.read(posted(reason="old"))),
        one(mailgun.read(posted(reason="suppress-complaint"))),
        one(mailgun.read(posted(**{"delivery-status": {"code": 550, "message": "5.7.1 spam"}}))),
    ],
)
def test_a_bounce_that_is_not_the_fault_of_the_address_is_not_permanent(told: Told) -> None:
    assert (told.kind, told.permanent) == ("bounced", False)


def test_what_a_service_had_refused_to_send_before_is_permanent() -> None:
    dropped = reports.sendgrid("dropped", reason="Bounced Address")
    assert one(sendgrid.read(json.dumps([dropped]).encode())).permanent
    assert one(mailgun.read(posted(reason="suppress-bounce"))).permanent


@pytest.mark.parametrize(
    "heard",
    [
        *(ses.read(reports.ses(kind)) for kind in ("DeliveryDelay", "Send", "Open", "Reject")),
        ses.read("Successfully validated SNS topic for Amazon SES event publishing."),
        ses.read("{}"),
        *(
            postmark.read(json.dumps(reports.postmark(kind)).encode())
            for kind in ("Open", "Click", "SubscriptionChange")
        ),
        *(
            postmark.read(json.dumps(reports.postmark(Type=kind)).encode())
            for kind in ("Transient", "AutoResponder")
        ),
        *(
            sendgrid.read(json.dumps([reports.sendgrid(kind)]).encode())
            for kind in ("processed", "deferred", "open", "click", "unsubscribe")
        ),
        mailgun.read(posted(event="opened")),
        mailgun.read(posted(severity="temporary")),
    ],
)
def test_what_is_no_end_of_a_delivery_is_ignored(heard: Heard) -> None:
    assert heard == Heard([], ignored=1)


def test_several_recipients_in_one_notification_are_several_reports() -> None:
    heard = ses.read(reports.ses(addresses=(ADA, "Bob@Example.com")))
    assert [told.recipients for told in heard.told] == [(ADA,), ("bob@example.com",)]
    assert len({told.source_id for told in heard.told}) == 2


def test_without_our_message_id_what_the_reply_had_said_is_left() -> None:
    told = one(ses.read(reports.ses(email_id=None)))
    assert (told.email_id, told.reference) == (
        None, "0102018f3a2b4c5d-0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9-000000",
    )  # fmt: skip
    event = reports.sendgrid(**{"smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>"})
    told = one(sendgrid.read(json.dumps([event]).encode()))
    assert (told.email_id, told.reference) == (None, "14c5d75ce93dfd64b469aa")


def test_the_headers_have_the_message_id_when_the_common_ones_have_not() -> None:
    event = json.loads(reports.ses(email_id=None))
    event["mail"]["headers"].append({"name": "Message-Id", "value": f"<{EMAIL_ID}@acme.example>"})
    assert one(ses.read(json.dumps(event))).email_id == EMAIL_ID


def test_one_bad_event_costs_no_other() -> None:
    events = [7, reports.sendgrid("delivered"), {"event": ["bounce"]}, {}, reports.sendgrid()]
    heard = sendgrid.read(json.dumps([*events, reports.sendgrid(sg_event_id="")]).encode())
    assert [told.kind for told in heard.told] == ["delivered", "bounced"]
    assert [words.partition(" ")[0] for words in heard.malformed] == ["[0]", "[2]", "[3]", "[5]"]
    assert "expected an id" in heard.malformed[-1]


@pytest.mark.parametrize(
    ("read", "raw"),
    [
        (ses.read, "no JSON"),
        (ses.read, '{"notificationType": "Bounce", "mail": {"messageId": 7}}'),
        (ses.read, '{"notificationType": "Bounce", "mail": []}'),
        (postmark.read, b"[]"),
        (postmark.read, json.dumps(reports.postmark(ID=None)).encode()),
        (postmark.read, json.dumps(reports.postmark("Delivery", MessageID="")).encode()),
        (sendgrid.read, b"{}"),
        (sendgrid.read, b"\xff"),
        (mailgun.parse, b'{"signature": {}}'),
        (mailgun.parse, b"[" * 100_000),
        (sns.read, b'{"Type": "Notification"}'),
    ],
)
def test_what_is_malformed_is_refused_in_words(read: Any, raw: Any) -> None:
    with pytest.raises(NotAReport, match=r"expected|required|valid"):
        read(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=15,
)


@pytest.mark.parametrize(
    "document",
    [
        json.loads(reports.ses()),
        json.loads(reports.ses("Complaint")),
        json.loads(reports.ses("Delivery")),
        reports.postmark(),
        reports.postmark("Delivery"),
        reports.sendgrid(),
        reports.mailgun(key=KEY)["event-data"],
    ],
)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_put_in_a_field_is_read_or_refused(document: Any, data: st.DataObject) -> None:
    changed = json.loads(json.dumps(document))
    at = changed
    while True:  # somewhere within
        name = data.draw(st.sampled_from(sorted(at)))
        if not isinstance(at[name], dict) or not at[name] or data.draw(st.booleans()):
            at[name] = data.draw(JSON)
            break
        at = at[name]
    raw = json.dumps(changed)
    for read in (
        ses.read,
        lambda raw: postmark.read(raw.encode()),
        lambda raw: sendgrid.read(f"[{raw}]".encode()),
        lambda raw: mailgun.read(posted().model_copy(update={"event": documents.loads(raw)})),
    ):
        try:
            heard = read(raw)
        except NotAReport:
            continue
        for told in heard.told:
            "".join((told.words, told.source_id, *told.recipients)).encode()
            assert "\0" not in told.words + told.source_id
            assert len(told.source_id) <= 200
            assert len(told.words) <= 500


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=500) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_posted_is_read_or_refused(raw: bytes) -> None:
    for read in (postmark.read, sendgrid.read, mailgun.parse, sns.read):
        try:
            read(raw)
        except NotAReport:
            continue
