from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from itsdangerous import TimestampSigner
from werkzeug.security import check_password_hash, generate_password_hash

from mailer import users
from mailer.db import Database
from mailer.models import User
from mailer.users import Purpose, Reading, Tokens, Verdict

PASSWORD = "correct horse battery"
SECRET = "a secret for tests only"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def anna(database: Database) -> User:
    return sign_up(database, "anna@example.com")


def sign_up(database: Database, email: str) -> User:
    with database.session() as session:
        user = users.sign_up(session, email, PASSWORD)
    assert user is not None
    return user


def stored(database: Database, user: User) -> User:
    with users.reading(database) as session:
        found = users.by_id(session, user.id)
    assert found is not None
    return found


def read(
    database: Database, token: str, purpose: Purpose = "reset", max_age: float = 3600
) -> Reading:
    with users.reading(database) as session:
        return Tokens([SECRET]).read(session, purpose, token, max_age=max_age)


# Addresses


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("anna@example.com", "anna@example.com"),
        ("  Anna.Lee@EXAMPLE.com ", "anna.lee@example.com"),
        ("ANNA@BÜCHER.example", "anna@xn--bcher-kva.example"),
    ],
)
def test_an_address_is_the_same_in_whatever_case_it_is_written(given: str, expected: str) -> None:
    assert users.normalise(given, allow_test_domains=True) == expected


@pytest.mark.parametrize(
    "given",
    ["", "anna", "a@b@example.com", "anna@example.com, b@example.com", "Anna <anna@example.com>",
     "<anna@example.com>\r\nBcc: x@example.com", "anna@exa\x00mple.com", "\ud800@example.com"],
)  # fmt: skip
def test_what_is_not_one_bare_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError):
        users.normalise(given)


def test_a_normalised_address_stays_as_it_is() -> None:
    once = users.normalise("İpek@BÜCHER.example", allow_test_domains=True)
    assert users.normalise(once, allow_test_domains=True) == once


# Passwords


@pytest.mark.parametrize("password", ["a" * 12, "пароль пароль", "a" * 1000, "            "])
def test_a_password_of_12_to_1000_characters_of_any_kind_is_good(password: str) -> None:
    assert users.password_problem(password, "anna@example.com") is None


@pytest.mark.parametrize(
    "password",
    ["", "a" * 11, "a" * 1001, "anna@example.com", " Anna@Example.com ", "a" * 12 + "\ud800"],
)
def test_a_short_or_endless_password_and_the_address_itself_are_refused(password: str) -> None:
    assert users.password_problem(password, "anna@example.com")


def test_a_password_is_stored_as_a_salted_scrypt_hash(database: Database, anna: User) -> None:
    berta = sign_up(database, "berta@example.com")
    assert anna.password_hash.startswith("scrypt:32768:8:3$")
    assert check_password_hash(anna.password_hash, PASSWORD)
    assert anna.password_hash != berta.password_hash
    assert len(anna.password_hash) <= 255


# Sign up, confirm, new password


def test_a_taken_address_is_not_given_to_a_second_user(database: Database, anna: User) -> None:
    with database.session() as session:
        assert users.sign_up(session, "anna@example.com", "another good password") is None
    assert stored(database, anna).password_hash == anna.password_hash


def test_a_new_user_is_not_confirmed_and_has_the_databases_time(
    database: Database, anna: User
) -> None:
    assert anna.confirmed_at is None
    assert abs(anna.created_at.timestamp() - time.time()) < 60


def test_looking_up_finds_users_by_id_and_by_address_and_nobody_else(
    database: Database, anna: User
) -> None:
    with users.reading(database) as session:
        for found in (
            users.by_id(session, anna.id),
            users.by_address(session, "anna@example.com"),
        ):
            assert found is not None
            assert found.id == anna.id
        assert users.by_id(session, anna.id + 1) is None
        assert users.by_address(session, "berta@example.com") is None


def test_an_address_is_confirmed_once(database: Database, anna: User) -> None:
    with database.session() as session:
        assert users.confirm(session, anna)
    with database.session() as session:
        assert not users.confirm(session, anna)
    assert stored(database, anna).confirmed_at is not None


def test_a_new_password_replaces_the_old_one_and_confirms_the_address(
    database: Database, anna: User
) -> None:
    with database.session() as session:
        assert users.set_password(session, anna, "another good password")
    changed = stored(database, anna)
    assert check_password_hash(changed.password_hash, "another good password")
    assert not check_password_hash(changed.password_hash, PASSWORD)
    assert changed.confirmed_at is not None


def test_a_new_password_does_not_move_the_time_of_confirmation(
    database: Database, anna: User
) -> None:
    with database.session() as session:
        users.confirm(session, anna)
    confirmed = stored(database, anna)
    with database.session() as session:
        assert users.set_password(session, confirmed, "another good password")
    assert stored(database, anna).confirmed_at == confirmed.confirmed_at


