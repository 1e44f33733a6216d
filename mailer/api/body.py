"""The body of a request: of a type that is expected, and JSON that says everything once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from .errors import ApiError

JSON = "application/json"
_CHUNK_BYTES = 65_536


def read(*types: str) -> bytes:
    """Return the body. Raises ApiError unless it is said to be of one of the media types, and
    plain."""
    _check_type(types)
    body = request.get_data()
    if request.content_length is None:
        # Of a body that does not say its length Werkzeug leaves off what is too much.
        if len(body) >= (request.max_content_length or 0):
            raise RequestEntityTooLarge
    elif len(body) < request.content_length:
        raise _broken_off()
    return body


def _check_type(types: tuple[str, ...]) -> None:
    if request.mimetype not in types:
        expected, given = " or ".join(types), request.mimetype or "none"
        message = f"Content-Type: expected {expected}, got {given}"
        raise ApiError(415, "unsupported_media_type", message)
    encoding = request.headers.get("Content-Encoding") or "identity"
    if encoding.lower() != "identity":
        message = f"Content-Encoding: expected identity or none, got {encoding[:64]!r}"
        plain = {"Accept-Encoding": "identity"}  # so RFC 9110, 15.5.16
        raise ApiError(415, "unsupported_media_type", message, plain)


def _broken_off() -> ApiError:
    return ApiError(400, "invalid_request", "The body ended before its Content-Length.")


def stream(*types: str, max_bytes: int) -> Iterator[bytes]:
    """Yield the body as it comes, for what is too large to be held. Raises as `read` does."""
    _check_type(types)
    request.max_content_length = max_bytes
    size, body = 0, request.stream
    while chunk := body.read(_CHUNK_BYTES):
        size += len(chunk)
        if request.content_length is None and size >= max_bytes:
            raise RequestEntityTooLarge
        yield chunk
    if size < (request.content_length or 0):
        raise _broken_off()


def check_once(body: bytes) -> None:
    """Raise ApiError where JSON has a name twice: of two readers one may go by the first value,
    another by the last."""
    try:
        _read_once(body.decode())
    except (ValueError, RecursionError):
        pass  # pydantic says what is wrong, and where


def _object(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        shown = twice[:64].encode("ascii", "backslashreplace").decode()
        raise ApiError(422, "validation_error", f"body: expected {shown!r} once in an object")


# Numbers stay text: one of a million digits would take a minute to read.
_read_once = json.JSONDecoder(object_pairs_hook=_object, parse_int=str, parse_float=str).decode
