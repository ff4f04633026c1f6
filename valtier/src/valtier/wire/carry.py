"""Carrying: commands that may be sent again wait here for the next connection, and not longer than their deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from valtier.errors import DeadlineError, UnavailableError
from valtier.telemetry import LinkTelemetry
from valtier.wire.again import Again, lost
from valtier.wire.connection import Reply


class Submit(Protocol):
    """Sends a packed command; `written_before` tells that it may have run already."""

    def __call__(
        self, future: asyncio.Future[Reply], packed: bytes, *, written_before: bool = False
    ) -> None: ...


class Carry:
    """The commands of one link between two connections, oldest first. Guarded by the event loop."""

    def __init__(self, telemetry: LinkTelemetry, submit: Submit) -> None:
        self._telemetry = telemetry
        self._submit = submit
        self._waiting: list[Again] = []

    def add(self, commands: Sequence[Again]) -> None:
        """Takes commands. Each that has no reply when its time is over fails, be it sent by then or not."""
        waiting = [command for command in commands if not command.future.done()]
        if waiting:
            self._waiting += waiting
            for left_s in {command.left_s for command in waiting}:
                alike = [command for command in waiting if command.left_s == left_s]
                asyncio.get_running_loop().call_later(left_s, self._expire, alike)

    def resend(self) -> None:
        """Sends them all, on a connection that has just been made. Once only: what kills a server kills one."""
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            if command.future.done():
                continue
            try:
                self._submit(command.future, command.packed, written_before=command.written)
            except UnavailableError:
                command.future.set_exception(lost(command))
            else:
                self._telemetry.carried += 1

    def _expire(self, commands: Sequence[Again]) -> None:
        waiting = {id(command.future) for command in self._waiting}
        for command in commands:
            if command.future.done():
                continue
            if id(command.future) in waiting:
                command.future.set_exception(lost(command))
            else:
                command.future.set_exception(
                    DeadlineError("the connection was lost, and the next one gave no reply in time")
                )
        self._waiting = [command for command in self._waiting if not command.future.done()]

    def fail_all(self) -> None:
        """Fails what waits: there will be no other connection."""
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            if not command.future.done():
                command.future.set_exception(lost(command))
