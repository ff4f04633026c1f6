"""Runs Alembic's migrations from code, so that no alembic.ini has to be found, while the studio serves.

They run before the new version starts, so the old one has to live with what they leave: docs/deploying.md has the rule.
Here is what makes running them safe:

- One at a time: whoever comes second waits, and finds nothing to do. The lock is asked for again and again, as a session
  that waits for it in PostgreSQL would have `CREATE INDEX CONCURRENTLY` wait for itself.
- No statement of a migration waits longer than a second for a table, because everybody who comes after it waits too. It
  gives up, lets them pass, and the migration is begun anew, for some minutes.
"""

import random
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from fluxstudio.db.errors import DatabaseUnavailableError, address_of

LOCK_TIMEOUT_S = 1.0
"""Less than the application's `statement_timeout`: who waits behind a migration is slow, and does not fail."""
_PATIENCE_S = 300.0
_LOCKED = {"55P03", "40P01"}  # lock_not_available, deadlock_detected
_MIGRATIONS = Path(__file__).parent.parent / "migrations"


class OtherMigrationError(Exception):
    """Another `migrate` is under way."""


def upgrade(database_url: str, revision: str = "head", *, patience_s: float = _PATIENCE_S) -> None:
    """Brings the database to `revision`. Blocking: call it from a command, never from a running event loop.

    What is locked by others is waited for, for `patience_s` at most.

    Raises:
        DatabaseUnavailableError: PostgreSQL gave no connection, or not the locks; the message says what to check.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["database_url"] = database_url
    deadline = time.monotonic() + patience_s
    while True:
        try:
            command.upgrade(config, revision)
        except OtherMigrationError:
            busy = "another migration is under way"
        except DBAPIError as exc:
            if getattr(exc.orig, "sqlstate", None) not in _LOCKED:
                raise
            busy = "a table that it has to change is in use all the time: look for long transactions"
        else:
            return
        if time.monotonic() > deadline:
            raise DatabaseUnavailableError(
                f"The database at {address_of(database_url)} could not be migrated within {patience_s:.0f} s: {busy}. "
                "Nothing is half done; run it again."
            )
        time.sleep(random.uniform(0.2, 1.0))
