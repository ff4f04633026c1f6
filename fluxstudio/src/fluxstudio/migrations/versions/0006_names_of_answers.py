"""The watches say by tag, too, what they say by key: the response cache knows its answers by the names of what they show.

Revision ID: 0006
Revises: 0004
"""

from alembic import op

from valtier.outbox import OutboxSchema

revision = "0006"
down_revision = "0005"

_ROLES = ("owner", "editor", "viewer")

# What a changed row makes stale: keys, which are tags as well, and further tags. The names are those of fluxstudio.keys.
_WATCHES: dict[str, tuple[list[str], list[str]]] = {
    "users": (["user:{id}", "account:{id}"], ["lists", "names", "pages"]),
    "projects": ([f"project:{{id}}:{role}" for role in _ROLES], ["lists", "pages"]),
    "members": (
        ["roles:{user_id}", "members:{project_id}", *(f"project:{{project_id}}:{role}" for role in _ROLES)],
        ["lists", "pages"],
    ),
    "assets": (["asset:{id}"], []),
    "showcase_pages": (["showcase:{slug}", *(f"project:{{project_id}}:{role}" for role in _ROLES)], []),
}


def upgrade() -> None:
    for table, (keys, tags) in _WATCHES.items():
        for statement in OutboxSchema().watch(table, keys=keys, tags=[*tags, *keys]):
            op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for table, (keys, tags) in _WATCHES.items():
        for statement in OutboxSchema().watch(table, keys=keys, tags=tags):
            op.get_bind().exec_driver_sql(statement)
