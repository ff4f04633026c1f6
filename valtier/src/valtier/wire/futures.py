"""Replies that do more than wait: a future's setters are called in socket order, while the bytes are being read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from valtier.wire.connection import Reply

log = logging.getLogger("valtier")


class Sunk(asyncio.Future[Reply]):
    """A reply that is handed to a `sink` before anything that came after it on the connection is looked at.

    An awaiting coroutine resumes later, when pushes of the same read have long been handled.
    """

    __slots__ = ("_sink",)

    def __init__(self, sink: Callable[[Reply], None]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._sink = sink

    def set_result(self, result: Reply) -> None:
        try:
            self._sink(result)
        except Exception:  # the connection and its other callers have no part in it
            log.exception("A sink of tracked replies failed")
        super().set_result(result)
