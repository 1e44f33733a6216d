"""The OpenAPI document and its page: complete, valid, and true."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from mailer import jobs
from mailer.api.openapi import document
from mailer.api.operations import OPERATIONS
from mailer.state import of

from ..inbound.reports import dsn

Call = Callable[..., Any]
HOOK: dict[str, Any] = {"endpoint": "https://127.0.0.1/mail-events", "events": ["email.queued"]}
FOUND = document("http://127.0.0.1/api")


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def page(client: FlaskClient) -> str:
    answer = client.get("/api/docs")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    return answer.get_data(as_text=True)


def described() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every operation of the document, with its method and path."""
    for path, operations in FOUND["paths"].items():
        for method, one in operations.items():
            yield f"{method.upper()} {path}", one


def test_the_document_keeps_to_the_standard(client: FlaskClient) -> None:
    answer = client.get("/api/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    found = answer.get_json()
    assert found["servers"] == [{"url": "http://app.example.com/api"}]
    validate(found)


def test_the_document_has_every_route_and_no_other(app: Flask) -> None:
    routes = {
        f"{method} {rule.rule.removeprefix('/api')}"
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    routes -= {"GET /docs", "GET /openapi.json"}
    paths = (re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", r"{\1}", route) for route in routes)
    assert {where for where, _ in described()} == set(paths)


def test_everything_that_a_request_may_say_is_described() -> None:
    missing = [
        f"{where} {parameter['name']}"
        for where, one in described()
        for parameter in one["parameters"]
        if not parameter["description"]
    ]
    schemas = FOUND["components"]["schemas"]
    for body in {one.body for one in OPERATIONS if one.body}:
        missing += [
            f"{body.__name__}.{name}"
            for name, field in schemas[body.__name__].get("properties", {}).items()
            if "description" not in field
        ]
    assert missing == []


def test_an_answer_is_never_null_by_the_document() -> None:
    answers = {one.answers.__name__ for one in OPERATIONS if one.answers} & set(
        FOUND["components"]["schemas"]
    )
    assert answers
    for name in answers:
        assert '"null"' not in json.dumps(FOUND["components"]["schemas"][name])


@pytest.mark.parametrize("path", ["/api/openapi.json", "/api/docs"])
def test_what_did_not_change_is_not_sent_again(client: FlaskClient, path: str) -> None:
    etag = client.get(path).headers["ETag"]
    again = client.get(path, headers={"If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")


def test_the_page_names_every_operation_and_leads_nowhere_else(page: str) -> None:
    text = unescape(re.sub(r"<[^>]+>", "", page))
    for where, one in described():
        assert f'id="{one["operationId"]}"' in page
        assert f'href="#{one["operationId"]}"' in page
        assert where in text
    anchors = set(re.findall(r' id="([^"]+)"', page))
    addresses = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert {one[1:] for one in addresses if one.startswith("#")} <= anchors
    assert {one for one in addresses if not one.startswith(("#", "/"))} == set()
    for forbidden in ("<script", "<style", " style=", " onclick="):
        assert forbidden not in page


def test_every_request_that_the_page_shows_works(
    app: Flask, address: str, call: Call, key: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "FILE").write_bytes(dsn())
    (tmp_path / "PEOPLE").write_text("email,start_url\nann@example.com,https://shop.example.com\n")
    app.config["MAILER_BASE_URL"] = address.removesuffix("/api")
    app.config["MAILER_WEBHOOK_ALLOW"] = ("127.0.0.1",)
    page = app.test_client().get("/api/docs").get_data(as_text=True)
    shown = re.findall(r'<code class="curl">(.*?)</code>', page, re.DOTALL)
    assert len(shown) == len([one for one in OPERATIONS if not one.proof])
    environ = {**os.environ, "RESEND_API_KEY": key()}
    for text in shown:
        command = unescape(re.sub(r"<[^>]+>", "", text))
        if "text/csv" in command:
            command = command.replace("@FILE", "@PEOPLE")
        made = _made(command, call)
        for name, value in made.items():
            command = command.replace(name, value)
        if "/start" in command:  # once it is checked
            with app.app_context():
                jobs.run(of(app), made["BULK_ID"], lambda told: None)
        done = subprocess.run(
            ["bash", "-c", f"{command} --silent --show-error --fail-with-body"],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert done.stdout


def _made(command: str, call: Call) -> dict[str, str]:
    """Return the names in a command that stand for things, with things to try it on."""
    # No name is known where the tests run.
    made: dict[str, str] = {"https://shop.example.com/mail-events": HOOK["endpoint"]}
    names = set(re.findall(r"(?<=/)[A-Z_]+\b", command))
    if names & {"EMAIL_ID", "ATTACHMENT_ID", "TOKEN"}:
        email = {
            "to": "b@example.com",
            "subject": "s",
            "text": "t",
            "scheduled_at": "in 1 day",
            "attachments": [{"filename": "a.txt", "content": "YQ=="}],
        }
        email_id = call("POST", "/emails", email)[1]["id"]
        (file,) = call("GET", f"/emails/{email_id}/attachments")[1]["data"]
        if "/retry" in command:
            call("POST", f"/emails/{email_id}/cancel")
        made |= {
            "ATTACHMENT_ID": file["id"],
            "EMAIL_ID": email_id,
            "TOKEN": file["download_url"].rpartition("/")[2],
        }
    if "API_KEY_ID" in names:
        made["API_KEY_ID"] = call("POST", "/api-keys", {"name": "shop"})[1]["id"]
    if "SUPPRESSION" in names:
        made["SUPPRESSION"] = call("POST", "/suppressions", {"email": "b@example.com"})[1]["id"]
    if "API_KEY_ID" in names:
        made["API_KEY_ID"] = call("POST", "/api-keys", {"name": "another"})[1]["id"]
    if "WEBHOOK_ID" in names:
        hook = call("POST", "/webhooks", HOOK)[1]["id"]
        call("POST", "/emails", {"to": "b@example.com", "subject": "s", "text": "t"})
        (event,) = call("GET", f"/webhooks/{hook}/events")[1]["data"]
        made |= {"WEBHOOK_ID": hook, "EVENT_ID": event["id"]}
    if names & {"BULK_ID", "TASK_ID"}:
        some = {"subject": "s", "text": "t", "recipients": [{"to": "b@example.com"}]}
        made["BULK_ID"] = made["TASK_ID"] = call("POST", "/bulk", some)[1]["id"]
    if "/templates/NAME" in command:
        made["NAME"] = "welcome"
    assert names <= set(made), f"say here how to make one: {names - set(made)}"
    return made
