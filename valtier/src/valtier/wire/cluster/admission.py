"""Admission: runs the ready hooks before anybody may use a primary that is new, or newly connected.

They also run when a primary has left, which changes what the cluster as a whole is to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from valtier.wire.backoff import Backoff
from valtier.wire.cluster.node import ADMITTING, Node
from valtier.wire.hooks import preparing
from valtier.wire.link import Status

log = logging.getLogger("valtier")


class Admission:
    """Runs the hooks, one run at a time; primaries that come up together share one. Guarded by the event loop."""

    def __init__(
        self,
        primaries: Callable[[], Sequence[Node]],
        run_hooks: Callable[[], Awaitable[None]],
        identity: Callable[[], object],
        *,
        backoff: Backoff,
        patience_s: float,
        on_admitted: Callable[[], None],
    ) -> None:
        """Prepares it; nothing runs before `start`.

        Args:
            primaries: the primaries of the cluster as it is known.
            run_hooks: runs every hook.
            identity: what the primaries are together; another one calls for the hooks.
            backoff: how long to wait after a hook has failed.
            patience_s: how long the others wait for a primary that is being connected to for the first time.
            on_admitted: called after each run that was of use.
        """
        self._primaries = primaries
        self._run_hooks = run_hooks
        self._identity = identity
        self._shown: object = None  # the identity that the hooks have seen last
        self._backoff = backoff
        self._patience_s = patience_s
        self._on_admitted = on_admitted
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="valtier-cluster-admission")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def look(self) -> None:
        """Notes that a primary may have come up."""
        self._wanted.set()

    async def _run(self) -> None:
        failures, told = 0, ""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._admit()
                failures, told = 0, ""
            except Exception as exc:  # noqa: BLE001 - of the hooks' own; the next run may succeed
                failures += 1
                delay_s = self._backoff.delay_s(failures, random.random())
                level = logging.DEBUG if repr(exc) == told else logging.WARNING
                log.log(level, "A ready hook failed: %r (again in %.1fs)", exc, delay_s)
                told = repr(exc)
                await asyncio.sleep(delay_s)
                self._wanted.set()

    async def _admit(self) -> None:
        if self._candidates():
            await self._wait_for_first_tries()
        candidates = {node: node.link.connection for node in self._candidates()}
        if not candidates and (self._shown in (None, self._identity()) or not self._primaries()):
            return
        self._shown = self._identity()
        with preparing(ADMITTING):
            await self._run_hooks()
        for node, connection in candidates.items():
            if node.is_primary and node.link.connection is connection:
                node.admit()
        self._on_admitted()

    def _candidates(self) -> list[Node]:
        return [node for node in self._primaries() if not node.admitted and node.link.status is Status.READY]

    async def _wait_for_first_tries(self) -> None:
        """Lets primaries that are being connected to join this run: at the start that is all of them."""
        trying = [node.link for node in self._primaries() if node.link.status is Status.CONNECTING]
        if trying:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await asyncio.gather(*(link.wait_first_try() for link in trying))
