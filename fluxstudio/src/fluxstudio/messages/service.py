"""Messages: a project's conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from fluxstudio import keys, staleness
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import Made, encode
from fluxstudio.messages import queries
from fluxstudio.messages.schemas import Message, MessageAuthor, MessagePage, NewMessage
from fluxstudio.problems import conflict
from fluxstudio.projects.service import Projects, check_writer
from fluxstudio.staleness import NOTHING, Stale
from fluxstudio.writes import Writes
from valtier import Cache

Announce = Callable[[int, bytes], Awaitable[None]]
"""Given the project and the message as JSON, once it is committed."""


_TOLD_S = 2.0
"""After this time a message that is sent again is told again."""


async def _tell_nobody(_: int, __: bytes) -> None:
    return


async def load_messages(pool: Pool, project_id: int, before: int | None, limit: int) -> bytes:
    """Loads a page of a project's messages."""
    async with pool.acquire() as connection:
        rows = await queries.fetch_messages(connection, project_id, before, limit + 1)
    messages = [
        Message(
            row["id"],
            project_id,
            MessageAuthor(row["author_id"], row["author_name"]),
            row["body"],
            row["created_at"],
            row["client_id"],
        )
        for row in rows[:limit]
    ]
    return encode(MessagePage(messages, messages[-1].id if len(rows) > limit else None))


class Messages:
    """The messages of projects."""

    def __init__(self, pool: Pool, cache: Cache, writes: Writes, *, projects: Projects) -> None:
        self._pool = pool
        self._cache = cache
        self._writes = writes
        self._projects = projects
        self.announce: Announce = _tell_nobody
        """Tells those who are in the project of a new message; set by the realtime side."""

    async def page(self, user_id: int, project_id: int, before: int | None, limit: int) -> Made:
        """Returns a page of messages as JSON. Two cache lookups: the caller's role, and the page, which all share.

        Raises:
            Problem: 404, the user is not a member.
        """
        await self._projects.role(user_id, project_id)
        load = partial(load_messages, self._pool, project_id, before, limit)
        tags = (keys.messages_tag(project_id), keys.NAMES)
        body = await self._cache.get_or_set(
            keys.messages(project_id, before, limit), keys.MESSAGES_TTL_S, load, tags=tags
        )
        return Made(body, keys.of_messages(user_id, project_id))

    async def post(self, user_id: int, project_id: int, form: NewMessage) -> bytes:
        """Adds a message, tells those who are there, and returns it as JSON. Sent again, it is found, not added.

        Raises:
            Problem: 404, the user is not a member; 403, they may only look; 409, another message has its `client_id`.
        """

        async def change(connection: Connection) -> tuple[tuple[bytes, bool], Stale]:
            await self._projects.keep_members(connection, project_id)
            row = await queries.insert_message(connection, project_id, user_id, form.body, form.client_id)
            check_writer(row["role"])
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
