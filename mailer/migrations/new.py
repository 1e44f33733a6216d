"""Write the migration that the models need: ``python -m mailer.migrations.new "Add a column"``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from mailer.db import Database, alembic_config


def main(message: str) -> None:
    """Compare the models with a database at the newest revision, and write what is missing."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder, 'ledger.sqlite3')}")
        database.upgrade()
        config = alembic_config()
        versions = sorted(Path(__file__).with_name("versions").glob("[0-9]*.py"))
        with database.begin() as connection:
            config.attributes["connection"] = connection
            number = f"{len(versions) + 1:04}"
            command.revision(config, message, autogenerate=True, rev_id=number)


if __name__ == "__main__":
    main(sys.argv[1])
