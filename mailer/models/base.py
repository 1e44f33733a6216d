"""What tables have in common: their base, and the types of their columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

WHERE = "where"
"""Where an index has the condition that makes it a partial one. SQLAlchemy's own arguments for it
would load both dialects, of which one is 2 MB of each worker; the migrations have them."""


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as seconds since 1970 to compare with ``expressions.now()``."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: datetime | float | None, dialect: Any) -> float | None:
        return value.timestamp() if isinstance(value, datetime) else value

    def process_result_value(self, value: float | None, dialect: Any) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value, UTC)


_to_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one each time


class Written(dict[str, Any]):
    """A mapping whose JSON is known: to write it once more takes 15 microseconds an email."""

    def __init__(self, value: Mapping[str, Any], written: str) -> None:
        super().__init__(value)
        self.written = written


class Json(TypeDecorator[Any]):
    """A JSON value in a text column: the same bytes in SQLite and PostgreSQL."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        if not value and isinstance(value, dict):  # most headers and tags: 2 microseconds each
            return "{}"
        if isinstance(value, Written):
            return value.written
        return None if value is None else _to_json(value)

    def process_result_value(self, value: str | None, dialect: Any) -> Any:
        return None if value is None else json.loads(value)


RowId = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers only INTEGER keys


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
