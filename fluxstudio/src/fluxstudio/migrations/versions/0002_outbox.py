"""The outbox of cache invalidations, and triggers that write into it what others change.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

from valtier.outbox import OutboxSchema

revision = "0002"
down_revision = "0001"

_ROLES = ("owner", "editor", "viewer")

# What a changed row makes stale: the names are those of fluxstudio.keys.
_WATCHES: dict[str, tuple[list[str], list[str]]] = {
    "users": (["user:{id}", "account:{id}"], ["lists", "names", "pages"]),
    "sessions": (["session:{token_hash}"], []),
    "projects": ([f"project:{{id}}:{role}" for role in _ROLES], ["lists", "pages"]),
    "members": (
        ["roles:{user_id}", "members:{project_id}", *(f"project:{{project_id}}:{role}" for role in _ROLES)],
        ["lists", "pages"],
    ),
    "messages": ([], ["messages:{project_id}", "lists"]),
    "assets": (["asset:{id}"], []),
    "showcase_pages": (["showcase:{slug}", *(f"project:{{project_id}}:{role}" for role in _ROLES)], []),
}


def upgrade() -> None:
    outbox = OutboxSchema()
    for statement in outbox.create():
        op.get_bind().exec_driver_sql(statement)
    for table, (keys, tags) in _WATCHES.items():
        for statement in outbox.watch(table, keys=keys, tags=tags):
            op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    outbox = OutboxSchema()
    for table in _WATCHES:
        for statement in outbox.unwatch(table):
            op.get_bind().exec_driver_sql(statement)
    for statement in outbox.drop():
        op.get_bind().exec_driver_sql(statement)
