"""Keys of the HTTP API."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mailer import keys
from mailer.db import Database
from mailer.errors import LedgerUnavailable, NotFound, Refused
from mailer.grants import checked
from mailer.ledger import acts
from mailer.ledger.record import uuid7
from mailer.models import ApiKey


def change(database: Database, **values: Any) -> None:
    with database.begin() as connection:
        connection.execute(sa.update(ApiKey).values(**values))


def test_a_key_is_found_by_itself_alone_and_stored_nowhere(database: Database) -> None:
    key_id, token = keys.create(database, "shop", checked(scopes=["send"]), actor="test")
    found = keys.find(database, token)
    assert found is not None
    assert (found.id, found.name, [*found.scopes]) == (key_id, "shop", ["send"])
    for wrong in ("", token[:-1], token + "x", token.upper()):
        assert keys.find(database, wrong) is None
    with database.read() as connection:
        (row,) = connection.execute(sa.select(ApiKey.__table__))
    assert token not in str(row)
    assert len(token) >= 43  # 256 bits in base64


def test_of_several_with_one_id_at_once_a_single_one_is_made(database: Database) -> None:
    key_id = uuid7()

    def make(number: int) -> str | None:
        try:
            return keys.create(database, f"{number}", checked(), actor="x", key_id=key_id)[1]
        except Refused:
            return None

    with ThreadPoolExecutor(4) as pool:
        (token,) = filter(None, pool.map(make, range(4)))
    found = keys.find(database, token)
    assert found is not None
    assert found.id == key_id
    with database.read() as connection:
        assert len(acts.page(connection, 10)[0]) == 1


def test_all_that_it_may_do_is_found(database: Database) -> None:
    ends = datetime(2040, 1, 1, tzinfo=UTC)
    options: dict[str, Any] = {
        "scopes": ["read", "send"],
        "senders": ["*@Shop.example"],
        "recipients": ["qa@shop.example", "*@qa.shop.example"],
        "templates": ["order_*"],
        "lane": "bulk",
        "rate": "100/min",
        "is_test": True,
        "expires_at": ends,
    }
    _, token = keys.create(database, "all", checked(**options), actor="test")
    found = keys.find(database, token)
    assert found is not None
    assert token.startswith("mk_test_")
    assert found.scopes == {"send", "read"}
    assert found.senders == ("*@shop.example",)
    assert found.recipients == ("qa@shop.example", "*@qa.shop.example")
    assert (found.templates, found.lane, found.rate) == (("order_*",), "bulk", "100/minute")
    assert (found.is_test, found.expires_at) == (True, ends)


def test_a_key_that_expired_or_was_revoked_is_not_found(database: Database) -> None:
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    _, token = keys.create(database, "a", checked(expires_at=in_an_hour), actor="test")
    assert keys.find(database, token)
    change(database, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert keys.find(database, token) is None

    key_id, token = keys.create(database, "c", checked(), actor="test")
    assert keys.find(database, token)
    keys.revoke(database, key_id, actor="test")
    assert keys.find(database, token) is None
    assert key_id not in [row.id for row in keys.listing(database)]
    with pytest.raises(NotFound, match=key_id):
        keys.revoke(database, key_id, actor="test")
    with pytest.raises(NotFound, match=key_id):
        keys.rename(database, key_id, "d", actor="test")


def test_its_last_use_is_known_to_the_minute(database: Database) -> None:
    _, token = keys.create(database, "shop", checked(), actor="test")
    assert keys.listing(database)[0].last_used_at is None
    keys.find(database, token)
    used_at = keys.listing(database)[0].last_used_at
    assert datetime.now(UTC) - used_at < timedelta(seconds=10)
    keys.find(database, token)
    assert keys.listing(database)[0].last_used_at == used_at
    change(database, last_used_at=used_at - timedelta(seconds=61))
    keys.find(database, token)
    assert keys.listing(database)[0].last_used_at >= used_at


def test_a_key_is_good_while_its_last_use_cannot_be_noted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = keys.create(database, "shop", checked(), actor="test")

    def locked() -> Any:
        raise LedgerUnavailable("database is locked")

    monkeypatch.setattr(database, "brief", locked)
    assert keys.find(database, token) is not None


def test_without_tables_it_is_said_what_to_run(tmp_path: Path) -> None:
    empty = Database(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    with pytest.raises(LedgerUnavailable, match="db upgrade"):
        keys.find(empty, "mk_x")
    empty.close()


def test_they_are_listed_page_by_page(database: Database) -> None:
    ids = sorted(keys.create(database, f"key {n}", checked(), actor="test")[0] for n in range(5))
    first = keys.page(database, 2, None, None)
    assert ([row.id for row in first.keys], first.has_more) == ([ids[4], ids[3]], True)
    rest = keys.page(database, 3, ids[3], None)
    assert ([row.id for row in rest.keys], rest.has_more) == (ids[2::-1], False)
    newer = keys.page(database, 1, None, ids[2])
    assert ([row.id for row in newer.keys], newer.has_more) == ([ids[3]], True)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101])
def test_a_wrong_name_is_refused(database: Database, name: str) -> None:
    with pytest.raises(ValueError, match="name: expected 1 to 100"):
        keys.create(database, name, checked(), actor="test")
    assert keys.listing(database) == []
    key_id, _ = keys.create(database, "a", checked(), actor="test")
    with pytest.raises(ValueError, match="name: expected 1 to 100"):
        keys.rename(database, key_id, name, actor="test")
    assert keys.listing(database)[0].name == "a"
