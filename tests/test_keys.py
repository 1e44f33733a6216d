"""Keys of the HTTP API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from mailer import keys
from mailer.db import Database
from mailer.errors import NotFound
from mailer.models import ApiKey


def test_a_key_is_found_by_itself_alone_and_stored_nowhere(database: Database) -> None:
    key_id, token = keys.create(database, "shop", scopes=["send"])
    found = keys.find(database, token)
    assert found is not None
    assert (found.id, found.name, [*found.scopes]) == (key_id, "shop", ["send"])
    for wrong in ("", token[:-1], token + "x", token.upper()):
        assert keys.find(database, wrong) is None
    with database.read() as connection:
        (row,) = connection.execute(sa.select(ApiKey.__table__))
    assert token not in str(row)
    assert len(token) >= 43  # 256 bits in base64


def test_a_key_that_expired_or_was_revoked_is_not_found(database: Database) -> None:
    assert keys.find(database, keys.create(database, "a", expires_in=timedelta(hours=1))[1])
    assert not keys.find(database, keys.create(database, "b", expires_in=timedelta(hours=-1))[1])
    key_id, token = keys.create(database, "c")
    keys.revoke(database, key_id)
    assert keys.find(database, token) is None
    assert key_id not in [row.id for row in keys.listing(database)]
    with pytest.raises(NotFound, match=key_id):
        keys.revoke(database, key_id)


def test_its_last_use_is_known(database: Database) -> None:
    _, token = keys.create(database, "shop")
    assert keys.listing(database)[0].last_used_at is None
    keys.find(database, token)
    used_at = keys.listing(database)[0].last_used_at
    assert datetime.now(UTC) - used_at < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("name", "scopes", "words"),
    [
        ("", ["send"], "name: expected 1 to 100"),
        ("a\nb", ["send"], "name: expected"),
        ("x" * 101, ["send"], "name: expected"),
        ("a", [], "scopes: expected some of send, read, manage"),
        ("a", ["admin"], r"got \['admin'\]"),
    ],
)
def test_a_wrong_key_is_refused(
    database: Database, name: str, scopes: list[str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        keys.create(database, name, scopes=scopes)
    assert keys.listing(database) == []
