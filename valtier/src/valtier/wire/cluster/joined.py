"""Joined calls: one call of the user's that is several in the cluster, by slot or at every primary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from valtier.errors import ProtocolError, UnavailableError
from valtier.wire.cluster.node import Node
from valtier.wire.cluster.routed import Routed
from valtier.wire.cluster.router import Router
from valtier.wire.cluster.splitting import overall_error
from valtier.wire.connection import Reply


class Joined(asyncio.Future[Reply]):
    """The reply to the whole, once every part has one."""

    __slots__ = ("_merge", "_missing", "_name", "_read", "_results", "parts")

    def __init__(
        self,
        name: str,
        count: int,
        merge: Callable[[Sequence[Any]], Reply],
        *,
        read: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop=loop)
        self.parts: list[asyncio.Future[Reply]] = []
        self._name = name
        self._merge = merge
        self._read = read
        self._results: list[Any] = [None] * count
        self._missing = count

    def take(self, index: int, result: Any) -> None:
        """Takes the reply or the error of one part."""
        self._results[index] = result
        self._missing -= 1
        if self._missing or self.done():
            return
        error = overall_error(self._name, self._read, self._results)
        if error is None:
            try:
                merged = self._merge(self._results)
            except (TypeError, ValueError) as exc:
                error = ProtocolError(f"the nodes' replies to {self._name} do not fit together: {exc}")
            else:
                self.set_result(merged)
                return
        self.set_exception(error)
        self.exception()  # whoever awaits it is told

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancels the parts too: none of them is sent again."""
        for part in self.parts:
            part.cancel()
        return super().cancel(msg)


class Part(Routed):
    """One part of a call that was split by slot."""

    __slots__ = ("_index", "_whole")

    def __init__(
        self,
        router: Router,
        packed: bytes,
        slot: int,
        repeatable: bool,
        from_replica: bool,
        whole: Joined,
        index: int,
    ) -> None:
        super().__init__(router, packed, slot, repeatable, from_replica)
        self._whole = whole
        self._index = index

    def set_result(self, result: Reply) -> None:
        super().set_result(result)
        self._whole.take(self._index, result)

    def give_up(self, error: BaseException) -> None:
        done = self.done()
        super().give_up(error)
        if not done:
            self._whole.take(self._index, self.exception())


class Pinned(asyncio.Future[Reply]):
    """The reply of one certain node: what is asked of every node is asked nowhere else instead."""

    __slots__ = ("_index", "_whole")

    def __init__(self, whole: Joined, index: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._whole = whole
        self._index = index

    def send(self, node: Node, packed: bytes) -> None:
        """Sends it, or fails: never raises."""
        try:
            node.submit(self, packed)
        except UnavailableError as exc:
            self.set_exception(exc)

    def set_result(self, result: Reply) -> None:
        super().set_result(result)
        self._whole.take(self._index, result)

    def set_exception(self, exception: type | BaseException) -> None:
        super().set_exception(exception)
        self._whole.take(self._index, self.exception())
