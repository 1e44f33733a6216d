"""Files of recipients: cut into whole rows and read, with what is wrong and where."""

from __future__ import annotations

import pytest

from mailer import recipients
from mailer.errors import UnreadableFile
from mailer.recipients import Row


def read(data: bytes, *, is_csv: bool = True, chunk: int = 7) -> list[Row]:
    chunks = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    form, cut = recipients.read(chunks, is_csv=is_csv)
    parts = list(cut)
    assert b"".join(part.data for part in parts) == data
    return [row for part in parts for row in recipients.rows(part, form)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_has_a_column_for_each_variable(delimiter: str) -> None:
    text = "Email,Name,locale,Shop\r\nann@a.example,Ann,de,x y\r\n\r\nben@a.example,,,\r\n"
    ann, ben = read(text.replace(",", delimiter).encode())
    assert (ann.line, ann.to, ann.name, ann.locale) == (2, "ann@a.example", "Ann", "de")
    assert ann.context == {"name": "Ann", "Shop": "x y"}
    assert (ben.line, ben.locale, ben.context) == (4, None, {"name": "", "Shop": ""})


def test_a_row_may_go_on_over_lines_and_keeps_its_own_number() -> None:
    rows = read(b'\xef\xbb\xbfto,words\na@a.example,"one\ntwo, ""three"""\nb@a.example,four\n')
    assert [(row.line, row.last_line, row.context["words"]) for row in rows] == [
        (2, 3, 'one\ntwo, "three"'),
        (4, 4, "four"),
    ]


def test_json_lines_are_flat_or_have_variables() -> None:
    flat, nested, *wrong = read(
        b'{"email": "a@a.example", "age": 7}\n'
        b'{"to": "b@a.example", "locale": "de", "variables": {"age": 8}}\n'
        b"\n"
        b'{"to": "c@a.example", "age": 9, "variables": {}}\n'
        b'{"to": 7}\n'
        b"[1]\n"
        b"{\n",
        is_csv=False,
    )
    assert (flat.to, flat.context) == ("a@a.example", {"age": 7})
    assert (nested.to, nested.locale, nested.context) == ("b@a.example", "de", {"age": 8})
    assert [(row.line, row.wrong.partition(":")[0]) for row in wrong] == [
        (4, "expected no age beside variables"),
        (5, "email"),
        (6, "expected an object of JSON, got list"),
        (7, "expected JSON"),
    ]


def test_what_is_wrong_with_a_row_says_nothing_of_the_next() -> None:
    long = b'"' + b"x" * 140_000
    rows = read(b"to,a\none@a.example\n\xff@a.example,1\n" + long + b"\n" + b"z@a.example,2\n")
    wrong = {row.line: row.wrong for row in rows if row.wrong}
    assert wrong[2] == "expected 2 columns, got 1"
    assert wrong[3] == "expected UTF-8"
    assert "field larger than field limit" in wrong[4]
    assert (rows[-1].line, rows[-1].to) == (5, "z@a.example")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\n", "line 1: expected a column email or to, got none"),
        (b"name,shop\n", "line 1: expected a column email or to, got name, shop"),
        (b"to,a,a\n", "line 1: expected a name of its own for each column, got 'a'"),
        (b"to,,a\n", "line 1: expected a name of its own for each column, got ''"),
        (b"to\rann@a.example\r", r"line 1: expected lines that end with \\n or \\r\\n, got \\r"),
        (b"to,na\rme\nann@a.example,x\n", r"line 1: expected lines that end with"),
        (b"to," + b"x" * 140_000 + b"\n", "line 1: expected CSV: field larger than field limit"),
        (b'to,"a\nb"\n', "line 1: expected CSV: unexpected end of data"),
        (b"to,pr\xe9nom\n", "line 1: expected UTF-8"),
        ("to,a\n".encode("utf-16"), "line 1: expected UTF-8"),
        (b"to,a\n" + b'b@a.example,"' + b'\n","' * 400_000, "line 2: expected a row of at most"),
        (b"to\n" + b"x" * 1_000_001, "line 2: expected a row of at most 1000000 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UnreadableFile, match=words):
        read(data, chunk=100_000)


def test_a_file_is_cut_between_rows() -> None:
    row = b'a@a.example,"one\ntwo"\n'
    data = b"to,words\n" + row * 30_000
    parts = list(recipients.read([data], is_csv=True)[1])
    assert len(parts) > 1
    assert all(part.data.endswith(b'"\n') for part in parts)
    assert [part.first_line for part in parts][1:] == [
        part.first_line + part.lines for part in parts
    ][:-1]
    assert len(read(data, chunk=70_000)) == 30_000


def test_a_quote_within_a_cell_does_not_move_where_rows_end() -> None:
    row = b'a@a.example,"one %s\ntwo"\n' % (b"x" * 90)
    data = b'to,words\na@a.example,5" pipe\n' + row * 6_000
    parts = list(recipients.read([data], is_csv=True)[1])
    assert len(parts) > 1
    first, *others = read(data, chunk=70_000)
    assert first.context["words"] == '5" pipe'
    assert {one.context["words"][-4:] for one in others} == {"\ntwo"}
    assert len(others) == 6_000


def test_a_quote_that_is_wrong_makes_its_row_bad() -> None:
    first, second, third = read(b'to,words\na@a.example,"5" pipe\nb@a.example,6\nc@a.example,"7')
    assert (first.line, first.wrong) == (2, "expected CSV: ',' expected after '\"'")
    assert (second.line, second.to) == (3, "b@a.example")
    assert (third.line, third.wrong) == (4, "expected CSV: unexpected end of data")


@pytest.mark.parametrize(
    "rest",
    [
        b'b@a.example,"8"\n',  # its quote closes the one before
        b'b@a.example,",8"\n',
        b"b@a.example,8\n",
        b"x\n" * 1_000_000,
    ],
)
def test_a_file_is_refused_rather_than_that_a_quote_takes_rows_with_it(rest: bytes) -> None:
    data = b'to,words\nc@a.example,6\na@a.example,"7\n' + rest
    with pytest.raises(UnreadableFile, match=r"^line 3: expected each quote to be closed"):
        list(recipients.read([data], is_csv=True)[1])
