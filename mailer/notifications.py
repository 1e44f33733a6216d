"""Which signal sends which template, and the context loaders of those with a link of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask
from sqlalchemy.orm import Session

from . import signals, signing, state, users
from .content import Context
from .dispatcher import dispatch
from .users import Tokens


def init_app(app: Flask) -> None:
    """Connect the receivers to the signals of ``app``, and the loaders to their templates."""
    signals.user_signed_up.connect(ask_to_confirm, sender=app)
    signals.sign_up_repeated.connect(tell_already_registered, sender=app)
    signals.address_confirmed.connect(welcome, sender=app)
    signals.password_reset_requested.connect(offer_reset, sender=app)
    signals.password_changed.connect(tell_password_changed, sender=app)

    mailer = state.of(app)
    mailer.loaders["confirm_email"] = load_confirm_email
    mailer.needs["confirm_email"] = {"user_id"}
    mailer.loaders["reset_password"] = load_reset_password
    mailer.needs["reset_password"] = {"address"}


# Receivers. They record in the transaction of the flow: user and email are stored together.


def ask_to_confirm(app: Flask, *, user_id: int, session: Session, **_: Any) -> None:
    if user := users.by_id(session, user_id):
        dispatch(
            "confirm_email",
            to=user.email,
            context={"user_id": user.id},
            expires_at=_after(app.config["MAILER_CONFIRM_SECONDS"]),
            session=session,
        )


def tell_already_registered(app: Flask, *, address: str, session: Session, **_: Any) -> None:
    """Offer a reset, which also confirms. Never the confirmation again: whoever signed up first may
    be a stranger, and the owner of the address would confirm an account with their password."""
    if user := users.by_address(session, address):
        context = {"reset_url": _link(app, "accounts.reset")}
        dispatch("already_registered", to=user.email, context=context, session=session)


def welcome(app: Flask, *, user_id: int, session: Session, **_: Any) -> None:
    if user := users.by_id(session, user_id):
        context = {"start_url": _link(app, "accounts.home")}
        dispatch("welcome", to=user.email, context=context, session=session)


def offer_reset(app: Flask, *, address: str, session: Session, **_: Any) -> None:
    """Dispatch to whatever address was given: whether it has an account is looked up in the worker,
    where nobody who asked can measure it."""
    dispatch(
        "reset_password",
        to=address,
        context={"address": address},
        expires_at=_after(app.config["MAILER_RESET_SECONDS"]),
        session=session,
    )


def tell_password_changed(app: Flask, *, user_id: int, session: Session, **_: Any) -> None:
    if user := users.by_id(session, user_id):
        now = datetime.now(UTC)
        context = {
            # The page that asks for the address: no token travels in an email nobody asked for.
            "reset_url": _link(app, "accounts.reset"),
            "changed_at": f"{now.day} {now:%B %Y, %H:%M} UTC",
        }
        dispatch("password_changed", to=user.email, context=context, session=session)


# Context loaders. They run in the worker, at each attempt, and mint the tokens there.


def load_confirm_email(context: Context) -> dict[str, Any] | None:
    """Mint the link; None when the account is gone or confirmed by now, or somebody else would get
    it as well."""
    mailer = state.current()
    with users.reading(mailer.database) as session:
        user = users.by_id(session, context["user_id"])
    if user is None or user.confirmed_at is not None or context.recipients != {user.email}:
        return None
    token = Tokens(signing.keys(mailer.config)).mint("confirm", user)
    return {
        "confirm_url": _link(mailer.app, "accounts.confirm", token=token),
        "expires_in": in_words(mailer.config["MAILER_CONFIRM_SECONDS"]),
    }


def load_reset_password(context: Context) -> dict[str, Any] | None:
    """Mint the link; None when the address has no account, or somebody else would get it as
    well."""
    mailer = state.current()
    with users.reading(mailer.database) as session:
        user = users.by_address(session, context["address"])
    if user is None or context.recipients != {user.email}:
        return None
    token = Tokens(signing.keys(mailer.config)).mint("reset", user)
    return {
        "reset_url": _link(mailer.app, "accounts.new_password", token=token),
        "expires_in": in_words(mailer.config["MAILER_RESET_SECONDS"]),
    }


def in_words(seconds: float) -> str:
    """Return a duration as people say it, rounded down: ``2 days``, ``36 hours``, ``1 hour``."""
    for unit, size in (("day", 86_400), ("hour", 3600)):
        if seconds == size:
            return f"1 {unit}"
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}s"
    minutes = int(seconds // 60)
    return f"{minutes} minute" + ("" if minutes == 1 else "s")


def _after(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _link(app: Flask, endpoint: str, **values: str) -> str:
    """Build a link from MAILER_BASE_URL. Never from the request: its Host header is whatever the
    client says, and would lead the token to a server of its choice."""
    urls = app.url_map.bind("")
    return str(app.config["MAILER_BASE_URL"]) + urls.build(endpoint, values)
