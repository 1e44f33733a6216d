"""A foreign app on the extension: its own signal, its own template, its own make_celery."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from blinker import Namespace
from flask import Flask

from mailer import Mailer, dispatch

order_placed = Namespace().signal("order-placed")


def create_app() -> Flask:
    """Make the shop; its templates are in the folder that the test wrote."""
    app = Flask("shop", template_folder=str(Path(os.environ["SHOP_TEMPLATES"])))
    app.config.from_prefixed_env()
    Mailer(app)
    return app


@order_placed.connect
def thank(app: Flask, *, customer: str, number: int, **_: Any) -> None:
    """Mail the customer; the code that sends the signal knows nothing of it."""
    dispatch("thank_you", to=customer, context={"number": number})


flask_app = create_app()
celery_app = flask_app.extensions["celery"]
