"""Libraries: the shapes that each user keeps.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"

_UPGRADE = (
    # `forgotten` is the version of the newest removal that is not remembered any more.
    """
    CREATE TABLE libraries (
        user_id   bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
        version   bigint NOT NULL DEFAULT 0,       -- each change that is kept adds one
        forgotten bigint NOT NULL DEFAULT 0
    )
    """,
    # `changed_at` is the library's version at which the shape became what it is, or was removed.
    """
    CREATE TABLE library_items (
        user_id    bigint NOT NULL REFERENCES libraries ON DELETE CASCADE,
        item_id    text COLLATE "C" NOT NULL CHECK (length(item_id) BETWEEN 1 AND 100),
        changed_at bigint NOT NULL,
        place      bigint NOT NULL,                -- the newest have the highest
        data       text,                           -- JSON; NULL: it was removed
        size_bytes integer NOT NULL,
        PRIMARY KEY (user_id, item_id)
    )
    """,
    "CREATE INDEX library_items_changed ON library_items (user_id, changed_at)",
)


def upgrade() -> None:
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE library_items")
    op.execute("DROP TABLE libraries")
