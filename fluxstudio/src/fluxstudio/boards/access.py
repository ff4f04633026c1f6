"""Who may do what on a board: members by their role, guests by a share link."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from fluxstudio.boards import link_queries, queries
from fluxstudio.db.pool import Connection
from fluxstudio.problems import forbidden, not_found
from fluxstudio.projects.service import Projects, archived
from fluxstudio.roles import WRITERS

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a signed-in user, or a guest who holds a link. Exactly one of them is given."""

    user_id: int | None = None
    link: bytes | None = None
    """The SHA-256 of the link's token."""


def new_token() -> tuple[str, bytes]:
    """Returns the token of a new link, of 256 random bits, and what is stored of it."""
    token = secrets.token_urlsafe(32)
    return token, hash_token(token)


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def guest(token: str) -> Actor:
    """Returns who holds this token. Raises a 404 problem where it can be none."""
    if not _TOKEN.fullmatch(token):
        raise not_found("link")
    return Actor(link=hash_token(token))


async def require(
    connection: Connection, projects: Projects, actor: Actor, board_id: int, *, edit: bool
) -> int:
    """Checks, inside a transaction, that the actor may see or edit the board; keeps that true until its end.

    Returns the board's project.

    Raises:
        Problem: 404, there is no such board or the actor may not see it; 403, they may only look; 409, the project is
            archived.
    """
    board = await queries.fetch_board(connection, board_id)
    if board is None:
        raise not_found("board")
    project_id: int = board["project_id"]
    is_archived = await projects.keep_members(connection, project_id)
    if actor.user_id is not None:
        role = await projects.role_now(connection, actor.user_id, project_id)
        may_edit = role in WRITERS
        found = role is not None
    else:
        link = await link_queries.share_link(connection, actor.link or b"")
        found = link is not None and link["board_id"] == board_id
        may_edit = found and link is not None and link["may_edit"]
    if not found:
        raise not_found("board")
    if edit and not may_edit:
        raise forbidden("You may only look at this board. Ask an owner of the project to let you edit.")
    if edit and is_archived:
        raise archived()
    return project_id
