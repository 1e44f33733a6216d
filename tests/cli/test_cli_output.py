"""How instants, durations and tables read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailer.cli import output


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5_399, "90 min"),
        (5_400, "2 h"),
        (172_799, "48 h"),
        (172_800, "2 days"),
    ],
)
def test_a_duration_has_one_unit(seconds: float, expected: str) -> None:
    assert output.duration(seconds) == expected


def test_an_old_instant_has_its_year_instead_of_its_time() -> None:
    now = datetime.now(UTC)

    assert output.short(now) == f"{now.astimezone():%m-%d %H:%M}"
    old = now - timedelta(days=200)
    assert output.short(old) == f"{old.astimezone():%Y-%m-%d}"


def test_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("NAME", "COUNT"), [("a", 7), ("bbbbbb", 12)])

    assert capsys.readouterr().out == "NAME    COUNT\na           7\nbbbbbb     12\n"
