"""Runs Alembic's migrations from code, so that no alembic.ini has to be found."""

from pathlib import Path

from alembic import command
from alembic.config import Config

_MIGRATIONS = Path(__file__).parent.parent / "migrations"


def upgrade(database_url: str, revision: str = "head") -> None:
    """Brings the database to `revision`. Blocking: call it from a command, never from a running event loop.

    Raises:
        DatabaseUnavailableError: PostgreSQL gave no connection; the message says what to check.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["database_url"] = database_url
    command.upgrade(config, revision)
