"""The benchmark measures what it says: short forms of its rows, and the table that it writes."""

from __future__ import annotations

import re
import smtplib
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import accepting, chart, ledgers, table
from benchmarks.__main__ import QUICK
from benchmarks.counter import CHECKOUT, Sink, sink
from benchmarks.rows import ROWS, Round, Row, figures
from benchmarks.stand import pattern, project, stand

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what processes use is read from Linux's /proc"
)

MESSAGE = "Subject: Hello\r\n\r\nHello\r\n..\r\n"
ROW = Row("drain", "emails/s", "ours", "theirs", 16)


def words() -> str:
    return "not so many"


def send(port: int, *recipients: str) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for recipient in recipients:
            client.sendmail("a@example.com", recipient, MESSAGE)


def test_both_systems_send_each_email_once_and_what_they_used_is_known(tmp_path: Path) -> None:
    with sink() as counting:
        for system in (project(f"sqlite:///{tmp_path / 'ledger.sqlite3'}"), pattern()):
            small = system._replace(beat=False)
            with stand(small, counting, tmp_path / system.name) as standing:
                sent = standing.end_to_end(40)
            assert sent.per_second > 0
            assert sent.cpu > 0
            assert 5 < sent.megabytes < 500
            assert sent.peak >= 1


@pytest.mark.parametrize("door", ["bare", "API", "API batch"])
def test_each_door_accepts_what_it_is_given(tmp_path: Path, door: str) -> None:
    assert accepting.per_second(door, tmp_path / "door", {}, 400) > 0


def test_a_refusal_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="was not measured"):
        accepting.per_second("API", tmp_path / "door", {"MAILER_MAX_CONTEXT_BYTES": "9"}, 100)


def test_an_email_that_arrives_twice_ends_the_run() -> None:
    with sink() as counting:
        send(counting.port, "one@example.com", "two@example.com", "one@example.com")
        with pytest.raises(SystemExit, match="3 for 2"):
            counting.wait_for(3, 5, words)


def test_a_message_without_the_work_ends_the_run() -> None:
    with sink() as counting:
        send(counting.port, "one@example.com")
        assert counting.wait_for(1, 5, words, smallest=20).distinct == 1
        with pytest.raises(SystemExit, match="expected 500 bytes"):
            counting.wait_for(1, 5, words, smallest=500)


def test_an_email_that_the_ledger_does_not_know_as_sent_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "SETTLED_WITHIN_SECONDS", 0.0)
    finished, waiting = (f"sqlite:///{tmp_path / name}" for name in ("finished", "waiting"))
    ledgers.fill_with_finished(finished, 3)
    ledgers.wait_until_settled(finished)
    ledgers.fill_with_waiting(waiting, 3)
    with pytest.raises(SystemExit, match="does not know of 3"):
        ledgers.wait_until_settled(waiting)


def test_the_sink_knows_how_many_connections_were_open_at_once() -> None:
    with sink() as counting:
        for number in range(3):  # one after another
            send(counting.port, f"{number}@example.com")
        with smtplib.SMTP("127.0.0.1", counting.port):
            send(counting.port, "last@example.com")
        assert counting.wait_for(4, 5, words).peak == 2


def test_an_email_that_does_not_arrive_ends_the_run() -> None:
    with sink() as counting:
        send(counting.port, "one@example.com", "warm1@example.com")
        with pytest.raises(SystemExit, match="not so many"):
            counting.wait_for(2, 0.1, words)


def test_the_sink_answers_from_as_far_as_it_is_told() -> None:
    def seconds(counting: Sink) -> float:
        counting.reset()
        send(counting.port, *(f"{number}@example.com" for number in range(6)))
        accepted = counting.wait_for(6, 5, words)
        return accepted.stamps[-1] - accepted.stamps[0]

    with sink() as counting:
        counting.be_far(0.03)
        # Five more messages, each of four commands that wait for their reply.
        assert seconds(counting) >= 5 * 4 * 0.03


def test_a_ratio_is_that_of_the_rounds_and_a_target_is_held_against_it() -> None:
    rounds: list[Round] = [
        {"ours": 100, "theirs": 5},
        {"ours": 60, "theirs": 4},
        {"ours": 90, "theirs": 3},
    ]
    assert ROW.ratio(rounds) == 20
    assert ROW.is_met(rounds) is True
    assert ROW._replace(target=21).is_met(rounds) is False
    assert ROW._replace(target=21, at_most=True).is_met(rounds) is True
    assert ROW.is_met([{"ours": 100.0}]) is None


def test_the_table_replaces_the_one_before_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    rounds: list[Round] = [dict.fromkeys([*figures(ROWS), "fdatasync", "sink"], 1234.5)]
    table.write(path, table.lines(ROWS, rounds, QUICK))
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text.split()
    assert text.count("\n| ") == len(ROWS) + 2
    assert "1,234" in text
    assert len(table.short(rounds)) == sum(row.in_readme for row in ROWS) + 2


def test_the_chart_is_well_formed() -> None:
    names = [name for _, bars in chart.GROUPS for _, name in bars]
    drawn = chart.svg([dict.fromkeys(names, 10.0)])
    image = ElementTree.fromstring(drawn)  # noqa: S314 - our own
    bars = [one for one in image if one.tag.endswith("rect") and "rx" in one.attrib]
    assert len(bars) == len(names)


def test_what_is_drawn_is_also_in_a_row() -> None:
    drawn = {name for _, bars in chart.GROUPS for _, name in bars}
    assert drawn <= figures(ROWS)


@pytest.mark.parametrize("name", ["README.md", "docs/performance.md"])
def test_a_long_run_finds_where_to_write(name: str) -> None:
    text = (CHECKOUT / name).read_text()
    assert text.count(table.BEGIN) == text.count(table.END) == 1


def test_a_picture_that_the_documentation_shows_is_there() -> None:
    docs = CHECKOUT / "docs"
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", (docs / "performance.md").read_text()):
        assert (docs / picture).exists()
