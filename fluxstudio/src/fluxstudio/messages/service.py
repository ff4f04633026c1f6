"""Messages: a project's conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from asyncpg import Record

from fluxstudio import keys, staleness
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import Made, encode
from fluxstudio.messages import queries
from fluxstudio.messages.schemas import Message, MessageAuthor, MessagePage, NewMessage
from fluxstudio.problems import FieldError, conflict, invalid, not_found
from fluxstudio.projects.service import Projects, archived, check_writer
from fluxstudio.staleness import NOTHING, Stale
from fluxstudio.writes import Writes
from valtier import Cache

Announce = Callable[[int, bytes], Awaitable[None]]
"""Given the project and the message as JSON, once it is committed."""


_TOLD_S = 2.0
"""After this time a message that is sent again is told again."""


async def _tell_nobody(_: int, __: bytes) -> None:
    return


Kind = Literal["newest", "before", "after", "around"]
_KINDS: tuple[Kind, ...] = ("before", "after", "around")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a conversation a page is."""

    kind: Kind = "newest"
    message_id: int = 0

    @classmethod
    def parse(cls, before: int | None, after: int | None, around: int | None) -> Place:
        """Raises a 422 problem where more than one is given."""
        given = [
            cls(kind, message_id)
            for kind, message_id in zip(_KINDS, (before, after, around), strict=True)
            if message_id is not None
        ]
        if len(given) > 1:
            first, second = given[:2]
            raise invalid([FieldError(f"query.{second.kind}", f"can't be given together with {first.kind}")])
        return given[0] if given else cls()


async def load_messages(pool: Pool, project_id: int, place: Place, limit: int) -> bytes:
    """Loads a page of a project's messages. Raises a 404 problem where there is no message to be around."""
    async with pool.acquire() as connection:
        return encode(await _fetch_page(connection, project_id, place, limit))


class Messages:
    """The messages of projects."""

    def __init__(self, pool: Pool, cache: Cache, writes: Writes, *, projects: Projects) -> None:
        self._pool = pool
        self._cache = cache
        self._writes = writes
        self._projects = projects
        self.announce: Announce = _tell_nobody
        """Tells those who are in the project of a new message; set by the realtime side."""

    async def page(self, user_id: int, project_id: int, place: Place, limit: int) -> Made:
        """Returns a page of messages as JSON. Two cache lookups: the caller's role, and the page, which all share.

        Raises:
            Problem: 404, the user is not a member, or there is no such message to be around.
        """
        await self._projects.role(user_id, project_id)
        load = partial(load_messages, self._pool, project_id, place, limit)
        body = await self._cache.get_or_set(
            keys.messages(project_id, place.kind, place.message_id, limit),
            keys.MESSAGES_TTL_S,
            load,
            tags=(keys.messages_tag(project_id), keys.NAMES),
        )
        return Made(body, keys.of_messages(user_id, project_id))

    async def post(self, user_id: int, project_id: int, form: NewMessage) -> bytes:
        """Adds a message, tells those who are there, and returns it as JSON. Sent again, it is found, not added.

        Raises:
            Problem: 404, the user is not a member; 403, they may only look; 409, the project is archived, or another
                message has its `client_id`.
        """

        async def change(connection: Connection) -> tuple[tuple[bytes, bool], Stale]:
            is_archived = await self._projects.keep_members(connection, project_id)
            row = await queries.insert_message(connection, project_id, user_id, form.body, form.client_id)
            check_writer(row["role"])
            if is_archived:
                raise archived()
            if row["id"] is None:
                return await self._sent(connection, user_id, project_id, form), NOTHING
            author = MessageAuthor(user_id, row["author_name"])
            message = Message(row["id"], project_id, author, form.body, row["created_at"], form.client_id)
            return (encode(message), True), staleness.message_posted(project_id, row["member_ids"])

        async def tell(done: tuple[bytes, bool]) -> None:
            body, untold = done
            if untold:
                await self.announce(project_id, body)

        body, _ = await self._writes.run(change, then=tell)
        return body

    @staticmethod
    async def _sent(
        connection: Connection, user_id: int, project_id: int, form: NewMessage
    ) -> tuple[bytes, bool]:
        """Returns the message that was sent before, as JSON, and whether others may not have been told of it.

        Who sends again after a while had no answer: the worker may have died between the commit and telling. To be told
        twice harms nobody: messages have ids.
        """
        if form.client_id is None:
            raise LookupError("INSERT of a message returned no row")
        row = await queries.fetch_sent(connection, project_id, user_id, form.client_id)
        if row is None or row["body"] != form.body:
            raise conflict("client-id-taken", "Another message has this client_id: make a new one for each.")
        author = MessageAuthor(user_id, row["author_name"])
        message = Message(row["id"], project_id, author, row["body"], row["created_at"], form.client_id)
        return encode(message), row["age_s"] > _TOLD_S


async def _fetch_page(connection: Connection, project_id: int, place: Place, limit: int) -> MessagePage:
    """Reads a page, and one message more at each end that may go on."""
    at = place.message_id
    if place.kind in {"newest", "before"}:
        older = await queries.fetch_messages(connection, project_id, at or None, limit + 1)
        # Newer than what is before a message is at least that message.
        next_after = older[0]["id"] if place.kind == "before" and older else None
        return _page(project_id, older[:limit], more=len(older) > limit, next_after=next_after)
    if place.kind == "after":
        newer = await queries.fetch_newer(connection, project_id, at, limit + 1)
        rows = newer[:limit][::-1]
        return _page(
            project_id, rows, more=bool(rows), next_after=rows[0]["id"] if len(newer) > limit else None
        )
    older = await queries.fetch_messages(connection, project_id, at + 1, (limit + 1) // 2 + 1)
    if not older or older[0]["id"] != at:
        raise not_found("message")
    newer = await queries.fetch_newer(connection, project_id, at, limit // 2 + 1)
    shown = newer[: limit // 2][::-1]
    rows = shown + older[: (limit + 1) // 2]
    return _page(
        project_id,
        rows,
        more=len(older) > (limit + 1) // 2,
        next_after=rows[0]["id"] if len(newer) > limit // 2 else None,
    )


def _page(project_id: int, rows: list[Record], *, more: bool, next_after: int | None) -> MessagePage:
    messages = [
        Message(
            row["id"],
            project_id,
            MessageAuthor(row["author_id"], row["author_name"]),
            row["body"],
            row["created_at"],
            row["client_id"],
        )
        for row in rows
    ]
    return MessagePage(messages, messages[-1].id if messages and more else None, next_after)
