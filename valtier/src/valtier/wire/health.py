"""Health: watches what becomes of a connection's commands, and says when to stop sending and when to begin again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from valtier.errors import UnavailableError
from valtier.telemetry import LinkTelemetry
from valtier.wire.breaker import Breaker, State
from valtier.wire.connection import Connection


class Health:
    """The breaker of one link and the probe behind it. Guarded by the event loop.

    A missed deadline opens the breaker, unless bytes keep coming in: then replies are many or large, and Valkey is well.
    But not for long: without a whole reply for two deadlines it opens all the same (`on_stall`). While it is open a PING
    now and then tells when Valkey answers in time again; a connection that gives no reply for `drop_after_s` is dropped.

    Each change of the breaker's state is counted and told once, in whatever way it came about.
    """

    def __init__(
        self, telemetry: LinkTelemetry, *, drop_after_s: float, on_change: Callable[[State, State, int], None]
    ) -> None:
        """Prepares; `on_change(before, now, missed)` is told each change of state, with how many replies are overdue."""
        self._telemetry = telemetry
        self._drop_after_s = drop_after_s
        self._on_change = on_change
        self._breaker = Breaker()
        self._connection: Connection | None = None
        self._stuck_since: float | None = None
        self._prober: asyncio.TimerHandle | None = None

    @property
    def state(self) -> State:
        return self._breaker.state

    def begin(self, connection: Connection) -> None:
        """Begins anew, with a connection that has just answered."""
        self._connection = connection
        self._stuck_since = None
        self._close()

    def end(self) -> None:
        """The connection is gone, and a probe on it with it."""
        self._connection = None
        if self._prober is not None:
            self._prober.cancel()
            self._prober = None
        if self.state is State.HALF_OPEN:
            self._open(asyncio.get_running_loop().time(), 0)

    # -- what the connection tells -------------------------------------------------------------------------

    def on_deadline(self, missed: int, heard: bool) -> None:
        """Notes that `missed` commands have no reply in time; `heard` tells whether bytes came in meanwhile."""
        if self._connection is None or (heard and self._stuck_since is None):
            return
        self._note_stuck(missed)

    def on_stall(self) -> None:
        """Notes that there was no whole reply for two deadlines, though one is overdue; bytes may have trickled in."""
        if self._connection is not None and self._stuck_since is None:
            self._note_stuck(self._connection.in_flight)

    def on_alive(self, in_time: bool) -> None:
        """Notes replies; `in_time` tells whether the last of them kept its deadline."""
        if self._stuck_since is None:
            return
        if in_time:
            self._stuck_since = None
            self._close()
            return
        # It lives, and is too slow: only a reply in time closes the breaker.
        self._stuck_since = asyncio.get_running_loop().time()
        if self._connection is not None and not self._connection.in_flight:
            self._send_probe(self._connection)

    # -- the breaker ---------------------------------------------------------------------------------------

    def _note_stuck(self, missed: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._stuck_since is None:
            self._stuck_since = now
        self._open(now, missed)
        if self._prober is None:
            self._schedule_probe()

    def _open(self, now: float, missed: int) -> None:
        before = self.state
        if self._breaker.failure(now):
            self._telemetry.breaker_opened += 1
            self._tell(before, missed)

    def _close(self) -> None:
        before = self.state
        if self._breaker.success():
            self._telemetry.breaker_closed += 1
            self._tell(before, 0)

    def _tell(self, before: State, missed: int) -> None:
        self._telemetry.breaker = self.state.value
        self._on_change(before, self.state, missed)

    # -- probing -------------------------------------------------------------------------------------------

    def _schedule_probe(self) -> None:
        self._prober = asyncio.get_running_loop().call_later(self._breaker.open_s, self._probe)

    def _probe(self) -> None:
        self._prober = None
        connection, now = self._connection, asyncio.get_running_loop().time()
        if connection is None or self._stuck_since is None:
            return
        if now - self._stuck_since >= self._drop_after_s:
            connection.abort(TimeoutError(f"no reply for {self._drop_after_s:g} s"))
            return
        self._schedule_probe()
        if self._breaker.probe_due(now):
            self._send_probe(connection)

    def _send_probe(self, connection: Connection) -> None:
        with contextlib.suppress(
            UnavailableError
        ):  # as many as there may be are in flight: the next one tells
            connection.send("PING").add_done_callback(_swallow)
            if self._breaker.probe():
                self._telemetry.breaker_half_opened += 1
                self._tell(State.OPEN, 0)


def _swallow(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
