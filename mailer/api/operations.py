"""Operations: what a route of the HTTP API takes and answers, said once.

From it a request is checked, an answer is written, and the OpenAPI document is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import wraps
from threading import Lock
from typing import Any, NamedTuple

from flask import Response, g, request
from pydantic import BaseModel

from ..state import current
from .authentication import authenticate, check_sees
from .blueprint import api
from .body import JSON, check_once, read
from .errors import ApiError


class Operation(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    """As Flask writes it: ``/emails/<email_id>``."""
    scope: str | None
    """Which scope a key needs. None: no key is asked for."""
    body: type[BaseModel] | None
    query: type[BaseModel] | None
    headers: Mapping[str, Mapping[str, Any]]
    """Header -> its JSON schema, with what it is for as ``description``."""
    answers: type[BaseModel] | None
    """None: a file."""
    status: int
    """Of an answer that says yes."""
    errors: Mapping[int, str]
    """Status -> when, for those that are not every operation's."""
    summary: str
    """The first line of the view's docstring."""
    description: str
    """The rest of it."""
    group: str
    """What it is listed under: the name of the view's module."""
    about: str
    """The first line of that module's docstring, after the address that it begins with."""
    name: str
    """The view's."""
    raw: tuple[str, ...]
    """Media types of a body that is not ``body``: the view gets its bytes."""
    proof: str
    """What proves who asks, where no key is asked for; empty: nothing needs to."""


_TURN_SECONDS = 5.0
OPERATIONS: list[Operation] = []
"""All of them, in the order in which they were defined."""


def operation(
    method: str,
    path: str,
    *,
    scope: str | None,
    answers: type[BaseModel] | None,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    headers: Mapping[str, Mapping[str, Any]] | None = None,
    status: int = 200,
    errors: Mapping[int, str] | None = None,
    test_keys: bool = False,
    raw: tuple[str, ...] = (),
    proof: str = "",
    max_bytes: int | None = None,
    in_turn: bool = False,
    streamed: bool = False,
) -> Callable[[Callable[..., BaseModel | Response]], Callable[..., Response]]:
    """Mount a view that takes the path's parameters, and ``body`` and ``query`` checked, by name;
    what it returns is the answer. ``test_keys``: what it is about is test mail or nobody's, or it
    knows the difference; other operations are closed to test keys. ``max_bytes``: of a request,
    where it is less than others'. ``in_turn``: with SQLite one request at a time in a process, for
    what is long work of the interpreter and then a long write: threads that do it at once wait for
    each other in the middle of writing, and other processes' writers with them. ``streamed``: the
    view reads a body that is ``raw`` itself."""
    turn = Lock() if in_turn else None

    def mount(view: Callable[..., BaseModel | Response]) -> Callable[..., Response]:
        group = view.__module__.rpartition(".")[2]
        summary, _, description = (view.__doc__ or "").partition("\n")
        about = (sys.modules[view.__module__].__doc__ or "").partition("\n")[0]
        about = about.rpartition("``: ")[2]
        OPERATIONS.append(
            Operation(
                method=method,
                path=path,
                scope=scope,
                body=body,
                query=query,
                headers=headers or {},
                answers=answers,
                status=status,
                errors=errors or {},
                summary=summary,
                description=" ".join(description.split()),
                group=group,
                about=about,
                name=view.__name__,
                raw=raw,
                proof=proof,
            )
        )

        @wraps(view)
        def serve(**parameters: str) -> Response:
            _refuse_nul()
            given: dict[str, Any] = dict(parameters)
            if max_bytes is not None:
                request.max_content_length = max_bytes
            if scope is not None:
                g.mailer_key = authenticate(scope, test_keys=test_keys)
                check_sees(g.mailer_key, parameters.get("email_id"))
            if query is not None:
                given["query"] = query.model_validate(request.args.to_dict())
            is_read = (raw and not streamed) or body is not None
            content = read(*raw or (JSON,)) if is_read else b""
            with _taken(turn) if turn and current().database.is_sqlite else nullcontext():
                if body is not None:
                    check_once(content)
                    given["body"] = body.model_validate_json(content)
                elif is_read:
                    given["body"] = content
                answer = view(**given)
            if isinstance(answer, Response):
                return answer
            written = answer.model_dump_json(by_alias=True, exclude_none=True)
            return Response(written, status, mimetype=JSON)

        api.add_url_rule(path, f"{group}_{view.__name__}", serve, methods=[method])
        return serve

    return mount


@contextmanager
def _taken(turn: Lock) -> Iterator[None]:
    """Wait for the turn, but not for long: it makes things faster, and nothing needs it."""
    taken = turn.acquire(timeout=_TURN_SECONDS)
    try:
        yield
    finally:
        if taken:
            turn.release()


def _refuse_nul() -> None:
    """Refuse what PostgreSQL cannot even look for."""
    if "\0" in request.path:
        raise ApiError(404, "not_found", "There is nothing whose name has a NUL in it.")
    if b"%00" in request.query_string:
        raise ApiError(422, "validation_error", "query: expected no NUL")
