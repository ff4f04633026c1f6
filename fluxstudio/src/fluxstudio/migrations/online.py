"""What migrations do to tables that are in use."""

from alembic import op
from sqlalchemy import text


def add_index(name: str, definition: str, *, unique: bool = False) -> None:
    """Builds an index while the table is read and written. Use it inside `autocommit_block()`.

    `definition` is what follows ON: `"messages (author_id)"`. One that an interrupted build has left is built anew.
    """
    connection = op.get_bind()
    query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"
    valid = connection.scalar(text(query), {"name": name})
    if valid is False:
        op.execute(f"DROP INDEX CONCURRENTLY {name}")
    if not valid:
        op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {name} ON {definition}")
