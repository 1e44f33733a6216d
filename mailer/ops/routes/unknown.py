"""Addresses without a page: those that forms are sent to, and mistyped ones."""

from __future__ import annotations

from pathlib import PurePosixPath

from flask import current_app, make_response, redirect, request, url_for
from werkzeug.exceptions import NotFound

from ..blueprint import Answer, console, view


@view("GET", "/<path:unknown>", role="viewer")
def unknown(unknown: str) -> Answer:
    """Lead to the page around a form: its address stands in the address bar of whoever reloads what
    it was answered with, or had to sign in again."""
    addresses = current_app.create_url_adapter(request)
    if addresses is None or "POST" not in addresses.allowed_methods(request.path):
        raise NotFound("There is no page at this address.")
    around = url_for("ops.overview")
    for parent in map(str, PurePosixPath(request.path).parents):
        if parent == console.url_prefix:
            break
        endpoint, values = addresses.match(parent, "GET")
        if endpoint != request.endpoint:
            around = url_for(endpoint, **values)
            break
    return make_response(redirect(around, 303))
