"""What this process knows to be blocked: such a key costs no round trip until it may pass again.

Design
    A refusal tells how long its key has to wait. That is added to this process's monotonic clock, as it was when the
    question was asked; clocks of two machines are never compared. Until then the answer is known.

    Somebody may lift the block in between (`delete`, `reward`, FLUSHALL). Waits of more than a second are therefore watched:
    the state is read once on the tracked connection, in the same write as other commands, and Valkey tells when it changes.
    Where nothing can be tracked (RESP2, a server that refuses it, a lost connection) the key is asked about again after a
    second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from valtier.errors import ValkeyError
from valtier.wire import Valkey

UNWATCHED_S = 1.0
"""How long a block is believed that nobody watches."""

Block = tuple[float, float, float]
"""Until when that is believed; until when one point is refused; when all are back. By the monotonic clock."""
Waiting = dict[object, Block]
"""What one limiter looks at: its blocked keys, as they were given to it, or in a tuple their names."""


class BlockedKeys:
    """Names that are blocked. Bounded: past `most` the oldest are forgotten. Guarded by the event loop."""

    def __init__(
        self, valkey: Valkey | None, monotonic: Callable[[], float], *, prefix: str, most: int = 10_000
    ) -> None:
        self._where: dict[str, tuple[Waiting, object]] = {}
        self._valkey = valkey
        self._monotonic = monotonic
        self._prefix = prefix.encode()
        self._most = most
        self._listening = False

    def __len__(self) -> int:
        return len(self._where)

    def note(
        self,
        waiting: Waiting,
        key: object,
        name: str,
        since: float,
        wait_s: float,
        reset_s: float,
        state: bytes,
    ) -> None:
        """Remembers that a key has to wait.

        Args:
            waiting: the limiter's own dict, which is kept up.
            key: what the limiter looks for.
            name: where its state lies.
            since: from when the wait counts, by the monotonic clock.
            wait_s: until one point may pass.
            reset_s: until all points are back.
            state: what lies there.
        """
        before = self._where.get(name)
        if before is None:
            if len(self._where) >= self._most:
                self.forget(next(iter(self._where)))
        elif before[1] != key:  # the same key in another type
            self.forget(name)
        believed_s = wait_s if wait_s <= UNWATCHED_S or self._watch(name, state) else UNWATCHED_S
        waiting[key] = (since + believed_s, since + wait_s, since + reset_s)
        self._where[name] = waiting, key

    def forget(self, name: str) -> None:
        """Asks Valkey again next time."""
        found = self._where.pop(name, None)
        if found is not None:
            found[0].pop(found[1], None)

    # -- watching ------------------------------------------------------------------------------------------

    def _watch(self, name: str, state: bytes) -> bool:
        valkey = self._valkey
        if valkey is None:
            return True
        if not self._listening:
            self._listening = True
            valkey.on_invalidate(self._on_invalidate)
        if not valkey.tracking:
            return False
        confirmed = False

        def compare(reply: object) -> None:
            nonlocal confirmed
            confirmed = reply == state

        def finish(future: asyncio.Future[Any]) -> None:
            failed = future.cancelled() or future.exception() is not None
            if failed or not confirmed:
                self.forget(name)

        try:
            valkey.call_tracked("GET", name, sink=compare).add_done_callback(finish)
        except ValkeyError:
            return False
        return True

    def _on_invalidate(self, names: list[bytes] | None) -> None:
        if names is None:
            for waiting, _ in self._where.values():
                waiting.clear()
            self._where.clear()
        elif self._where:
            for name in names:
                if name.startswith(self._prefix):
                    self.forget(name.decode("utf-8", "replace"))
