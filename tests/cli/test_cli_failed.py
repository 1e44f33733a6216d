"""``mailer failed``"""

from __future__ import annotations

import json

import pytest
from flask import Flask

from mailer import dispatch
from mailer.cli import failed
from mailer.dev.catcher import Catcher

from .conftest import Run


def test_reasons_are_listed_the_most_frequent_first(
    app: Flask, catcher: Catcher, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("failed").stdout == "nothing failed\n"
    catcher.script("rcpt", "550 5.7.1 Not you", address="*@blocked.example")
    catcher.script("rcpt", "451 4.7.1 Wait 300 s", address="*@grey.example")
    with app.app_context():
        for recipient in ("a@grey.example", "a@blocked.example", "b@blocked.example"):
            dispatch(subject="s", text="t", to=recipient)
    lines = run("failed").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["failed", "2"], ["deferred", "1"]]
    assert lines[1].endswith("550 5.7.1 Not you")
    assert lines[2].endswith("451 4.7.1 Wait … s")
    document = json.loads(run("failed", "--json").stdout)
    assert document["all"] is True
    assert document["reasons"][0]["number"] == 2

    monkeypatch.setattr(failed, "LOOKED_AT", 1)
    assert "(of the newest" in run("failed").stdout
