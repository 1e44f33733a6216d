"""What every page of the console has in common."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from flask.testing import FlaskClient

from mailer.ops import pages

from ..worker import CHECKOUT
from .conftest import SignIn

VENDOR = CHECKOUT / "mailer" / "ops" / "static" / "vendor"


def test_nothing_comes_from_elsewhere_and_nothing_inline_runs(sign_in: SignIn) -> None:
    answer = sign_in().get("/ops/")
    policy = dict(
        one.strip().split(" ", 1) for one in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_live_part_is_no_page(sign_in: SignIn) -> None:
    browser: FlaskClient = sign_in()
    part = browser.get("/ops/", headers={"HX-Request": "true"})
    assert "<html" not in part.text
    assert "<html" in browser.get("/ops/").text
    assert "HX-Request" in part.headers["Vary"]


@pytest.mark.parametrize("path", ["/ops/audit", "/ops/suppressions", "/ops/keys", "/ops/nothing"])
def test_a_page_without_a_live_part_is_whole_however_it_is_asked_for(
    sign_in: SignIn, path: str
) -> None:
    answer = sign_in("admin").get(path, headers={"HX-Request": "true"})
    assert answer.status_code < 500


def test_the_manifest_says_what_is_vendored() -> None:
    packages = json.loads((VENDOR / "manifest.json").read_text())
    named = {"manifest.json"}
    for one in packages:
        assert one["version"]
        assert one["licence"] in {"MIT", "0BSD"}
        assert (VENDOR / one["licence_file"]).stat().st_size > 200
        named |= {one["licence_file"], *one["files"]}
        for name, file in one["files"].items():
            assert sha256((VENDOR / name).read_bytes()).hexdigest() == file["sha256"], name
    assert {path.name for path in VENDOR.iterdir()} == named


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"), (1.26, "1.3 s"), (59, "59 s"), (60, "1 min"), (90, "1.5 min"),
        (3599, "60 min"), (7200, "2 h"), (86_400 * 3.25, "3.2 d"), (None, "–"),
    ],
)  # fmt: skip
def test_a_duration_is_written_in_its_largest_unit(seconds: float | None, words: str) -> None:
    assert pages.span(seconds) == words


def test_an_instant_is_written_for_people_and_for_the_browser() -> None:
    instant = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
    assert pages.instant(instant) == (
        '<time datetime="2026-01-31T09:05:00+00:00">2026-01-31 09:05:00 UTC</time>'
    )
    assert pages.instant(None) == "–"
    assert ">5 min ago<" in pages.ago(datetime.now(UTC) - timedelta(seconds=300))
    assert ">in 2 h<" in pages.ago(datetime.now(UTC) + timedelta(seconds=7200))


def test_what_is_planned_is_ahead_or_due() -> None:
    assert ">in 2 h<" in pages.planned(datetime.now(UTC) + timedelta(seconds=7200))
    assert ">due for 5 min<" in pages.planned(datetime.now(UTC) - timedelta(seconds=300))


def test_each_colour_of_the_pages_is_defined_in_one_stylesheet() -> None:
    sheets = [CHECKOUT / "mailer" / "web" / "static", CHECKOUT / "mailer" / "ops" / "static"]
    texts = [path.read_text() for folder in sheets for path in folder.glob("*.css")]
    defined = [set(re.findall(r"^ +(--[\w-]+):", text, re.MULTILINE)) for text in texts]
    known = Counter(name for names in defined for name in names)
    assert [name for name, times in known.items() if times > 1] == []
    used = {name for text in texts for name in re.findall(r"var\((--[\w-]+)\)", text)}
    assert used - known.keys() == set()