def test_of_two_new_passwords_for_the_same_state_of_an_account_only_the_first_is_stored(
    database: Database, anna: User
) -> None:
    with database.session() as session:
        assert users.set_password(session, anna, "the first of two passwords")
    with database.session() as session:
        assert not users.set_password(session, anna, "the second of two passwords")
    assert check_password_hash(stored(database, anna).password_hash, "the first of two passwords")


@pytest.mark.parametrize("change", [users.sign_up, users.set_password])
def test_hashing_a_password_keeps_nobody_else_from_writing(
    database: Database, anna: User, change: Callable[..., object]
) -> None:
    statements: list[str] = []
    statements_before_hashing: list[int] = []
    original = generate_password_hash

    def note(connection: sa.Connection, cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    def hash_and_note(password: str, method: str) -> str:
        statements_before_hashing.append(len(statements))
        return original(password, method)

    sa.event.listen(database.engine, "begin", lambda connection: statements.append("BEGIN"))
    sa.event.listen(database.engine, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patch, database.session() as session:
        patch.setattr(users, "generate_password_hash", hash_and_note)
        change(session, "berta@example.com" if change is users.sign_up else anna, PASSWORD)
    assert statements_before_hashing == [0]
    assert statements[0].startswith("BEGIN")


# Tokens


@pytest.mark.parametrize("purpose", ["confirm", "reset"])
def test_a_token_leads_to_its_user(database: Database, anna: User, purpose: Purpose) -> None:
    verdict, user = read(database, Tokens([SECRET]).mint(purpose, anna), purpose)
    assert verdict is Verdict.OK
    assert user is not None
    assert user.id == anna.id


def test_a_token_names_neither_address_nor_password_hash(anna: User) -> None:
    token = Tokens([SECRET]).mint("reset", anna)
    payload = base64.urlsafe_b64decode(token.split(".")[0] + "==")
    assert b"anna" not in payload
    assert anna.password_hash[-20:].encode() not in payload


def test_a_token_expires(database: Database, anna: User, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(TimestampSigner, "get_timestamp", lambda self: int(time.time()) - 3700)
        old = Tokens([SECRET]).mint("reset", anna)
        patch.setattr(TimestampSigner, "get_timestamp", lambda self: int(time.time()) - 3500)
        young = Tokens([SECRET]).mint("reset", anna)
    assert read(database, old, max_age=3600) == (Verdict.EXPIRED, None)
    assert read(database, young, max_age=3600).verdict is Verdict.OK


def test_a_token_for_one_purpose_is_void_for_another(database: Database, anna: User) -> None:
    token = Tokens([SECRET]).mint("confirm", anna)
    assert read(database, token, "reset") == (Verdict.VOID, None)


def test_a_token_outlives_its_key_among_those_before(database: Database, anna: User) -> None:
    old = Tokens([SECRET]).mint("reset", anna)
    both = Tokens([SECRET, "the next secret"])
    for token in (old, both.mint("reset", anna)):
        with users.reading(database) as session:
            assert both.read(session, "reset", token, max_age=60).verdict is Verdict.OK
    assert read(database, both.mint("reset", anna)).verdict is Verdict.VOID, "the newest signs"


def test_a_token_of_another_app_is_void(database: Database, anna: User) -> None:
    token = Tokens(["another secret"]).mint("reset", anna)
    assert read(database, token) == (Verdict.VOID, None)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é", "\x00", "x" * 5000])
def test_what_is_no_token_is_void(database: Database, token: str) -> None:
    assert read(database, token) == (Verdict.VOID, None)


def test_changing_one_character_makes_a_token_void(database: Database, anna: User) -> None:
    token = Tokens([SECRET]).mint("reset", anna)
    for position in range(len(token) - 1):  # the last one may carry unused bits
        other = "B" if token[position] == "A" else "A"
        changed = token[:position] + other + token[position + 1 :]
        assert read(database, changed) == (Verdict.VOID, None), position


def test_a_new_password_makes_all_earlier_tokens_void(database: Database, anna: User) -> None:
    purposes: tuple[Purpose, ...] = ("confirm", "reset")
    tokens = [(purpose, Tokens([SECRET]).mint(purpose, anna)) for purpose in purposes]
    with database.session() as session:
        users.set_password(session, anna, PASSWORD)  # the same one, with a new salt
    for purpose, token in tokens:
        assert read(database, token, purpose) == (Verdict.VOID, None)


def test_confirming_makes_the_confirmation_link_void(database: Database, anna: User) -> None:
    token = Tokens([SECRET]).mint("confirm", anna)
    with database.session() as session:
        users.confirm(session, anna)
    assert read(database, token, "confirm") == (Verdict.VOID, None)


def test_another_address_or_no_account_makes_a_token_void(database: Database, anna: User) -> None:
    token = Tokens([SECRET]).mint("reset", anna)
    with database.begin() as connection:
        connection.execute(sa.update(User).values(email="new@example.com"))
    assert read(database, token) == (Verdict.VOID, None)
    with database.begin() as connection:
        connection.execute(sa.delete(User))
    assert read(database, token) == (Verdict.VOID, None)
