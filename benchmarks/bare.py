"""The least that a JSON route of Flask can do with an email: check its form, store one row.

The same pydantic model, the same database with the same durability, gunicorn; no key, no further
check, no delivery, no index but the key's, no wake-up, no log.
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from flask import Flask, Response, jsonify, request

from mailer.api.schemas.sending import SendEmail
from mailer.config import load
from mailer.db import Database

EMAILS = sa.Table(
    "bare_emails",
    sa.MetaData(),
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("body", sa.Text),
)


def create_app() -> Flask:
    app = Flask("bare")
    app.config.from_prefixed_env()
    load(app.config)
    database = Database(
        app.config["MAILER_DATABASE_URL"],
        sqlite_synchronous=app.config["MAILER_SQLITE_SYNCHRONOUS"],
    )
    EMAILS.create(database.engine, checkfirst=True)
    database.close()

    @app.post("/api/emails")
    def send() -> Response:
        body = request.get_data()
        SendEmail.model_validate_json(body)
        email_id = str(uuid.uuid4())
        with database.engine.begin() as connection:
            connection.execute(EMAILS.insert().values(id=email_id, body=body.decode()))
        return jsonify(id=email_id)

    return app
