"""A scheduler that runs actors one step at a time, in every order.

A step is a command to Valkey or an access to the origin: an actor that comes to one waits for its turn. After each step the
scheduler waits until everybody has come to the next, is done, or waits for somebody else. Which actor goes on is read from a
list of choices; `Orders` has every such list.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

from valtier import Tier

_actor: ContextVar[str | None] = ContextVar("actor", default=None)


class Steps:
    """One run of some actors. `choose` is given how many could go on, and says which does."""

    def __init__(self, tiers: Sequence[Tier], choose: Callable[[int], int]) -> None:
        self.trace: list[str] = []
        self._choose = choose
        self._tiers = tiers
        self._gates: list[tuple[str, str, asyncio.Future[None]]] = []
        self._ping: list[Callable[[], Awaitable[Any]]] = []
        for tier in tiers:
            self._intercept(tier)

    def _intercept(self, tier: Tier) -> None:
        valkey = tier.valkey
        call, call_tracked = type(valkey).call, type(valkey).call_tracked

        async def gated(method: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            await self.step(" ".join(str(word)[:40] for word in args[:2]))
            return await method(valkey, *args, **options)

        def intercepted(method: Any) -> Callable[..., Any]:
            def send(*args: Any, **options: Any) -> Any:
                if _actor.get() is None:
                    return method(valkey, *args, **options)
                return asyncio.ensure_future(gated(method, args, options))

            return send

        self._ping += [lambda: call(valkey, "PING"), lambda: call_tracked(valkey, "PING")]
        valkey.call = intercepted(call)  # type: ignore[method-assign]
        valkey.call_tracked = intercepted(call_tracked)  # type: ignore[method-assign]

    def restore(self) -> None:
        """Lets the tiers call as they did."""
        for tier in self._tiers:
            del tier.valkey.call, tier.valkey.call_tracked

    async def step(self, what: str) -> None:
        """Waits for the turn of the actor that runs."""
        actor = _actor.get()
        if actor is None:
            return
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gates.append((actor, what, gate))
        await gate

    async def _settle(self) -> None:
        """Waits until every message of Valkey has been read, and everybody has gone as far as they can."""
        for _ in range(2):
            await asyncio.gather(*(ping() for ping in self._ping))
            for _ in range(15):
                await asyncio.sleep(0)

    async def run(self, actors: dict[str, Coroutine[Any, Any, Any]]) -> None:
        """Runs the actors, and what they have left behind in the background, to the end."""
        tasks = []
        for name, coroutine in actors.items():
            token = _actor.set(name)
            tasks.append(asyncio.create_task(coroutine, name=name))
            _actor.reset(token)
        while True:
            await self._settle()
            done = all(task.done() for task in tasks)
            if self._gates:
                self._gates.sort(key=lambda gate: gate[0])
                actor, what, gate = self._gates.pop(0 if done else self._choose(len(self._gates)))
                self.trace.append(f"{actor}: {what}")
                gate.set_result(None)
            elif done:
                break
            else:
                await asyncio.sleep(0.005)  # somebody waits for a timer
        for task in tasks:
            task.result()


class Orders:
    """The orders of a scenario, one after the other; the second half of `limit` is drawn by lot, if not all fit."""

    def __init__(self, limit: int, seed: int = 0) -> None:
        self._limit = limit
        self._rng = random.Random(seed)
        self._ran = 0
        self._prefix: list[
            int
        ] = []  # the choices of the order that runs, up to the last that had another option
        self._options: list[int] = []

    def __iter__(self) -> Iterator[Callable[[int], int]]:
        while self._ran < self._limit:
            self._options.clear()
            yield self._choose
            self._ran += 1
            if not self._by_lot and not self._advance():
                return

    @property
    def _by_lot(self) -> bool:
        return self._ran >= self._limit // 2

    def _choose(self, count: int) -> int:
        at = len(self._options)
        self._options.append(count)
        if self._by_lot:
            return self._rng.randrange(count)
        if at == len(self._prefix):
            self._prefix.append(0)
        return min(self._prefix[at], count - 1)

    def _advance(self) -> bool:
        """Sets out for the next order; returns whether there is one."""
        prefix = self._prefix
        del prefix[
            len(self._options) :
        ]  # it was over sooner this time: a timer was quicker, or a load took longer
        while prefix and prefix[-1] + 1 >= self._options[len(prefix) - 1]:
            prefix.pop()
        if prefix:
            prefix[-1] += 1
        return bool(prefix)
