"""Signals: what happened, for whoever wants to know. The sender is always the Flask app.

Receive them with ``signal.connect(receiver, sender=app)``; a receiver takes the arguments below
by name and ``**_`` for those that may be added later.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

from blinker import Namespace, Signal
from flask import Flask

log = logging.getLogger(__name__)

_signals = Namespace()

# Account flows. They are sent inside the transaction that makes the change: `session` is its
# SQLAlchemy session. What a receiver stores with it is stored together with the change, or not at
# all; an exception from a receiver rolls the change back.

user_signed_up = _signals.signal(
    "user_signed_up", doc="A user was stored, not confirmed yet: ``user_id``, ``session``."
)

sign_up_repeated = _signals.signal(
    "sign_up_repeated",
    doc="Somebody signed up with the address of an account: ``address``, ``session``.",
)

address_confirmed = _signals.signal(
    "address_confirmed",
    doc="A user opened the link that was mailed to the address: ``user_id``, ``session``.",
)

password_reset_requested = _signals.signal(
    "password_reset_requested",
    doc="""Somebody asked to reset the password of ``address``; ``session``.

    Also sent for an address without an account: the flow does not look, so that its answer and
    the time it takes tell nothing about who has one.
    """,
)

password_changed = _signals.signal(
    "password_changed", doc="A user has a new password: ``user_id``, ``session``."
)

# The dispatcher. They are sent after the transaction was committed, so nothing that a receiver
# does or raises changes what happened.

email_queued = _signals.signal(
    "email_queued", doc="An email was accepted: ``email`` (`mailer.models.Email`)."
)

# The next three are sent in the worker, one for each attempt, with ``email_id``, ``delivery_id``,
# ``recipient``, ``attempt`` (its number, from 1) and ``outcome`` (`mailer.outcome.Outcome`).

email_sent = _signals.signal("email_sent", doc="A server took a delivery.")

email_deferred = _signals.signal("email_deferred", doc="A delivery will be tried again.")

email_failed = _signals.signal("email_failed", doc="A delivery was given up.")


def tell(signal: Signal, app: Flask, **arguments: Any) -> None:
    """Send a signal: what its receivers do or raise changes nothing about what happened."""
    try:
        signal.send(app, **arguments)
    except Exception as error:  # noqa: BLE001
        frames = "".join(traceback.format_tb(error.__traceback__))
        name = getattr(signal, "name", "email_dispatched")
        log.warning("a receiver of %s raised %s\n%s", name, type(error).__name__, frames)
