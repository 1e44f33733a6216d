from __future__ import annotations

import blinker
import pytest

from mailer import signals

NAMES = [name for name, value in vars(signals).items() if isinstance(value, blinker.NamedSignal)]


def test_there_are_signals_for_the_account_flows_and_for_what_becomes_of_an_email() -> None:
    assert set(NAMES) == {
        "user_signed_up",
        "sign_up_repeated",
        "address_confirmed",
        "password_reset_requested",
        "password_changed",
        "email_queued",
        "email_sent",
        "email_deferred",
        "email_failed",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_is_called_what_its_variable_is_called_and_says_when_it_is_sent(name: str) -> None:
    signal = getattr(signals, name)
    assert signal.name == name
    assert signal.__doc__ != blinker.NamedSignal.__doc__


def test_a_receiver_of_one_app_does_not_hear_another_app() -> None:
    app, other = object(), object()
    heard: list[int] = []

    def receiver(sender: object, *, user_id: int, **_: object) -> None:
        heard.append(user_id)

    signals.user_signed_up.connect(receiver, sender=app)
    signals.user_signed_up.send(other, user_id=1, session=None)
    signals.user_signed_up.send(app, user_id=2, session=None)
    assert heard == [2]
