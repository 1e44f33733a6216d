"""Members, on both databases."""

from __future__ import annotations

from functools import partial

import pytest
from werkzeug.security import check_password_hash

from mailer import members
from mailer.db import Database
from mailer.errors import NotFound

PASSWORD = "correct horse battery staple"


def test_a_visit_is_found_by_its_token_until_it_ends(database: Database) -> None:
    members.add(database, "ann", "operator", PASSWORD, actor="test")
    first, second = (members.sign_in(database, "ann", PASSWORD) for _ in range(2))
    assert first is not None
    assert second is not None
    ann = members.by_name(database, "ann")
    assert members.visitor(database, first) == ann
    members.end(database, first)
    assert members.visitor(database, first) is None
    assert members.visitor(database, second) == ann
    assert members.visitor(database, "x\ud800") is None
    (row,) = members.listing(database)
    assert row.seen_at is not None
    members.remove(database, "ann", actor="test")
    assert members.visitor(database, second) is None
    assert members.listing(database) == []


@pytest.mark.parametrize("change", ["password", "removal"])
def test_a_change_while_a_password_is_checked_is_the_later_word(
    database: Database, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    members.add(database, "ann", "operator", PASSWORD, actor="test")

    def check(hashed: str, password: str) -> bool:
        is_right = check_password_hash(hashed, password)
        if change == "password":
            members.set_password(database, "ann", "another horse battery staple", actor="test")
        else:
            members.remove(database, "ann", actor="test")
        return is_right

    monkeypatch.setattr(members, "check_password_hash", check)
    assert members.sign_in(database, "ann", PASSWORD) is None


@pytest.mark.parametrize(
    ("name", "role", "password", "words"),
    [
        ("an n", "viewer", PASSWORD, "name: expected"),
        ("ann", "root", PASSWORD, "role: expected one of viewer, operator, admin, got 'root'"),
        ("ann", "viewer", "short", "password: use at least 12 characters"),
        ("ann-of-the-company", "viewer", "ann-of-the-company", "password: use something other"),
    ],
)
def test_a_wrong_member_is_refused(
    database: Database, name: str, role: str, password: str, words: str
) -> None:
    with pytest.raises(ValueError, match="^" + words):
        members.add(database, name, role, password, actor="test")
    assert members.listing(database) == []


def test_nobody_is_changed_who_is_not_there(database: Database) -> None:
    for change in (
        partial(members.set_role, role="admin"),
        partial(members.set_password, password=PASSWORD),
        members.remove,
    ):
        with pytest.raises(NotFound, match="there is no member 'ann'"):
            change(database, name="ann", actor="test")


def test_roles_include_those_below() -> None:
    ann = members.Member(1, "ann", "operator")
    assert [ann.may(role) for role in members.ROLES] == [True, True, False]
