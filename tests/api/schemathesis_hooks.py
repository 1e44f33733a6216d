"""What schemathesis has to be told in Python. It loads this itself: see schemathesis.toml."""

from __future__ import annotations

import json
import os
from typing import Any

import schemathesis

from mailer.api.examples import ID

UNKNOWN = "00000000-0000-7000-8000-000000000000"
EXISTING: dict[str, str] = json.loads(os.environ["EXISTING"])
"""Parameter -> the id of a thing that there is."""


@schemathesis.serializer("message/rfc822", "text/csv", "application/x-ndjson")
def as_it_is(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]
) -> None:
    """Give it things to ask about, and keep it from revoking the key that it asks with."""
    given = case.path_parameters
    if given.get("api_key_id") == os.environ["KEY_ID"]:
        given["api_key_id"] = UNKNOWN
    if case.method != "DELETE":
        for name in EXISTING.keys() & given.keys():
            if given[name] == ID:
                given[name] = EXISTING[name]
