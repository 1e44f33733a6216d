"""``mailer audit``"""

from __future__ import annotations

import json

from .conftest import Run


def test_who_did_what_is_listed_and_found(run: Run) -> None:
    assert run("audit").stdout == "nobody did anything\n"
    run("pause", "bulk")
    run("suppressions", "add", "ann@example.com")
    run("keys", "create", "shop")

    lines = run("audit").stdout.splitlines()

    assert lines[0].split()[2:] == ["WHO", "DID", "NUMBER", "TO"]
    assert [line.split()[3:5] for line in lines[1:]] == [
        ["make", "key"], ["suppress", "1"], ["pause", "1"],
    ]  # fmt: skip
    document = json.loads(run("audit", "--action", "pause", "--since", "1h", "--json").stdout)
    assert [one["about"] for one in document["acts"]] == ["lane bulk"]
    assert document["acts"][0]["actor"].startswith("cli:")
    assert run("audit", "--actor", "nobody").stdout == "nobody did anything\n"


def test_an_action_that_is_not_known_is_a_usage_error(run: Run) -> None:
    result = run("audit", "--action", "dance")
    assert result.exit_code == 2
    assert "dance" in result.stderr
