"""Who signed what SendGrid and Mailgun post, and when."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from mailer.errors import NotAuthentic
from mailer.inbound import mailgun, sendgrid

from . import reports

BODY = b'[{"event": "delivered"}]\r\n'
KEY = "a signing key of Mailgun"


@pytest.fixture(scope="module")
def service() -> reports.SendGrid:
    return reports.SendGrid()


def check_sendgrid(key: str, headers: dict[str, str], body: bytes = BODY) -> None:
    sendgrid.check(
        body,
        key=key,
        signature=headers[sendgrid.SIGNATURE_HEADER],
        timestamp=headers[sendgrid.TIMESTAMP_HEADER],
        now=time.time(),
    )


def test_sendgrids_signature_is_of_the_time_and_the_bytes(service: reports.SendGrid) -> None:
    headers = service.headers(BODY)
    check_sendgrid(service.key, headers)
    later = {**headers, sendgrid.TIMESTAMP_HEADER: str(int(time.time()) + 1)}
    garbled = {**headers, sendgrid.SIGNATURE_HEADER: "%%%"}
    for wrong, body in ((headers, BODY.strip()), (later, BODY), (garbled, BODY)):
        with pytest.raises(NotAuthentic, match="Signature"):
            check_sendgrid(service.key, wrong, body)
    with pytest.raises(NotAuthentic, match="Signature"):
        check_sendgrid(reports.SendGrid().key, headers)


@pytest.mark.parametrize("age", [100_000, -100_000])
def test_sendgrids_signature_of_another_day_is_refused(
    service: reports.SendGrid, age: float
) -> None:
    with pytest.raises(NotAuthentic, match="Timestamp"):
        check_sendgrid(service.key, service.headers(BODY, age=age))


def test_sendgrid_may_try_for_a_day(service: reports.SendGrid) -> None:
    check_sendgrid(service.key, service.headers(BODY, age=86_400))


def check_mailgun(posted: Any, key: str = KEY) -> None:
    mailgun.check(mailgun.parse(json.dumps(posted).encode()), key=key, now=time.time())


def test_mailguns_signature_is_of_time_and_token() -> None:
    posted = reports.mailgun(key=KEY)
    check_mailgun(posted)
    check_mailgun(reports.mailgun(key=KEY, age=8 * 3600))
    with pytest.raises(NotAuthentic, match="signature"):
        check_mailgun(posted, "another signing key")
    for field, value in (("token", "b" * 50), ("timestamp", "1"), ("signature", "é")):
        changed = {**posted, "signature": {**posted["signature"], field: value}}
        with pytest.raises(NotAuthentic, match="signature"):
            check_mailgun(changed)


@pytest.mark.parametrize("age", [100_000, -100_000])
def test_mailguns_signature_of_another_day_is_refused(age: float) -> None:
    with pytest.raises(NotAuthentic, match="timestamp"):
        check_mailgun(reports.mailgun(key=KEY, age=age))


def test_no_worker_loads_what_checks_signatures() -> None:
    names = "('cryptography.hazmat', 'cryptography.x509', 'pydantic', 'mailer.inbound.ses')"
    code = f"import sys, mailer.tasks; print([one for one in {names} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
