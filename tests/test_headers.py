from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mailer import headers
from mailer.content import Address


@pytest.mark.parametrize(
    "name",
    [
        *("From", "to", "CC", "Bcc", "Reply-To", "Subject", "Date", "Message-Id", "MIME-Version"),
        *("Content-Type", "content-anything", "Return-Path", "Sender", "Received"),
        *("DKIM-Signature", "Resent-To", "resent-bcc"),
    ],
)
def test_a_header_that_we_write_is_not_the_callers_to_set(name: str) -> None:
    with pytest.raises(ValueError, match="does not write itself"):
        headers.check_header(name, "x")


@pytest.mark.parametrize("name", ["", "X A", "X:", "X-Ä", "X\r\nBcc", "X\0", "X\t", "X" * 71])
def test_a_header_name_is_printable_ascii_without_colon(name: str) -> None:
    with pytest.raises(ValueError, match="header name"):
        headers.check_header(name, "x")


@pytest.mark.parametrize(
    "value", ["", "a\nb", "a\rb", "a\tb", "a\0", "a\x7f", "a\x9f", "a\u2029", "a\ud800", "x" * 2001]
)
def test_a_header_value_is_one_short_line_of_text(value: str) -> None:
    with pytest.raises(ValueError, match="expected a header X-A"):
        headers.check_header("X-A", value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("List-Unsubscribe", "<https://example.com/ü>"),
        ("References", "<=?utf-8?q?x?=@example.com>"),
        ("In-Reply-To", " <1@example.com>"),
        ("list-help", "<https://example.com/" + "x" * 900 + ">"),
    ],
)
def test_a_header_of_urls_or_ids_is_never_encoded_so_it_must_be_plain(
    name: str, value: str
) -> None:
    with pytest.raises(ValueError, match=f"expected a header {name} of ASCII"):
        headers.check_header(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("List-Unsubscribe", "<https://example.com/u?a=b&c=?>, <mailto:u@example.com?subject=x>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("References", "<1@example.com> <2@example.com>"),
        ("Auto-Submitted", "auto-generated"),
        ("X-Campaign", "Frühling"),
        ("Subject-Line", "x"),
    ],
)
def test_the_usual_custom_headers_pass(name: str, value: str) -> None:
    headers.check_header(name, value)


def test_the_message_about_a_bad_value_does_not_show_it() -> None:
    for value in ("code 123456\n", "<https://example.com/s3cret>\x00", "ü s3cret"):
        with pytest.raises(ValueError, match="expected") as caught:
            headers.check_header("List-Unsubscribe", value)
        assert "123456" not in str(caught.value)
        assert "s3cret" not in str(caught.value)


def test_a_long_subject_is_refused_and_a_full_one_passes() -> None:
    headers.check_subject("é" * 998)
    with pytest.raises(ValueError, match="at most 998 characters, got 999"):
        headers.check_subject("é" * 999)


def test_plain_text_is_folded_before_spaces_and_none_is_lost() -> None:
    value = "some  words " * 20 + "end"
    field = headers.text_field("X-A", value)
    assert all(0 < len(line.strip()) <= 78 for line in field.split("\r\n"))
    assert field.replace("\r\n", "") == f"X-A: {value}"


def test_a_first_word_too_long_for_the_line_stays_with_the_name() -> None:
    field = headers.text_field("X-A", "x" * 100 + " y")
    assert field == "X-A: " + "x" * 100 + "\r\n y"


def test_encoded_words_are_short_and_cut_between_characters() -> None:
    field = headers.text_field("Subject", "漢字é😀" * 30)
    for line in field.split("\r\n"):
        assert len(line) <= 78


@pytest.mark.parametrize(
    ("address", "field"),
    [
        (Address("", "a@b.example"), "To: a@b.example"),
        (Address("Anna", "a@b.example"), 'To: "Anna" <a@b.example>'),
        (Address("x" * 50, "a@b.example"), f'To: "{"x" * 50}" <a@b.example>'),
        (Address('A "B"', "a@b.example"), "To: =?utf-8?b?QSAiQiI=?= <a@b.example>"),
        (Address("a\\", "a@b.example"), "To: =?utf-8?b?YVw=?= <a@b.example>"),
        (Address("=?utf-8?q?x?=", "a@b.c"), "To: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <a@b.c>"),
    ],
)
def test_a_name_is_quoted_when_every_reader_agrees_on_it_and_else_encoded(
    address: Address, field: str
) -> None:
    assert headers.address_field("To", [address]) == field


def test_a_name_over_50_characters_is_encoded() -> None:
    assert '"' not in headers.address_field("To", [Address("x" * 51, "a@b.example")])


@pytest.mark.parametrize("char", "\r\n\0\x0b\x1c\x7f\x85\u2028\u2029\ud800")
def test_the_writer_refuses_by_itself_what_could_end_a_line(char: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        headers.address_field("To", [Address(f"a{char}b", "a@b.example")])
    with pytest.raises(ValueError, match="control characters"):
        headers.text_field("Subject", f"a{char}b")


def test_every_day_and_month_is_written_as_the_standard_library_writes_it() -> None:
    for day in range(400):
        instant = datetime(2026, 1, 1, 3, 4, 5, 678, tzinfo=UTC) + timedelta(days=day, hours=day)
        assert headers.date_field("Date", instant) == f"Date: {format_datetime(instant)}"
