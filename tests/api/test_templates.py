"""Templates over the HTTP API: listed, described, rendered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from mailer.state import of

Call = Callable[..., Any]


def test_templates_are_listed_by_name_page_by_page(call: Call) -> None:
    status, all_of_them = call("GET", "/templates")
    names = [one["name"] for one in all_of_them["data"]]
    assert status == 200
    assert names == sorted(names)
    assert {"welcome", "reset_password"} <= set(names)
    _, first = call("GET", "/templates?limit=2")
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (names[:2], True)
    _, rest = call("GET", f"/templates?after={names[1]}")
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (names[2:], False)
    _, before = call("GET", f"/templates?before={names[2]}&limit=1")
    assert ([one["id"] for one in before["data"]], before["has_more"]) == ([names[1]], True)


def test_a_template_says_what_it_needs_and_shows_its_sample(call: Call) -> None:
    status, found = call("GET", "/templates/welcome")
    assert status == 200
    assert found["variables"] == [{"key": "start_url", "type": "string"}]
    assert found["sample"] == {"start_url": "https://app.example.com/start"}
    assert found["locales"] == []
    assert call("GET", "/templates/confirm_email")[1]["locales"] == ["de"]
    assert "{{ product_name }}" in found["subject"]


def test_a_template_is_rendered_with_its_sample_and_what_is_given(call: Call) -> None:
    status, found = call("POST", "/templates/welcome/render", {})
    assert status == 200
    assert "https://app.example.com/start" in found["html"]
    given = {"variables": {"start_url": "https://x.example/"}, "locale": "de"}
    status, found = call("POST", "/templates/welcome/render", given)
    assert "https://x.example/" in found["text"]
    _, found = call("POST", "/templates/confirm_email/render", {"locale": "de-AT"})
    assert "estätigen" in found["subject"]


def test_a_template_that_cannot_be_rendered_says_why(
    app: Flask, call: Call, tmp_path: Path
) -> None:
    folder = tmp_path / "templates" / "broken"
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text("{{ missing }}")
    (folder / "body.txt").write_text("x")
    app.config["MAILER_TEMPLATES"] = str(folder.parent)
    vars(of(app)).pop("renderer")
    status, found = call("POST", "/templates/broken/render", {})
    assert (status, found["name"]) == (422, "validation_error")
    assert "missing" in found["message"]
    (folder / "template.toml").write_text("lane = 'fast'")
    vars(of(app)).pop("renderer")
    status, found = call("GET", "/templates/broken")
    assert (status, found["name"]) == (422, "validation_error")
    assert "lane" in found["message"]
    assert "broken" not in [one["name"] for one in call("GET", "/templates")[1]["data"]]


@pytest.mark.parametrize("name", ["nothing", "_layout.txt", "%2e%2e", "welcom"])
def test_what_is_no_template_is_not_found(call: Call, name: str) -> None:
    assert call("GET", f"/templates/{name}")[0] == 404
    assert call("POST", f"/templates/{name}/render", {})[0] == 404


def test_a_key_sees_the_templates_that_it_may_use(call: Call, key: Callable[..., str]) -> None:
    token = key(templates=["wel*"])
    listed = call("GET", "/templates", token=token)[1]["data"]
    assert [one["id"] for one in listed] == ["welcome"]
    assert call("GET", "/templates/reset_password", token=token)[0] == 403
    assert call("POST", "/templates/reset_password/render", {}, token=token)[0] == 403
