"""``mailer bulk``"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from flask import Flask

from mailer import bulk, jobs
from mailer.dev.catcher import Catcher
from mailer.drafting import Request
from mailer.ledger.record import uuid7
from mailer.state import of

from .conftest import Run

PEOPLE = "email,name,start_url\n" + "".join(
    f"p{number}@shop.example,P{number},https://a.example\n" for number in range(5)
)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)
    return path


@pytest.fixture
def waiting(app: Flask, monkeypatch: pytest.MonkeyPatch, people: Path, run: Run) -> str:
    """A bulk send that no worker has taken."""
    monkeypatch.setattr(of(app).jobs_bell, "ring", lambda *of_what: False)
    job_id = "019a5c1e-7c3a-7cc0-8a53-8a6a1d0d7d5e"
    upload = bulk.Upload("people.csv", [PEOPLE.encode()], is_csv=True)
    with app.app_context():
        bulk.create(of(app), job_id, Request(template="welcome"), upload, actor="ann")
    return job_id


def test_a_file_is_checked_shown_and_sent(run: Run, people: Path, catcher: Catcher) -> None:
    done = run("bulk", "welcome", str(people), "--yes")
    assert done.exit_code == 0, done.output
    assert "To: p0@shop.example" in done.output
    assert "Subject: " in done.output
    assert "5 emails to send of 5 rows" in done.output
    assert "done, 5 emails accepted" in done.output
    assert len(catcher.messages()) == 5


def test_it_waits_for_a_worker_that_is_elsewhere(
    run: Run, people: Path, app: Flask, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(job_id: str) -> None:
        with app.app_context():
            jobs.run(of(app), job_id, lambda told: None)

    workers: list[Thread] = []

    def ring(bell: str, job_id: str) -> None:
        workers.append(Thread(target=work, args=(job_id,)))
        workers[-1].start()

    monkeypatch.setattr(of(app).jobs_bell, "ring", ring)
    done = run("bulk", "welcome", str(people), "--yes")
    for one in workers:
        one.join(20)
    assert done.exit_code == 0, done.output
    assert "done, 5 emails accepted" in done.output
    assert len(catcher.messages()) == 5


def test_bad_rows_are_shown_and_nothing_is_sent(
    run: Run, people: Path, catcher: Catcher, app: Flask
) -> None:
    people.write_text(f"{PEOPLE}nobody,,https://a.example\nP1@shop.example,,https://a.example\n")
    done = run("bulk", "welcome", str(people), "--yes")
    assert done.exit_code == 1
    assert "left out: 1 bad, 1 duplicate, 0 suppressed" in done.output
    assert "the address of line 3 again" in done.output
    assert "mailer: nothing is sent: 1 row bad: --skip-bad sends the others" in done.output
    assert catcher.messages() == []
    done = run("bulk", "welcome", str(people), "--yes", "--skip-bad")
    assert (done.exit_code, len(catcher.messages())) == (0, 5)


def test_nobody_there_to_be_asked_and_a_dry_run_send_nothing(
    run: Run, people: Path, catcher: Catcher
) -> None:
    done = run("bulk", "welcome", str(people))
    assert done.exit_code == 2
    assert "to start needs --yes" in done.output
    assert run("bulk", "welcome", str(people), "--dry-run").exit_code == 0
    assert catcher.messages() == []
    found = json.loads(run("bulk", "list", "--json").output)["bulk"]
    assert [one["state"] for one in found] == ["cancelled", "cancelled"]


def test_a_dry_run_ends_as_the_send_would(run: Run, people: Path, catcher: Catcher) -> None:
    def ends(text: str, *options: str) -> tuple[int, str]:
        people.write_text(text)
        done = run("bulk", "welcome", str(people), "--dry-run", *options)
        return done.exit_code, done.output.splitlines()[-1]

    bad = "nobody,,https://a.example\n"
    header = "email,name,start_url\n"
    assert ends(PEOPLE) == (0, "5 emails to send of 5 rows")
    assert ends(PEOPLE + bad, "--skip-bad") == (0, "5 emails to send of 6 rows")
    one_bad = "mailer: nothing would be sent: 1 row bad: --skip-bad sends the others"
    assert ends(PEOPLE + bad) == (1, one_bad)
    assert ends(header + bad) == ends(header + bad, "--skip-bad")
    assert ends(header + bad) == (1, "mailer: nothing would be sent: nobody")
    assert catcher.messages() == []


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("pause", "it is paused: by somebody else; mailer bulk resume {id} goes on"),
        ("cancel", "it is cancelled: by somebody else"),
    ],
)
def test_one_that_somebody_else_steered_meanwhile_is_no_success(
    run: Run, people: Path, app: Flask, monkeypatch: pytest.MonkeyPatch, *, verb: str, words: str
) -> None:
    monkeypatch.setattr("mailer.bulk_steps.ACCEPTED_AT_ONCE", 2)
    asked: list[str] = []

    def work(bell: str, job_id: str) -> None:
        def tell(told: dict[str, object]) -> None:
            if told["current"] == 2:
                asked.append(job_id)
                run("bulk", verb, job_id)

        with app.app_context():
            jobs.run(of(app), job_id, tell)

    monkeypatch.setattr(of(app).jobs_bell, "ring", work)
    done = run("bulk", "welcome", str(people), "--yes")
    assert done.exit_code == 1
    assert f"{words.split()[2].rstrip(':')}, 2 emails accepted\n" in done.output
    assert done.output.endswith(f"mailer: {words.format(id=asked[0])}\n")


def test_json_lines_are_known_by_their_name(run: Run, tmp_path: Path, catcher: Catcher) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text('{"to": "a@shop.example", "variables": {"start_url": "https://a.example"}}\n')
    assert run("bulk", "welcome", str(path), "--yes").exit_code == 0
    assert len(catcher.messages()) == 1


def test_a_file_that_cannot_be_read_says_why(run: Run, people: Path) -> None:
    people.write_text("name\nx\n")
    done = run("bulk", "welcome", str(people))
    assert done.exit_code == 1
    assert done.output == "mailer: line 1: expected a column email or to, got name\n"
    people.write_text("to,a\rb\nx@shop.example,1\n")
    assert "mailer: line 1: expected lines" in run("bulk", "welcome", str(people)).output


def test_it_is_listed_shown_steered_and_reported(
    run: Run, waiting: str, app: Flask, catcher: Catcher, tmp_path: Path
) -> None:
    assert run("bulk", "pause", waiting).output == f"paused {waiting}\n"
    assert run("bulk", "resume", waiting).output == f"resumed {waiting}\n"
    assert "still being checked" in run("bulk", "start", waiting).output
    with app.app_context():
        jobs.run(of(app), waiting, lambda told: None)
    assert "checked" in run("bulk", "list").output
    assert run("bulk", "start", waiting).output == f"started {waiting}\n"
    with app.app_context():
        jobs.run(of(app), waiting, lambda told: None)
    shown = run("bulk", "show", waiting).output
    assert "done      5 of 5" in shown
    assert "done, 5 emails accepted" in run("bulk", "watch", waiting).output
    assert len(json.loads(run("list", "--bulk", waiting, "--json").output)["deliveries"]) == 5
    assert run("retry", "--bulk", waiting, "--dry-run").output == "nothing to retry\n"
    path = tmp_path / "report.csv"
    assert run("bulk", "report", waiting, "--output", str(path)).exit_code == 0
    assert [row["state"] for row in csv.DictReader(path.read_text().splitlines())] == ["sent"] * 5
    assert "had ended" in run("bulk", "cancel", waiting).output
    assert "there is no job 'x'" in run("bulk", "watch", "x").output


def test_ctrl_c_leaves_it_running(run: Run, waiting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mailer.cli.bulk.time.sleep", interrupt)
    done = run("bulk", "watch", waiting)
    assert done.exit_code == 0
    assert f"To watch it again: mailer bulk watch {waiting}" in done.output
    assert '"state": "checking"' in run("bulk", "show", waiting, "--json").output


def test_the_bar_stays_where_it_was_paused(
    run: Run, waiting: str, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause(*of_what: object) -> None:
        run("bulk", "pause", waiting)

    def work(tell: Callable[[dict[str, object]], None]) -> None:
        with app.app_context():
            jobs.run(of(app), waiting, tell)

    monkeypatch.setattr("mailer.bulk_steps.ACCEPTED_AT_ONCE", 2)
    work(lambda told: None)
    run("bulk", "start", waiting)
    work(pause)
    run("bulk", "resume", waiting)
    monkeypatch.setattr("click._termui_impl.isatty", lambda file: True)
    monkeypatch.setattr("mailer.cli.bulk.time.sleep", pause)
    done = run("bulk", "watch", waiting)
    assert "2/5" in done.output
    assert "5/5" not in done.output
    assert done.output.endswith(f"{waiting}: paused, 2 emails accepted\n")


def test_an_export_has_the_rows_of_a_person(run: Run, waiting: str, app: Flask) -> None:
    with app.app_context():
        jobs.run(of(app), waiting, lambda told: None)
    (row,) = json.loads(run("export", "--address", "P3@shop.example").output)["bulk_rows"]
    assert (row["job_id"], row["line"], row["email_id"]) == (waiting, 5, None)


def test_the_subject_of_security_mail_is_not_printed(app: Flask, run: Run, waiting: str) -> None:
    for name, lane in (("open", "bulk"), ("s3cret", "critical")):
        request = Request(subject=f"{name} subject", text="Hello.", lane=lane)
        job_id, upload = uuid7(), bulk.Upload("people.csv", [PEOPLE.encode()], is_csv=True)
        with app.app_context():
            bulk.create(of(app), job_id, request, upload, actor="ann")
    printed = run("bulk", "list").output + run("bulk", "show", job_id).output
    assert "s3cret" not in printed
    assert printed.count("[hidden subject]") == 2
    assert "open subject" in printed


@pytest.mark.parametrize("command", ["list", "retry", "cancel"])
def test_a_bulk_send_that_is_not_there_is_no_filter(run: Run, waiting: str, command: str) -> None:
    assert run(command, "--bulk", waiting).exit_code == 0
    wrong = run(command, "--bulk", "WRONG")
    assert wrong.exit_code != 0
    assert "there is no" in wrong.output
    assert "'WRONG'" in wrong.output
    for option in ("--bulk", "--template"):
        for text in ("\udce9", "\0"):
            done = run(command, option, text)
            assert done.exit_code == 2, done.output
            assert f"expected printable text, got {text!r}" in done.output
