"""The limiter: one limit on many keys, decided by Valkey in one script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError, ReplyError, ValkeyError
from valtier.limits.algorithms import Verdict
from valtier.limits.asked import Asked
from valtier.limits.batch import Batch
from valtier.limits.blocked import BlockedKeys, Waiting
from valtier.limits.counting import Counting
from valtier.limits.decision import INSURANCE, LOCAL, VALKEY, Decision
from valtier.limits.local import LocalLimits
from valtier.limits.names import head, subject_of
from valtier.limits.policy import Algorithm, Limit, OnOutage, check_points
from valtier.limits.scripts import BLOCK, DECIDE, GCRA
from valtier.wire import Valkey

_SHORT = 120
"""Keys of so many characters are kept in memory as they are; of longer ones only the name, which is bounded."""
_SPARED = 2
"""A stack's limit that would have passed, had not another one refused: nothing was taken."""
_LETTER = {Algorithm.GCRA: "g", Algorithm.FIXED_WINDOW: "f", Algorithm.SLIDING_WINDOW: "s"}


class Limiter(Counting):
    """A limit of `points` in `duration` on each key. Get it from `Tier.limiter`.

    A decision is one script on the server, by the server's clock: one round trip, shared with its neighbours; none for a
    key that this process knows to be blocked. What an algorithm can't do is said at `Algorithm`.
    """

    def __init__(
        self,
        limit: Limit,
        valkey: Valkey | None,
        *,
        prefix: str,
        blocked: BlockedKeys,
        local: LocalLimits,
        monotonic: Callable[[], float],
        on_outage: OnOutage = OnOutage.INSURANCE,
        workers: int = 1,
        shadow: bool = False,
    ) -> None:
        super().__init__(limit, on_outage=on_outage, share=limit.share(workers), shadow=shadow)
        self.waiting: Waiting = {}
        """Keys that this process knows to be blocked."""
        self._valkey = valkey
        self._is_gcra = limit.algorithm is Algorithm.GCRA
        self._blocked = blocked
        self._local = local
        self._monotonic = monotonic
        self._head = head(prefix)
        self._end = f"}}:{limit.name}"
        self._unit_us = limit.unit_us
        self._capacity_us = limit.capacity * limit.unit_us
        self._step_s = limit.unit_us / 1e6 if self._is_gcra else 0.0
        self._tail = self._tail_of(1)
        script = GCRA if self._is_gcra else DECIDE
        self._batch = None if valkey is None else Batch(valkey, script, self._tail)
        self._plain_name = lru_cache(maxsize=2048)(self.name_of)

    def __repr__(self) -> str:
        return f"<Limiter {self.limit.name}: {self.limit.points} in {self.limit.duration_s:g} s>"

    # -- deciding ------------------------------------------------------------------------------------------

    async def hit(self, key: object, cost: int = 1) -> Decision:
        """Takes `cost` points of the key if they are there, and says whether they were. One round trip, or none.

        Args:
            key: whose points: an address, an account; text, a number, a UUID. What a user sent is made harmless.
            cost: how many points.

        Raises:
            LimitUnavailableError: Valkey can't decide, and the limit is closed in outages.
            ConfigurationError: the key can't be a key, or the cost is not from 1 to the capacity.
        """
        waiting = self.waiting
        if waiting and (known := self.known(key, cost)) is not None:
            return known
        name = self._plain_name(key) if type(key) is str and len(key) <= _SHORT else self.name_of(key)
        since = self._monotonic()
        try:
            if cost == 1 and self._batch is not None:
                reply = await self._batch.send(name)
            elif self._valkey is not None:
                reply = await self._send(name, cost)
            else:
                return self._decide_here(name, cost, LOCAL)
        except ValkeyError as exc:
            reply = exc
        else:
            passed = reply[0] if type(reply) is list or type(reply) is tuple else None
            if type(passed) is int:
                return self._passed(passed)
        return await self._conclude(key, name, cost, since, reply)

    def begin(self, key: object, cost: int = 1) -> Asked[Decision]:
        """Asks as `hit` does, and takes the answer later: the question leaves with what else this turn sends.

        Raises:
            ConfigurationError: the key can't be a key, or the cost is not from 1 to the capacity.
        """
        name = self._plain_name(key) if type(key) is str and len(key) <= _SHORT else self.name_of(key)
        if cost != 1:
            self._check_cost(cost)
        if self.waiting and (known := self.known(key, cost)) is not None:
            return Asked(_itself, reply=known)
        if self._valkey is None:
            return Asked(_itself, reply=self._decide_here(name, cost, LOCAL))
        conclude = partial(self._conclude, key, name, cost, self._monotonic())
        try:
            return Asked(conclude, self._send(name, cost), passed=self._passed)
        except ValkeyError as exc:
            return Asked(conclude, reply=exc)

    async def peek(self, key: object) -> Decision:
        """Says what is left, and whether one more point would pass, and takes nothing. One round trip.

        Raises:
            LimitUnavailableError: Valkey can't be asked, and the limit is closed in outages.
        """
        return await self._look(self.name_of(key), "peek", 0)

    async def penalty(self, key: object, points: int = 1) -> Decision:
        """Takes points away, whether they are there or not, down to a debt of all of them once more. One round trip.

        Raises:
            LimitUnavailableError: Valkey can't be asked, and the limit is closed in outages.
        """
        return await self._look(self.name_of(key), "adjust", check_points(points))

    async def reward(self, key: object, points: int = 1) -> Decision:
        """Gives points back. It does not lift a block; `delete` does. One round trip.

        Raises:
            LimitUnavailableError: Valkey can't be asked, and the limit is closed in outages.
        """
        name = self.name_of(key)
        self._blocked.forget(name)
        decision = await self._look(name, "adjust", -check_points(points))
        self._blocked.forget(name)
        return decision

    async def block(self, key: object, duration: Duration) -> None:
        """Refuses the key for so long, whatever points it has. Then it has all of them. One round trip.

        Raises:
            ConfigurationError: `duration` is below a millisecond.
            LimitUnavailableError: Valkey can't be asked, and the limit is closed in outages.
        """
        name, for_s = self.name_of(key), seconds(duration, name="duration")
        block_ms = round(for_s * 1000)
        if block_ms < 1:
            raise ConfigurationError(f"duration is at least a millisecond, not {duration!r}")
        since = self._monotonic()
        if self._valkey is not None:
            try:
                state = await BLOCK.run(self._valkey, (name,), (block_ms,))
            except ValkeyError as exc:
                self._note_outage(exc)
            else:
                self._remember(key, name, since, for_s, for_s, state)
                return
        self._local.block(name, for_s)

    async def delete(self, key: object) -> None:
        """Gives the key all its points back, and lifts any block. One round trip.

        Raises:
            LimitUnavailableError: Valkey can't be asked, and the limit is closed in outages.
        """
        name = self.name_of(key)
        self._blocked.forget(name)
        self._local.forget(name)
        if self._valkey is not None:
            try:
                await self._valkey.call("DEL", name, idempotent=True)
            except ValkeyError as exc:
                self._note_outage(exc)
            self._blocked.forget(name)

    # -- names and arguments, also for a stack -------------------------------------------------------------

    def name_of(self, key: object) -> str:
        """Returns where the key's state lies in Valkey.

        Raises:
            ConfigurationError: it can't be a key.
        """
        return f"{self._head}{subject_of(key)}{self._end}"

    def name_for(self, subject: str) -> str:
        """Returns where the state of a subject lies, which `subject_of` has made of a key."""
        return f"{self._head}{subject}{self._end}"

    def arguments(self, cost: int, *, watched: bool) -> tuple[str | int, ...]:
        """Returns the six arguments of `decide.lua` for this limit.

        Raises:
            ConfigurationError: the cost is not from 1 to the capacity.
        """
        self._check_cost(cost)
        return self._words(cost, watched=watched)

    def _words(self, cost: int, *, watched: bool = False) -> tuple[str | int, ...]:
        limit = self.limit
        return (
            _LETTER[limit.algorithm],
            cost,
            self._capacity,
            self._unit_us,
            limit.block_ms,
            1 if watched else 0,
        )

    def _check_cost(self, cost: int) -> None:
        if check_points(cost, what="cost") > self._capacity:
            raise ConfigurationError(
                f"cost {cost} is more than all {self._capacity} points of the limit {self.limit.name!r}: it could never pass"
            )

    def _tail_of(self, cost: int) -> tuple[Any, ...]:
        self._check_cost(cost)
        if self._is_gcra:
            return (cost * self._unit_us, self._capacity_us, self.limit.block_ms)
        return ("hit", *self._words(cost))

    def _send(self, name: str, cost: int) -> asyncio.Future[Any]:
        tail = self._tail if cost == 1 else self._tail_of(cost)
        if cost == 1 and self._batch is not None:
            return self._batch.send(name)
        script = GCRA if self._is_gcra else DECIDE
        return self._valkey.call("EVALSHA", script.sha, 1, name, *tail)  # type: ignore[union-attr]  # who sends has one

    # -- what comes back -----------------------------------------------------------------------------------

    async def _conclude(self, key: object, name: str, cost: int, since: float, reply: Any) -> Decision:
        """Makes a decision of a reply, or of the error that came instead."""
        if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT" and self._valkey is not None:
            source = GCRA.source if self._is_gcra else DECIDE.source
            try:
                reply = await self._valkey.call("EVAL", source, 1, name, *self._tail_of(cost))
            except ValkeyError as exc:
                reply = exc
        if isinstance(reply, ValkeyError):
            return self._decide_without(name, cost, reply)
        (answer,) = reply
        if not self._is_gcra:
            return self.settle(answer, key, name, cost, since)
        if type(answer) is int:
            return self._passed(answer)
        fill, state = answer
        if state[:1] == b"-":  # blocked
            return self.settle((0, 0, fill, fill, state), key, name, cost, since)
        remaining = max(0, (self._capacity_us - fill) // self._unit_us)
        wait = fill + cost * self._unit_us - self._capacity_us
        return self.settle((0, remaining, fill, wait, state), key, name, cost, since)

    def _passed(self, fill_us: int) -> Decision:
        """Counts a hit that GCRA has let pass: what happens most, so nothing more than that."""
        remaining = (self._capacity_us - fill_us) // self._unit_us
        counts = self._counts
        counts.allowed += 1
        if remaining <= self._near:
            counts.near_limit += 1
        return Decision(self._name, True, self._capacity, remaining, fill_us / 1e6)

    def settle(self, reply: Any, key: object, name: str, cost: int, since: float) -> Decision:
        """Counts one limit's part of a reply, and remembers whom it blocks."""
        passes, remaining, reset_us, wait_us, state = reply
        if not passes and remaining == 0:
            blocked = state[:1] == b"-"
            one_s = wait_us / 1e6 - (0.0 if blocked else (cost - 1) * self._step_s)
            if cost == 1 or blocked or self.limit.algorithm is not Algorithm.SLIDING_WINDOW:
                self._remember(key, name, since, one_s, reset_us / 1e6, state)
        if passes == _SPARED:
            return self._shown(True, remaining, reset_us, 0, VALKEY, self._capacity)
        return self.count(bool(passes), remaining, reset_us, wait_us, VALKEY)

    def _remember(
        self, key: object, name: str, since: float, wait_s: float, reset_s: float, state: bytes
    ) -> None:
        if wait_s > 0:
            short = key if type(key) is str and len(key) <= _SHORT else (name,)
            self._blocked.note(self.waiting, short, name, since, wait_s, reset_s, state)

    def known(self, key: object, cost: int) -> Decision | None:
        """Returns the refusal if this process knows that the key is blocked. No round trip."""
        short = key if type(key) is str and len(key) <= _SHORT else (self.name_of(key),)
        block = self.waiting.get(short)
        if block is None:
            return None
        believed, until, reset_at = block
        now = self._monotonic()
        if believed <= now:
            self._blocked.forget(self.name_of(key))
            return None
        self._counts.answered_here += 1
        wait_s, reset_s = until - now, reset_at - now
        if cost != 1:
            self._check_cost(cost)
            wait_s += (cost - 1) * self._step_s
        return Decision(self._name, self.shadow, self._capacity, 0, reset_s, wait_s, True, LOCAL)

    async def _look(self, name: str, mode: str, cost: int) -> Decision:
        if self._valkey is not None:
            try:
                (reply,) = await DECIDE.run(self._valkey, (name,), (mode, *self._words(cost)))
            except ValkeyError as exc:
                self._note_outage(exc)
            else:
                passes, remaining, reset_us, wait_us, _ = reply
                return self._shown(bool(passes), remaining, reset_us, wait_us, VALKEY, self._capacity)
        verdict = self._local.peek(name, self.share, adjust=cost)
        source = LOCAL if self._valkey is None else INSURANCE
        passes, remaining, reset_us, wait_us, _ = verdict
        return self._shown(passes, remaining, reset_us, wait_us, source, self.share.capacity)

    # -- without Valkey ------------------------------------------------------------------------------------

    def _decide_without(self, name: str, cost: int, exc: ValkeyError) -> Decision:
        if self.on_outage is OnOutage.CLOSED:
            raise self.close(exc) from exc
        if self.on_outage is OnOutage.OPEN:
            return self.open(exc)
        self.insure(exc)
        return self._decide_here(name, cost, INSURANCE)

    def _decide_here(self, name: str, cost: int, source: str) -> Decision:
        self._check_cost(cost)
        (verdict,) = self._local.hit([(name, self.share, False)], min(cost, self.share.capacity))
        return self.settle_here(verdict, source)

    def settle_here(self, verdict: Verdict, source: str, *, spared: bool = False) -> Decision:
        """Counts what this process has decided by itself."""
        passes, remaining, reset_us, wait_us, _ = verdict
        told = self._shown if passes and spared else self.count
        return told(passes, remaining, reset_us, wait_us, source, self.share.capacity)


async def _itself(decision: Decision) -> Decision:
    return decision
