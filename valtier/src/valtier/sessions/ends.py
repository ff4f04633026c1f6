"""Ends: who wants to know that a session has ended, such as whoever holds a socket open for it.

An end is heard over Valkey (publish and subscribe, on every worker) and, where sessions are durable, from PostgreSQL too. An
expiry makes no sound: whoever watches a session has it looked up again when it should have ended, and at intervals, and after
any gap in what is heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from valtier.errors import ValkeyError
from valtier.sessions.errors import SessionUnavailableError
from valtier.sessions.state import State
from valtier.wire import Gap, Valkey

log = logging.getLogger("valtier")

_MOST_TOLD = 10_000
_AGAIN_S = 0.5


class EndReason(enum.StrEnum):
    """Why a session has ended, as far as that is known."""

    SIGNED_OUT = "signed out"
    REVOKED = "revoked"
    REPLACED = "replaced"
    EXPIRED = "expired"
    ENDED = "ended"


_REASONS = {
    "o": EndReason.SIGNED_OUT,
    "r": EndReason.REVOKED,
    "p": EndReason.REPLACED,
    "x": EndReason.EXPIRED,
    "e": EndReason.ENDED,
}


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """That a session has ended."""

    device_id: str
    """The session's name, as `Session.device_id` and `Device.id`."""
    reason: EndReason


Listener = Callable[[SessionEnd], Awaitable[None] | None]


class Watch:
    """A look-out for the end of one session. `stop()` ends it; after the end it has been told, it is over by itself."""

    def __init__(self, ends: Ends, name: str, listener: Listener) -> None:
        self._ends = ends
        self.device_id = name
        self.listener = listener
        self.task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Looks no more. Stopping twice changes nothing."""
        self._ends.unwatch(self)


class Ends:
    """The listeners of one process. Guarded by the event loop."""

    def __init__(
        self,
        valkey: Valkey | None,
        channel: str,
        *,
        recheck_s: float,
        load: Callable[[str], Awaitable[State | None]],
        heard: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._valkey = valkey
        self._channel = channel
        self._recheck_s = recheck_s
        self._load = load
        self._heard = heard
        self._monotonic = monotonic
        self._listeners: list[Listener] = []
        self._watches: dict[str, set[Watch]] = {}
        self._told: dict[str, None] = {}
        self._recheck = asyncio.Event()
        self._gaps = 0
        self._hearing: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._stopped = False

    # -- registering ---------------------------------------------------------------------------------------

    def on_end(self, listener: Listener) -> Callable[[], None]:
        """Registers who is told of every end that this process hears of. Returns what unregisters it."""
        self._listeners.append(listener)
        self._hear()

        def remove() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return remove

    def watch(self, state: State, listener: Listener) -> Watch:
        """Registers who is told, once, that this session has ended."""
        self._hear()
        watch = Watch(self, state.name, listener)
        self._watches.setdefault(state.name, set()).add(watch)
        watch.task = asyncio.get_running_loop().create_task(self._look_after(watch, state.ends))
        return watch

    def unwatch(self, watch: Watch) -> None:
        if watch.task is not None and watch.task is not asyncio.current_task():
            watch.task.cancel()
        watches = self._watches.get(watch.device_id, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(watch.device_id, None)

    async def stop(self) -> None:
        self._stopped = True
        tasks = {watch.task for watches in self._watches.values() for watch in watches if watch.task}
        tasks |= self._calls
        if self._hearing is not None:
            tasks.add(self._hearing)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- hearing -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to hear, if anybody has registered already."""
        if self._listeners:
            self._hear()

    def _hear(self) -> None:
        if self._hearing is not None or self._valkey is None or self._stopped:
            return
        with contextlib.suppress(RuntimeError):  # no loop runs yet: `start` does it
            loop = asyncio.get_running_loop()
            self._hearing = loop.create_task(self._run(self._valkey), name="valtier-session-ends")

    async def _run(self, valkey: Valkey) -> None:
        while True:
            try:
                async with valkey.subscribe(self._channel, wait=True) as feed:
                    self._recheck_all()  # what was said before is not known
                    async for item in feed:
                        if isinstance(item, Gap):
                            self._recheck_all()
                        else:
                            text = item.data.decode("ascii", "replace")
                            self._heard(text[1:])
                            self.tell(text[1:], text[:1])
            except ValkeyError as exc:
                log.warning("Ends of sessions are not heard over Redis: %s", exc)
                await asyncio.sleep(self._recheck_s)
            else:
                return  # the client was closed

    def _recheck_all(self) -> None:
        self._gaps += 1
        self._recheck.set()
        self._recheck = asyncio.Event()

    def tell(self, name: str, why: str = "e") -> None:
        """Tells the listeners that a session has ended, once, however often it is heard."""
        if name in self._told:
            return
        if len(self._told) >= _MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._told[name] = None
        end = SessionEnd(name, _REASONS.get(why, EndReason.ENDED))
        for watch in self._watches.pop(name, set()):
            if watch.task is not None and watch.task is not asyncio.current_task():
                watch.task.cancel()
            self._call(watch.listener, end)
        for listener in tuple(self._listeners):
            self._call(listener, end)

    def _call(self, listener: Listener, end: SessionEnd) -> None:
        async def call() -> None:
            try:
                outcome = listener(end)
                if outcome is not None:
                    await outcome
            except Exception:
                log.exception("A listener to ended sessions failed")

        if not self._stopped:
            task = asyncio.get_running_loop().create_task(call())
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _look_after(self, watch: Watch, ends: float) -> None:
        """Looks a session up when it should have ended, at intervals, and after gaps."""
        gaps = self._gaps
        while True:
            if gaps == self._gaps:  # else there was one while it was looked up
                wait_s = max(0.01, min(self._recheck_s, ends - self._monotonic()))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._recheck.wait()
            gaps = self._gaps
            try:
                state = await self._load(watch.device_id)
            except SessionUnavailableError:
                ends = self._monotonic() + _AGAIN_S  # nobody can tell
                continue
            if state is None:
                self.tell(watch.device_id, "x" if self._monotonic() >= ends else "e")
                return
            ends = state.ends
