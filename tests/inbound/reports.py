"""Reports as mail systems and services write them, about emails of ours."""

from __future__ import annotations

import hmac
import json
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

EMAIL_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
ADA = "ada@example.com"


def recipient(address: str = ADA, **fields: str) -> str:
    """Return what a status notification says of one recipient."""
    said = {
        "Final-Recipient": f"rfc822; {address}",
        "Original-Recipient": f"rfc822;{address}",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.com",
        "Diagnostic-Code": f"smtp; 550 5.1.1 <{address}>: Recipient address rejected: User unknown",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    return "".join(f"{name}: {value}\r\n" for name, value in said.items() if value)


def dsn(
    *recipients: str,
    email_id: str | None = EMAIL_ID,
    returned: str = "message/rfc822",
    dsn_id: str = "<20261122090001.4F1A@mx.acme.example>",
    more: str = "",
) -> bytes:
    """Return a delivery status notification as Postfix writes it."""
    named = f"Message-ID: <{email_id}@acme.example>\r\n" if email_id else ""
    body = "\r\nSecret words\r\n" if returned == "message/rfc822" else ""
    said = "\r\n".join(recipients or (recipient(),))
    return (
        f"Return-Path: <>\r\nDate: Sun, 22 Nov 2026 09:00:01 +0000 (UTC)\r\n"
        f"From: MAILER-DAEMON@mx.acme.example (Mail Delivery System)\r\n"
        f"Subject: Undelivered Mail Returned to Sender\r\nTo: hello@acme.example\r\n"
        f"{f'Message-Id: {dsn_id}' if dsn_id else 'X-None: 1'}\r\n{more}"
        "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n"
        '\tboundary="4F1A.1795338001/mx.acme.example"\r\n\r\n'
        "This is a MIME-encapsulated message.\r\n\r\n"
        "--4F1A.1795338001/mx.acme.example\r\nContent-Description: Notification\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
        "This is the mail system at host mx.acme.example.\r\n\r\n"
        "--4F1A.1795338001/mx.acme.example\r\nContent-Description: Delivery report\r\n"
        "Content-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mx.acme.example\r\nX-Postfix-Queue-ID: 4F1A\r\n"
        f"Arrival-Date: Sun, 22 Nov 2026 09:00:00 +0000 (UTC)\r\n\r\n{said}\r\n"
        "--4F1A.1795338001/mx.acme.example\r\nContent-Description: Undelivered Message\r\n"
        f"Content-Type: {returned}\r\n\r\n"
        f"From: hello@acme.example\r\nTo: ada@example.com\r\n{named}Subject: Hello\r\n{body}\r\n"
        "--4F1A.1795338001/mx.acme.example--\r\n"
    ).encode()


def feedback(kind: str = "abuse", *, address: str = ADA, email_id: str = EMAIL_ID) -> bytes:
    """Return a complaint as providers of mailboxes send it."""
    told = f"Original-Rcpt-To: {address}\r\n" if address else ""
    return (
        "From: feedback@provider.example\r\nTo: abuse@acme.example\r\n"
        "Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <fb1@provider.example>\r\n"
        "Subject: FW: Hello\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="part"\r\n\r\n'
        "--part\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n\r\n"
        "--part\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: {kind}\r\nUser-Agent: Feedback/1.0\r\nVersion: 1\r\n{told}\r\n"
        "--part\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        f"From: hello@acme.example\r\nMessage-ID: <{email_id}@acme.example>\r\n\r\n--part--\r\n"
    ).encode()


def ses(
    kind: str = "Bounce",
    *,
    email_id: str | None = EMAIL_ID,
    addresses: tuple[str, ...] = (ADA,),
    field: str = "notificationType",
    bounce_type: str = "Permanent",
    message_id: str = "0102018f3a2b4c5d-0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9-000000",
) -> str:
    """Return what SES says in the ``Message`` of a notification."""
    mail: dict[str, Any] = {
        "timestamp": "2026-11-22T09:00:00.000Z",
        "source": "hello@acme.example",
        "messageId": message_id,
        "destination": list(addresses),
        "headersTruncated": False,
        "headers": [{"name": "From", "value": "hello@acme.example"}],
    }
    if email_id:
        mail["commonHeaders"] = {
            "messageId": f"<{email_id}@acme.example>",
            "subject": "Hello",
            "from": ["hello@acme.example"],
        }
    event: dict[str, Any] = {field: kind, "mail": mail}
    diagnostic = "smtp; 550 5.1.1 user unknown"
    if kind == "Bounce":
        event["bounce"] = {
            "bounceType": bounce_type,
            "bounceSubType": "General",
            "bouncedRecipients": [
                {
                    "emailAddress": address,
                    "action": "failed",
                    "status": "5.1.1",
                    "diagnosticCode": diagnostic,
                }
                for address in addresses
            ],
            "timestamp": "2026-11-22T09:00:01.000Z",
            "feedbackId": "0102018f3a2b-feed-000000",
            "reportingMTA": "dns; a1.smtp-out.eu-west-1.amazonses.com",
        }
    if kind == "Complaint":
        event["complaint"] = {
            "complainedRecipients": [{"emailAddress": address} for address in addresses],
            "timestamp": "2026-11-22T09:05:00.000Z",
            "feedbackId": "0102018f3a2b-c0de-000000",
            "complaintFeedbackType": "abuse",
        }
    if kind == "Delivery":
        event["delivery"] = {
            "timestamp": "2026-11-22T09:00:02.000Z",
            "recipients": list(addresses),
            "smtpResponse": "250 2.6.0 Message received",
            "processingTimeMillis": 546,
        }
    return json.dumps(event)


class Sns:
    """Somebody who signs as SNS does, with a certificate of his own."""

    topic = "arn:aws:sns:eu-west-1:123456789012:bounces"
    url = (
        "https://sns.eu-west-1.amazonaws.com/"
        "SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
    )

    def __init__(self, *, ended: bool = False) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        since = datetime.now(UTC) - timedelta(days=30)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(since)
            .not_valid_after(since + timedelta(days=10 if ended else 60))
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(Encoding.PEM)

    def notification(self, message: str, *, version: str = "2", **changes: Any) -> dict[str, Any]:
        return self.sign(
            {
                "Type": "Notification",
                "MessageId": "da41e39f-ea4d-435a-b922-c6aae3915ebe",
                "TopicArn": self.topic,
                "Message": message,
                "Timestamp": "2026-11-22T09:00:03.000Z",
                "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
                **changes,
            },
            version,
        )

    def confirmation(self, **changes: Any) -> dict[str, Any]:
        return self.sign(
            {
                "Type": "SubscriptionConfirmation",
                "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
                "Token": "2336412f37",
                "TopicArn": self.topic,
                "Message": "You have chosen to subscribe to the topic.",
                "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/"
                f"?Action=ConfirmSubscription&TopicArn={self.topic}&Token=2336412f37",
                "Timestamp": "2026-11-22T08:00:00.000Z",
                **changes,
            },
            "1",
        )

    def sign(self, message: dict[str, Any], version: str) -> dict[str, Any]:
        names = (
            ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
            if message["Type"] == "Notification"
            else (
                "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
            )
        )  # fmt: skip
        signed = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
        digest = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 - as SNS does
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), digest)
        return {
            "SigningCertURL": self.url,
            **message,
            "SignatureVersion": version,
            "Signature": b64encode(signature).decode(),
        }


