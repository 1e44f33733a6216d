"""Alembic's entry: runs on the connection that `mailer.db.Database` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator

from mailer.db import VERSION_TABLE
from mailer.models import Base


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Write what is stored instead of our own types: a migration outlives the code."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{type(item.impl_instance).__name__}()"
    return False


def include_name(name: str | None, kind: str, parents: Any) -> bool:
    """Leave the application's own tables in the same database alone."""
    return kind != "table" or (name or "").startswith("mailer_")


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_item=render_item,
    include_name=include_name,
)
with context.begin_transaction():
    context.run_migrations()
