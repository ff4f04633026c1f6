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

    A missed deadline opens the breaker, unless replies keep coming in: then they are many or large, and Valkey is well.
    While it is open a PING now and then tells when Valkey answers in time again; a connection that stays mute for
    `drop_after_s` is dropped.
    """

    def __init__(
        self, telemetry: LinkTelemetry, *, drop_after_s: float, on_change: Callable[[bool, int], None]
    ) -> None:
        """Prepares; `on_change(well, missed)` is told when the breaker opens (with so many missed) and closes."""
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
        self._breaker.success()

    def end(self) -> None:
        """The connection is gone."""
        self._connection = None
        if self._prober is not None:
            self._prober.cancel()
            self._prober = None

    def on_deadline(self, missed: int, heard: bool) -> None:
        """Notes that `missed` commands have no reply in time; `heard` tells whether others have."""
        now = asyncio.get_running_loop().time()
        well = self._stuck_since is None
        if (heard and well) or self._connection is None:
            return
        if well:
            self._stuck_since = now
        self._telemetry.breaker_opened += self._breaker.failure(now)
        if well:
            self._on_change(False, missed)
        if self._prober is None:
            self._schedule_probe()

    def on_alive(self, in_time: bool) -> None:
        """Notes replies; `in_time` tells whether the last of them kept its deadline."""
        if self._stuck_since is None:
            return
        if in_time:
            self._stuck_since = None
            self._breaker.success()
            self._on_change(True, 0)
            return
        # It lives, and is too slow: only a reply in time closes the breaker.
        self._stuck_since = asyncio.get_running_loop().time()
        if self._connection is not None and not self._connection.in_flight:
            _send_probe(self._connection)

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
            self._telemetry.breaker = self._breaker.state.value
            _send_probe(connection)


def _send_probe(connection: Connection) -> None:
    with contextlib.suppress(UnavailableError):  # as many as there may be are in flight: the next one tells
        connection.send("PING").add_done_callback(_swallow)


def _swallow(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
