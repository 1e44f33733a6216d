"""``/openapi.json`` and ``/docs``: the API as programs and as people read it."""

from __future__ import annotations

import json
from functools import lru_cache

from flask import Response, current_app, render_template, request

from .blueprint import api
from .body import JSON
from .openapi import document
from .reference import groups


@api.get("/openapi.json")
def openapi() -> Response:
    """Return the OpenAPI document. Anybody may have it: it tells nothing of what is stored."""
    return _answer(_written(_base()), JSON)


@api.get("/docs")
def docs() -> Response:
    """Return the same as a page."""
    product = current_app.config["MAILER_PRODUCT_NAME"]
    return _answer(_page(_base(), product, request.script_root), "text/html")


def _base() -> str:
    return f"{current_app.config['MAILER_BASE_URL'].rstrip('/')}{api.url_prefix}"


@lru_cache(maxsize=4)
def _written(base: str) -> bytes:
    return json.dumps(document(base), ensure_ascii=False, separators=(",", ":")).encode()


@lru_cache(maxsize=4)
def _page(base: str, product: str, _root: str) -> bytes:  # `url_for` writes the root
    found = document(base)
    page = render_template(
        "docs.html", document=found, base=base, product_name=product, groups=groups(found)
    )
    return page.encode()


def _answer(body: bytes, mimetype: str) -> Response:
    response = Response(body, mimetype=mimetype)
    response.headers["Cache-Control"] = "no-cache"  # may be kept, but is asked for each time
    response.add_etag()
    response.make_conditional(request)
    return response
