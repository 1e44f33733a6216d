"""Answers of the routes that Resend has too, against Resend's own OpenAPI document.

It lies in tests/api/resend, with its licence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from flask import Flask

from mailer.api.operations import OPERATIONS
from mailer.api.schemas.emails import LAST_EVENTS

Call = Callable[..., Any]
Case = Callable[[Call], tuple[int, Any]]

THEIRS = yaml.safe_load((Path(__file__).parent / "resend" / "resend.yaml").read_text())

DIFFERENT = {
    ("PATCH /emails/{}", "scheduled_at"): "The document has the question here; the SDKs know "
    "{object, id}.",
    ("POST /emails/{}/cancel", "*"): "The document has the whole email here; the SDKs know "
    "{object, id}.",
    **dict.fromkeys(
        (
            ("GET /templates/{}", name)
            for name in ("current_version_id", "has_unpublished_versions")
        ),
        "Our templates are files: what is there is published.",
    ),
    **dict.fromkeys(
        (("GET /templates/{}", name) for name in ("from", "reply_to")),
        "Our templates do not say whom they come from; who sends does.",
    ),
    **dict.fromkeys(
        (
            ("GET /templates/{}", f"variables[].{name}")
            for name in ("id", "created_at", "updated_at", "fallback_value")
        ),
        "A variable is what the sources of a template name. Its default is in the source.",
    ),
}
"""Fields of an answer that ours lacks or has otherwise, and why. ``*``: all that are missing."""

ERRORS = {
    400: "invalid_idempotency_key",
    401: "missing_api_key",
    403: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    409: "invalid_idempotent_request",
    422: "validation_error",
}
"""Names that its SDKs have for each status. The document has no errors."""


def where(method: str, path: str) -> str:
    """Return an operation, without the names of its parameters."""
    return f"{method.upper()} {re.sub(r'<[^>]+>|{[^}]+}', '{}', path)}"


OURS = {where(one.method, one.path) for one in OPERATIONS}
SHARED = {
    where(method, path): operation
    for path, operations in THEIRS["paths"].items()
    for method, operation in operations.items()
    if where(method, path) in OURS
}


def email(**more: Any) -> dict[str, Any]:
    return {"from": "A <a@example.com>", "to": "b@example.com", "subject": "s", "text": "t", **more}


def sent(call: Call, **more: Any) -> str:
    status, answer = call("POST", "/emails", email(**more))
    assert status == 200, answer
    return str(answer["id"])


def made(call: Call, path: str, body: Any) -> str:
    status, answer = call("POST", path, body)
    assert status == 201, answer
    return str(answer["id"])


def webhook(call: Call) -> str:
    hook = {"endpoint": "https://127.0.0.1/hook", "events": ["email.sent"]}
    return made(call, "/webhooks", hook)


def suppression(call: Call) -> str:
    return made(call, "/suppressions", {"email": "gone@example.com"})


def api_key(call: Call) -> str:
    return made(call, "/api-keys", {"name": "another"})


def attached(call: Call) -> str:
    return sent(call, attachments=[{"filename": "a.txt", "content": "aGk=", "content_id": "a"}])


def first_attachment(call: Call) -> tuple[int, Any]:
    path = f"/emails/{attached(call)}/attachments"
    found: tuple[int, Any] = call("GET", f"{path}/{call('GET', path)[1]['data'][0]['id']}")
    return found


GONE = {"emails": ["gone@example.com"]}


def removed(call: Call) -> tuple[int, Any]:
    suppression(call)
    found: tuple[int, Any] = call("POST", "/suppressions/batch/remove", GONE)
    return found


def listed(call: Call, path: str, make: Callable[[Call], str]) -> tuple[int, Any]:
    """Return a list that has something in it."""
    make(call)
    found: tuple[int, Any] = call("GET", path)
    assert found[1]["data"]
    return found


CASES: dict[str, Case] = {
    "POST /emails": lambda call: call("POST", "/emails", email()),
    "POST /emails/batch": lambda call: call("POST", "/emails/batch", [email(), email()]),
    "GET /emails": lambda call: listed(call, "/emails", sent),
    "GET /emails/{}": lambda call: call("GET", f"/emails/{sent(call, scheduled_at='in 1 hour')}"),
    "PATCH /emails/{}": lambda call: call(
        "PATCH", f"/emails/{sent(call, scheduled_at='in 1 hour')}", {"scheduled_at": "in 2 hours"}
    ),
    "POST /emails/{}/cancel": lambda call: call("POST", f"/emails/{sent(call)}/cancel"),
    "GET /emails/{}/attachments": lambda call: call("GET", f"/emails/{attached(call)}/attachments"),
    "GET /emails/{}/attachments/{}": first_attachment,
    "GET /templates": lambda call: call("GET", "/templates"),
    "GET /templates/{}": lambda call: call("GET", "/templates/welcome"),
    "POST /api-keys": lambda call: call("POST", "/api-keys", {"name": "another"}),
    "GET /api-keys": lambda call: listed(call, "/api-keys", api_key),
    "PATCH /api-keys/{}": lambda call: call("PATCH", f"/api-keys/{api_key(call)}", {"name": "b"}),
    "DELETE /api-keys/{}": lambda call: call("DELETE", f"/api-keys/{api_key(call)}"),
    "POST /webhooks": lambda call: call(
        "POST", "/webhooks", {"endpoint": "https://127.0.0.1/h", "events": ["email.sent"]}
    ),
    "GET /webhooks": lambda call: listed(call, "/webhooks", webhook),
    "GET /webhooks/{}": lambda call: call("GET", f"/webhooks/{webhook(call)}"),
    "PATCH /webhooks/{}": lambda call: call(
        "PATCH", f"/webhooks/{webhook(call)}", {"status": "disabled"}
    ),
    "DELETE /webhooks/{}": lambda call: call("DELETE", f"/webhooks/{webhook(call)}"),
    "POST /suppressions": lambda call: call("POST", "/suppressions", {"email": "a@example.com"}),
    "GET /suppressions": lambda call: listed(call, "/suppressions", suppression),
    "GET /suppressions/{}": lambda call: call("GET", f"/suppressions/{suppression(call)}"),
    "DELETE /suppressions/{}": lambda call: call("DELETE", f"/suppressions/{suppression(call)}"),
    "POST /suppressions/batch/add": lambda call: call("POST", "/suppressions/batch/add", GONE),
    "POST /suppressions/batch/remove": removed,
}


@pytest.fixture(autouse=True)
def webhooks_may_be_here(app: Flask) -> None:
    app.config["MAILER_WEBHOOK_ALLOW"] = ("127.0.0.1",)


@pytest.mark.parametrize("operation", sorted(SHARED))
def test_an_answer_is_what_resends_document_says(call: Call, operation: str) -> None:
    assert operation in CASES, "say here how it is asked"
    (expected, response), *_ = SHARED[operation]["responses"].items()
    status, body = CASES[operation](call)
    assert status == int(expected), body
    schema = {**_as_json_schema(response["content"]["application/json"]["schema"])}
    schema["components"] = _as_json_schema(THEIRS["components"])
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(body)

    known = {field for one, field in DIFFERENT if one == operation}
    missing = set(_missing(schema, schema, body))
    assert missing if "*" in known else missing == known, missing


@pytest.mark.parametrize("status", ERRORS)
def test_an_error_is_one_that_resends_sdks_know(call: Call, status: int) -> None:
    unknown = "/emails/00000000-0000-7000-8000-000000000000"
    call("POST", "/emails", email(), **{"Idempotency-Key": "once"})
    asked: dict[int, Callable[[], Any]] = {
        400: lambda: call("POST", "/emails", email(), **{"Idempotency-Key": "x" * 257}),
        401: lambda: call("GET", "/emails", Authorization=""),
        403: lambda: call("GET", "/emails", token="mk_unknown"),
        404: lambda: call("GET", unknown),
        405: lambda: call("PUT", "/emails", email()),
        409: lambda: call("POST", "/emails", email(text="u"), **{"Idempotency-Key": "once"}),
        422: lambda: call("POST", "/emails", {}),
    }
    answered, body = asked[status]()
    assert (answered, body["statusCode"], body["name"]) == (status, status, ERRORS[status])
    assert set(body) == {"statusCode", "name", "message"}
    assert body["message"]


def test_an_email_has_last_events_of_resend_and_two_of_ours() -> None:
    theirs = THEIRS["components"]["schemas"]["Email"]["properties"]["last_event"]["enum"]
    # Nobody knows whether it arrived; it was not sent before its time was over.
    assert LAST_EVENTS - set(theirs) == {"unknown", "expired"}


def test_every_difference_is_of_a_route_that_both_have() -> None:
    assert {operation for operation, _ in DIFFERENT} <= set(SHARED)


def _as_json_schema(schema: Any) -> Any:
    """Write ``nullable: true`` of OpenAPI 3.0, which is here and there, as JSON Schema has it."""
    if isinstance(schema, list):
        return [_as_json_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    written = {name: _as_json_schema(one) for name, one in schema.items() if name != "nullable"}
    if schema.get("nullable") is True:
        return {"anyOf": [written, {"type": "null"}]}
    return written


def _missing(schema: Any, root: Any, body: Any, place: str = "") -> Iterator[str]:
    """Yield the fields that the schema has and the body has not."""
    if "$ref" in schema:
        found = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        yield from _missing(found, root, body, place)
    if isinstance(body, list):
        for one in body:
            yield from _missing(schema.get("items", {}), root, one, f"{place}[]")
    if isinstance(body, dict):
        for name, inner in schema.get("properties", {}).items():
            field = f"{place}.{name}".lstrip(".")
            if name in body:
                yield from _missing(inner, root, body[name], field)
            else:
                yield field
