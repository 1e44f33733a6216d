"""Where the HTTP API is mounted."""

from __future__ import annotations

from flask import Blueprint
from werkzeug.routing import BaseConverter

api = Blueprint("api", __name__, url_prefix="/api")


class Id(BaseConverter):
    """A UUID in a path, as text: ``/emails/<id:email_id>``.

    It does not match the other paths at that place, such as ``/emails/batch``, which would then
    be said to take the methods of both.
    """

    regex = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
