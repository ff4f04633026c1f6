"""Messages: a project's conversation."""

from __future__ import annotations

from fluxstudio import keys, staleness
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import encode
from fluxstudio.messages import queries
from fluxstudio.messages.schemas import Message, MessageAuthor, MessagePage, NewMessage
from fluxstudio.projects.service import Projects, check_writer
from fluxstudio.staleness import Stale
from fluxstudio.writes import Writes
from valtier import Cache


class Messages:
    """The messages of projects."""

    def __init__(self, pool: Pool, cache: Cache, writes: Writes, *, projects: Projects) -> None:
        self._pool = pool
        self._cache = cache
        self._writes = writes
        self._projects = projects

    async def page(self, user_id: int, project_id: int, before: int | None, limit: int) -> bytes:
        """Returns a page of messages as JSON. Two cache lookups: the caller's role, and the page, which all share.

        Raises:
            Problem: 404, the user is not a member.
        """
        await self._projects.role(user_id, project_id)

        async def load() -> bytes:
            async with self._pool.acquire() as connection:
                rows = await queries.fetch_messages(connection, project_id, before, limit + 1)
            messages = [
                Message(
                    row["id"],
                    project_id,
                    MessageAuthor(row["author_id"], row["author_name"]),
                    row["body"],
                    row["created_at"],
                )
                for row in rows[:limit]
            ]
            return encode(MessagePage(messages, messages[-1].id if len(rows) > limit else None))

        return await self._cache.get_or_set(
            keys.messages(project_id, before, limit),
            keys.MESSAGES_TTL_S,
            load,
            tags=(keys.messages_tag(project_id), keys.NAMES),
        )

    async def post(self, user_id: int, project_id: int, form: NewMessage) -> bytes:
        """Adds a message, and returns it as JSON.

        Raises:
            Problem: 404, the user is not a member; 403, they may only look.
        """

        async def change(connection: Connection) -> tuple[bytes, Stale]:
            await self._projects.keep_members(connection, project_id)
            row = await queries.insert_message(connection, project_id, user_id, form.body)
            check_writer(row["role"])
            author = MessageAuthor(user_id, row["author_name"])
            message = Message(row["id"], project_id, author, form.body, row["created_at"])
            return encode(message), staleness.message_posted(project_id, row["member_ids"])

        return await self._writes.run(change)
