"""Which part of a list: what is no id is refused everywhere, and an id that is gone is a place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from mailer.state import of

Call = Callable[..., Any]
EMAIL = {"from": "a@example.com", "to": "b@example.com", "subject": "s", "text": "t"}
OLD = "00000000-0000-7000-8000-000000000000"
YOUNG = "ffffffff-ffff-7fff-8fff-ffffffffffff"


@pytest.fixture
def lists(app: Flask, call: Call) -> dict[str, str]:
    """Return the path of each list that goes by ids, and an id that is none of its own."""
    file = {"filename": "a.txt", "content": "aGk="}
    email = call("POST", "/emails", {**EMAIL, "attachments": [file]})[1]["id"]
    app.config["MAILER_WEBHOOK_ALLOW"] = ("127.0.0.1",)
    webhook = {"endpoint": "http://127.0.0.1:9/", "events": ["email.sent"]}
    hook = call("POST", "/webhooks", webhook)[1]["id"]
    return {
        "/emails": "019a5c1e",
        "/api-keys": "019a5c1e",
        "/suppressions": "019a5c1e",
        "/webhooks": "019a5c1e",
        f"/webhooks/{hook}/events": "msg_019a5c1e",
        f"/emails/{email}/attachments": "019a5c1e",
    }


@pytest.mark.parametrize("name", ["after", "before"])
@pytest.mark.parametrize("value", ["zzz", "", "0", f"{OLD}%0a", OLD.upper() + "A", "x" * 900])
def test_what_is_no_id_is_named_and_refused(
    call: Call, lists: dict[str, str], name: str, value: str
) -> None:
    for path, example in lists.items():
        status, answer = call("GET", f"{path}?{name}={value}")
        assert (status, answer["name"]) == (422, "validation_error"), path
        shown = value.replace("%0a", "\n")[:64]
        assert answer["message"].startswith(f"{name}: expected an id such as {example}")
        assert answer["message"].endswith(f", got {shown!r}")


def test_an_id_that_nothing_has_any_more_is_a_place_in_the_list(app: Flask, call: Call) -> None:
    ids = [
        call("POST", "/emails", {**EMAIL, "to": f"{number}@example.com"})[1]["id"]
        for number in range(3)
    ]
    of(app).ledger.purge("1@example.com", actor="test")
    for query, expected in (
        (f"after={ids[1]}", [ids[0]]),
        (f"before={ids[1]}", [ids[2]]),
        (f"after={YOUNG}", [ids[2], ids[0]]),
        (f"after={OLD}", []),
        (f"before={OLD}", [ids[2], ids[0]]),
        (f"before={YOUNG}", []),
    ):
        status, answer = call("GET", f"/emails?{query}")
        assert (status, [one["id"] for one in answer["data"]]) == (200, expected), query
