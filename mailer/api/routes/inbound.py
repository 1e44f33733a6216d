"""``/inbound``: what mail systems report of the emails that they took."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from flask import Flask, request

from ... import reporting
from ...destination import Allowed
from ...errors import NotAReport, NotAuthentic, SettingError
from ...inbound import dsn, mailgun, postmark, sendgrid, ses, sns
from ...inbound.told import Heard
from ...state import current
from ..body import JSON
from ..errors import ApiError
from ..operations import operation
from ..schemas.inbound import Kept

log = logging.getLogger(__name__)

SIGNERS = "mailer.sns"
"""Where an app has its `sns.Signers`."""
_MAX_BYTES = 5_000_000
"""Of what a service posts at once; most is a few kilobytes."""
_REFUSED = {403: "It is not signed as expected, or the service was not set up here."}
_ASKS_LATER = {**_REFUSED, 503: "It cannot be checked or stored now; to be tried again."}

_by_service = partial(
    operation,
    "POST",
    scope=None,
    raw=(JSON,),
    max_bytes=_MAX_BYTES,
    answers=Kept,
    errors=_REFUSED,
)
"""A route that has a proof of its own in the place of a key."""


def check(app: Flask) -> None:
    """Make what the routes need, and find out now what would fail at the first report. Raises
    SettingError."""
    allowed = Allowed(app.config["MAILER_WEBHOOK_ALLOW"] or ())
    app.extensions[SIGNERS] = sns.Signers(partial(sns.fetch, allowed=allowed))
    needs = [
        name for name in ("MAILER_SES_TOPICS", "MAILER_SENDGRID_PUBLIC_KEY") if app.config.get(name)
    ]
    if needs and find_spec("cryptography") is None:
        raise SettingError(f"{needs[0]}: needs: pip install 'mailer-dispatch[inbound]'")
    if key := app.config.get("MAILER_SENDGRID_PUBLIC_KEY"):
        try:
            sendgrid.load_key(key)
        except ValueError as error:
            raise SettingError(
                "MAILER_SENDGRID_PUBLIC_KEY: expected the verification key that SendGrid shows, "
                f"got {key[:40]!r}"
            ) from error


@operation(
    "POST",
    "/inbound/bounces",
    scope="inbound",
    raw=("message/rfc822",),
    answers=Kept,
    errors={422: "It is no delivery status notification and no feedback report."},
)
def by_mail(body: bytes) -> Kept:
    """Report by a message of a mail system.

    A delivery status notification (RFC 3464) or a feedback report (RFC 5965), as it came.
    """
    return _keep(dsn.SOURCE, dsn.read(body))


@_by_service(
    "/inbound/ses",
    proof="The signature of Amazon SNS, of a topic of MAILER_SES_TOPICS.",
    raw=("text/plain", JSON),
    errors=_ASKS_LATER,
)
def by_ses(body: bytes) -> Kept:
    """Report by Amazon SES.

    As SNS posts it; a subscription is confirmed by itself.
    """
    topics: tuple[str, ...] = _setting("MAILER_SES_TOPICS")
    signers: sns.Signers = current().app.extensions[SIGNERS]
    message = sns.read(body)
    signers.check(message, topics)
    if message.Type == "Notification":
        return _keep(ses.SOURCE, _heard(lambda: ses.read(message.Message)))
    if message.Type == "SubscriptionConfirmation":
        signers.confirm(message)
    log.info("inbound source=ses type=%s topic=%s", message.Type, message.TopicArn)
    return _keep(ses.SOURCE, Heard([], ignored=1))


@_by_service(
    "/inbound/postmark",
    proof="HTTP basic authentication with MAILER_POSTMARK_TOKEN as the password.",
)
def by_postmark(body: bytes) -> Kept:
    """Report by Postmark."""
    token: str = _setting("MAILER_POSTMARK_TOKEN")
    given = request.authorization.password if request.authorization else None
    if not hmac.compare_digest((given or "").encode(errors="replace"), token.encode()):
        raise NotAuthentic("Authorization: expected MAILER_POSTMARK_TOKEN as the password")
    return _keep(postmark.SOURCE, _heard(lambda: postmark.read(body)))


@_by_service(
    "/inbound/sendgrid",
    proof="SendGrid's signature, which MAILER_SENDGRID_PUBLIC_KEY verifies.",
    headers={
        sendgrid.SIGNATURE_HEADER: {
            "description": "ECDSA of the timestamp and the body, in base64.",
            "type": "string",
        },
        sendgrid.TIMESTAMP_HEADER: {"description": "Seconds since 1970.", "type": "string"},
    },
)
def by_sendgrid(body: bytes) -> Kept:
    """Report by SendGrid."""
    sendgrid.check(
        body,
        key=_setting("MAILER_SENDGRID_PUBLIC_KEY"),
        signature=request.headers.get(sendgrid.SIGNATURE_HEADER, ""),
        timestamp=request.headers.get(sendgrid.TIMESTAMP_HEADER, ""),
        now=time.time(),
    )
    return _keep(sendgrid.SOURCE, _heard(lambda: sendgrid.read(body)))


@_by_service(
    "/inbound/mailgun",
    proof="Mailgun's signature in the body, made with MAILER_MAILGUN_SIGNING_KEY.",
)
def by_mailgun(body: bytes) -> Kept:
    """Report by Mailgun."""
    key: str = _setting("MAILER_MAILGUN_SIGNING_KEY")
    posted = mailgun.parse(body)
    mailgun.check(posted, key=key, now=time.time())
    return _keep(mailgun.SOURCE, _heard(lambda: mailgun.read(posted)))


def _setting(name: str) -> Any:
    if value := current().config[name]:
        return value
    raise ApiError(403, "not_configured", f"This was not set up: {name} is not set.")


def _heard(read: Callable[[], Heard]) -> Heard:
    """Return what a service says. What cannot be read now never can: it is not to be told again."""
    try:
        return read()
    except NotAReport as error:
        return Heard([], malformed=(str(error),))


def _keep(source: str, heard: Heard) -> Kept:
    reported = reporting.keep(current(), source, heard)
    return Kept(
        stored=reported.stored,
        known=reported.known,
        ignored=heard.ignored,
        malformed=len(heard.malformed),
    )