class SendGrid:
    """Somebody who signs as SendGrid does."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key()
        self.key = b64encode(
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).decode()

    def headers(self, body: bytes, *, age: float = 0) -> dict[str, str]:
        timestamp = str(int(time.time() - age))
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "Content-Type": "application/json",
            "X-Twilio-Email-Event-Webhook-Signature": b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        }


def sendgrid(event: str = "bounce", *, email_id: str = EMAIL_ID, **more: Any) -> dict[str, Any]:
    """Return one of SendGrid's events."""
    return {
        "email": ADA,
        "timestamp": 1795338001,
        "smtp-id": f"<{email_id}@acme.example>",
        "event": event,
        "sg_event_id": f"{event}-0-26473821-14c5d75ce93",
        "sg_message_id": "14c5d75ce93dfd64b469aa.filterdrecv-5645d9c87f-78xtp-1.0",
        "ip": "192.0.2.4",
        "tls": 1,
        **({"reason": "550 5.1.1 no such user", "status": "5.1.1"} if event == "bounce" else {}),
        **({"type": "bounce"} if event == "bounce" else {}),
        **({"response": "250 2.0.0 OK"} if event == "delivered" else {}),
        **more,
    }


def postmark(record: str = "Bounce", **more: Any) -> dict[str, Any]:
    """Return one of Postmark's webhooks."""
    said: dict[str, Any] = {
        "RecordType": record,
        "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
        "MessageStream": "outbound",
        "ServerID": 23,
        "Metadata": {"email_id": EMAIL_ID},
        "Tag": "welcome",
    }
    if record == "Delivery":
        said |= {
            "Recipient": ADA,
            "DeliveredAt": "2026-11-22T09:00:02.1234567Z",
            "Details": "smtp;250 2.0.0 OK",
        }
    else:
        said |= {
            "ID": 4323372036854775807,
            "Type": "HardBounce" if record == "Bounce" else "SpamComplaint",
            "TypeCode": 1,
            "Name": "Hard bounce",
            "Description": "The server was unable to deliver your message.",
            "Details": "smtp;550 5.1.1 The email account does not exist.",
            "Email": ADA,
            "From": "hello@acme.example",
            "BouncedAt": "2026-11-22T09:00:01.1234567-05:00",
            "Inactive": True,
        }
    return {**said, **more}


def mailgun(
    event: str = "failed",
    *,
    key: str,
    email_id: str = EMAIL_ID,
    age: float = 0,
    once: str = "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0",
    **more: Any,
) -> dict[str, Any]:
    """Return one of Mailgun's webhooks, signed."""
    timestamp = str(int(time.time() - age))
    signature = hmac.new(key.encode(), f"{timestamp}{once}".encode(), "sha256").hexdigest()
    failed = {
        "severity": "permanent",
        "reason": "bounce",
        "delivery-status": {
            "code": 550,
            "enhanced-code": "5.1.1",
            "message": "5.1.1 The email account that you tried to reach does not exist.",
            "description": "",
            "attempt-no": 1,
        },
    }
    return {
        "signature": {"timestamp": timestamp, "token": once, "signature": signature},
        "event-data": {
            "event": event,
            "id": "G9Bn5sl1TC6nu79C8C0bwg",
            "timestamp": 1795338001.29,
            "log-level": "error",
            "recipient": ADA,
            "message": {
                "headers": {
                    "to": ADA,
                    "message-id": f"{email_id}@acme.example",
                    "from": "hello@acme.example",
                    "subject": "Hello",
                },
                "size": 111,
            },
            "user-variables": {},
            **(failed if event == "failed" else {}),
            **more,
        },
    }
