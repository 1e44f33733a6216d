"""The blueprint: where the console is, and what each view says of who may use it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

from flask import Blueprint, Response, make_response, request

from . import access, given

console = Blueprint(
    "ops", __name__, url_prefix="/ops", template_folder="templates", static_folder="static"
)

# What comes from here alone, and nothing inline. Pictures of a preview stand in the page's address.
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


# Of a message in a frame. A stranger may have written it: nothing in it runs, nothing is fetched,
# and its origin is none of ours.
FRAME = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)


class View(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    """As Flask writes it, without ``/ops``."""
    role: str | None
    """The least that a member must be. None: anybody, also who is not signed in."""
    endpoint: str


VIEWS: list[View] = []
"""All of them, in the order in which they were defined."""

Answer = str | Response | tuple[str, int]


def view(
    method: str, path: str, *, role: str | None
) -> Callable[[Callable[..., Answer]], Callable[..., Response]]:
    """Mount a view for members who are at least a ``role``. Its endpoint is ``ops.`` and its name,
    so that names are unique in the console."""

    def mount(function: Callable[..., Answer]) -> Callable[..., Response]:
        name = function.__name__
        VIEWS.append(View(method, path, role, f"ops.{name}"))

        @wraps(function)
        def serve(**parameters: str) -> Response:
            if role is not None and (refused := access.refusal(role)):
                return refused
            return make_response(function(**parameters))

        console.add_url_rule(path, name, serve, methods=[method])
        return serve

    return mount


@console.before_request
def _check() -> None:
    given.refuse_nul(request)


@console.after_request
def _add_policy(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", _CSP)
    return response
