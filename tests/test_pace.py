"""What a server takes at once."""

from __future__ import annotations

import pytest

from mailer.pace import Pace


def paced(seconds: float) -> Pace:
    """Return the pace of a server that took so long for each email, at a millisecond of ours."""
    pace = Pace()
    pace.took(seconds, 1)
    pace.reckon(10, 0.01)
    return pace


@pytest.mark.parametrize(
    ("seconds", "emails", "group", "connections"),
    [
        (0.0001, 100, 10, 1),  # next door
        (0.02, 100, 1, 21),  # far, one message at a time
        (0.02, 10, 1, 10),
        (0.004, 100, 10, 10),  # all groups at once
        (0.004, 25, 10, 5),
    ],
)
def test_a_far_server_gets_as_many_connections_as_there_is_time_for(
    seconds: float, emails: int, group: int, connections: int
) -> None:
    assert paced(seconds).connections(emails, group) == connections


def test_a_server_gets_no_more_connections_than_it_wants() -> None:
    pace = paced(0.02)
    pace.take_no_more_than(2)
    assert pace.connections(100, 10) == 2
    assert pace.connections(100, 1) == 2
