"""A question that has left already, and whose answer is taken later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from valtier.errors import ValkeyError

D = TypeVar("D")


class Asked(Generic[D]):
    """What `begin` returns. Its commands are on their way, in one write with all else that this turn sends."""

    __slots__ = ("_conclude", "_passed", "_reply", "_sent", "_taken")

    def __init__(
        self,
        conclude: Callable[[Any], Awaitable[D]],
        sent: asyncio.Future[Any] | None = None,
        reply: Any = None,
        passed: Callable[[int], D] | None = None,
    ) -> None:
        """`passed` makes the decision of a reply that is one number: what happens most, without a further coroutine."""
        self._conclude = conclude
        self._passed = passed
        self._sent = sent
        self._reply = reply
        self._taken = False

    def __del__(self) -> None:
        sent = self._sent
        if sent is not None and not self._taken:  # whoever asked is gone: nobody is to be warned of an error
            sent.add_done_callback(_retrieve)

    async def decision(self) -> D:
        """Waits for the decision. It raises as `hit` does."""
        self._taken = True
        if self._sent is None:
            return await self._conclude(self._reply)
        try:
            reply = await self._sent
        except ValkeyError as exc:
            reply = exc
        else:
            if self._passed is not None and type(reply) is list and type(reply[0]) is int:
                return self._passed(reply[0])
        return await self._conclude(reply)


def _retrieve(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
