"""``/bulk``: one email to each of many recipients, checked first."""

from __future__ import annotations

import json
import uuid
from typing import Any

import sqlalchemy as sa
from flask import Response, request, stream_with_context

from ... import addresses, bulk
from ...bulk import Upload
from ...drafting import Request
from ...errors import NotFound
from ...ledger.record import uuid7
from ...state import current
from .. import idempotency
from ..allowance import check_sender, count, limit
from ..authentication import actor, key, sees_job
from ..body import stream
from ..operations import operation
from ..schemas.base import ListOf, Page
from ..schemas.bulk import (
    Bulk,
    BulkId,
    Cancel,
    ChangedBulk,
    LeftOut,
    SendBulk,
    SendFile,
    Start,
    WholeBulk,
)

_CSV = "text/csv"
_JSON_LINES = "application/x-ndjson"
_REFUSED = {
    400: idempotency.MALFORMED,
    403: "The API key may not send as this sender, with this template or in this lane.",
    409: "The Idempotency-Key was used before, for a request with another body.",
    429: "The API key has sent as many emails as it may, for now.",
}
_AS_IT_IS = {409: "It cannot be, as things are; the message says why."}


@operation(
    "POST",
    "/bulk",
    scope="send",
    body=SendBulk,
    answers=BulkId,
    headers=idempotency.HEADER,
    errors=_REFUSED,
    test_keys=True,
)
def create(body: SendBulk) -> BulkId:
    """Send in bulk.

    Rows that are bad do not fail the request: the check tells of them. A key's limits hold for
    each recipient, and all of them count for its rate at once.
    """
    lines = (json.dumps(one).encode() + b"\n" for one in body.recipients)
    upload = Upload("", lines, is_csv=False)
    return _create(Request(**body.arguments()), upload, body)


@operation(
    "POST",
    "/bulk/file",
    scope="send",
    raw=(_CSV, _JSON_LINES),
    streamed=True,
    query=SendFile,
    answers=BulkId,
    headers=idempotency.HEADER,
    errors=_REFUSED,
    test_keys=True,
)
def create_of_file(query: SendFile) -> BulkId:
    """Send a file in bulk.

    CSV with a header, or an object of JSON on each line: `email`, `name`, `locale`, and a column
    for each variable of the template.
    """
    chunks = stream(_CSV, _JSON_LINES, max_bytes=current().config["MAILER_MAX_BULK_BYTES"])
    upload = Upload(query.name, chunks, is_csv=request.mimetype == _CSV)
    return _create(Request(**query.arguments()), upload, query)


@operation("GET", "/bulk", scope="read", query=Page, answers=ListOf[Bulk])
def list_bulk(query: Page) -> ListOf[Bulk]:
    """List bulk sends.

    The newest first; to a key with limits, its own.
    """
    rows, has_more = current().ledger.jobs(
        query.limit,
        query.after,
        query.before,
        kind=bulk.KIND,
        key_id=key().id if key().is_limited else None,
    )
    return ListOf[Bulk](has_more=has_more, data=[Bulk.of(row) for row in rows])


@operation("GET", "/bulk/<id:bulk_id>", scope="read", answers=WholeBulk, test_keys=True)
def get(bulk_id: str) -> WholeBulk:
    """Get a bulk send.

    With the rows that its check found not to be mailed.
    """
    job = _find(bulk_id)
    left_out = current().ledger.left_out(bulk_id, bulk.PROBLEMS_SHOWN)
    return WholeBulk.of(job, left_out=LeftOut.all(left_out))


@operation(
    "POST",
    "/bulk/<id:bulk_id>/start",
    scope="send",
    query=Start,
    answers=ChangedBulk,
    errors=_AS_IT_IS,
    test_keys=True,
)
def start(bulk_id: str, query: Start) -> ChangedBulk:
    """Start a bulk send.

    Once it was checked. While rows are bad only with `skip_bad`.
    """
    _find(bulk_id)
    started = bulk.start(current(), bulk_id, actor=actor(), skip_bad=query.skip_bad)
    return ChangedBulk(id=bulk_id, changed=started)


@operation("POST", "/bulk/<id:bulk_id>/pause", scope="manage", answers=ChangedBulk, test_keys=True)
def pause(bulk_id: str) -> ChangedBulk:
    """Pause a bulk send.

    What was accepted is sent.
    """
    _find(bulk_id)
    return ChangedBulk(id=bulk_id, changed=bulk.pause(current(), bulk_id, actor=actor()))


@operation("POST", "/bulk/<id:bulk_id>/resume", scope="manage", answers=ChangedBulk, test_keys=True)
def resume(bulk_id: str) -> ChangedBulk:
    """Resume a bulk send."""
    _find(bulk_id)
    return ChangedBulk(id=bulk_id, changed=bulk.resume(current(), bulk_id, actor=actor()))


@operation(
    "POST",
    "/bulk/<id:bulk_id>/cancel",
    scope="manage",
    query=Cancel,
    answers=ChangedBulk,
    test_keys=True,
)
def cancel(bulk_id: str, query: Cancel) -> ChangedBulk:
    """Cancel a bulk send.

    It ends at once and for good. With `unsent` what was accepted and is still queued is cancelled
    too.
    """
    _find(bulk_id)
    done = bulk.cancel(current(), bulk_id, unsent=query.unsent, actor=actor())
    return ChangedBulk(id=bulk_id, changed=done)


@operation("GET", "/bulk/<id:bulk_id>/report", scope="read", answers=None, test_keys=True)
def report(bulk_id: str) -> Response:
    """Get the report.

    CSV with what became of each row of the file, at this moment.
    """
    _find(bulk_id)
    rows = stream_with_context(bulk.written(bulk.report(current(), bulk_id)))
    name = f"attachment; filename=bulk-{bulk_id}.csv"
    return Response(rows, mimetype=_CSV, headers={"Content-Disposition": name})


def _create(asked: Request, upload: Upload, given: SendBulk | SendFile) -> BulkId:
    limit(asked, asked.template)
    _check_sender(asked)
    again = idempotency.key()
    bulk_id = str(uuid.uuid5(uuid.NAMESPACE_OID, again)) if again else uuid7()
    bulk.create(
        current(),
        bulk_id,
        asked,
        upload,
        actor=actor(),
        key_id=key().id,
        confirm=given.confirm,
        skip_bad=given.skip_bad,
        only_to=key().recipients,
        admit=count,
    )
    return BulkId(id=bulk_id)


def _check_sender(asked: Request) -> None:
    config = current().config
    sender = asked.sender or config["MAIL_DEFAULT_SENDER"]
    allow_test = config["MAILER_ALLOW_TEST_DOMAINS"]
    try:
        check_sender(addresses.parse(sender, allow_test_domains=allow_test).email)
    except ValueError:
        pass  # it is refused as any wrong sender is


def _find(bulk_id: str) -> sa.Row[Any]:
    """Return the job of a bulk send that the key sees: a test key sees what test keys sent, and one
    with limits what it sent itself."""
    job = bulk.find(current(), bulk_id)
    is_hidden = key().is_test and not job.details["request"]["is_test"]
    if is_hidden or not sees_job(job):
        raise NotFound(f"there is no bulk send {bulk_id!r}")
    return job
