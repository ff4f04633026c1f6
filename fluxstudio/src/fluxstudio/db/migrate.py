"""Runs Alembic's migrations from code, so that no alembic.ini has to be found."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import make_url

_MIGRATIONS = Path(__file__).parent.parent / "migrations"


def upgrade(database_url: str, revision: str = "head") -> None:
    """Brings the database to `revision`. Blocking: call it from a command, never from a running event loop."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["database_url"] = make_url(database_url).set(drivername="postgresql+asyncpg")
    command.upgrade(config, revision)
