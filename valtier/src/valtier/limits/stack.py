"""The stack: several limits on one key, decided together in one round trip. All are charged, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from valtier.errors import ConfigurationError, ReplyError, ValkeyError
from valtier.limits.asked import Asked
from valtier.limits.batch import Batch
from valtier.limits.decision import INSURANCE, LOCAL, Decision
from valtier.limits.limiter import Limiter
from valtier.limits.local import LocalLimits
from valtier.limits.names import subject_of
from valtier.limits.policy import OnOutage
from valtier.limits.scripts import DECIDE
from valtier.wire import Valkey

MOST = 16


class StackDecision(msgspec.Struct, frozen=True, gc=False):
    """What several limits say together."""

    allowed: bool
    decisions: tuple[Decision, ...]
    """One for each limit; of a key that is known to be blocked only the refusals."""

    @property
    def tightest(self) -> Decision:
        """The one that refuses for longest; if none does, the one of which the least is left."""
        refusing = [decision for decision in self.decisions if not decision.allowed]
        if refusing:
            return max(refusing, key=lambda decision: decision.retry_after_s)
        return min(self.decisions, key=lambda decision: decision.remaining / decision.limit)

    @property
    def name(self) -> str:
        return self.tightest.name

    @property
    def limit(self) -> int:
        return self.tightest.limit

    @property
    def remaining(self) -> int:
        return self.tightest.remaining

    @property
    def reset_after_s(self) -> float:
        return self.tightest.reset_after_s

    @property
    def retry_after_s(self) -> float:
        """Seconds until such a hit may pass all limits."""
        return 0.0 if self.allowed else self.tightest.retry_after_s

    @property
    def over_limit(self) -> bool:
        return any(decision.over_limit for decision in self.decisions)


class Stack:
    """Several limits on the same keys, such as a burst and a sustained rate. Get it from `Tier.limiters`.

    A hit that one limit refuses is charged to none. In an outage it does what the strictest of its limits does: closed
    before insurance, insurance before open. A limit in shadow mode is counted and refuses nobody.
    """

    def __init__(
        self,
        limiters: Sequence[Limiter],
        valkey: Valkey | None,
        *,
        local: LocalLimits,
        monotonic: Callable[[], float],
    ) -> None:
        names = [limiter.limit.name for limiter in limiters]
        if not 1 <= len(names) <= MOST or len(set(names)) < len(names):
            raise ConfigurationError(f"a stack has 1 to {MOST} limits with names of their own, not {names}")
        self.limiters = tuple(limiters)
        self._valkey = valkey
        self._local = local
        self._monotonic = monotonic
        order = (OnOutage.CLOSED, OnOutage.INSURANCE, OnOutage.OPEN)
        self.on_outage = min((limiter.on_outage for limiter in limiters), key=order.index)
        one = self._words(1)
        self._batch = None if valkey is None else Batch(valkey, DECIDE, one, width=len(names))

    def __repr__(self) -> str:
        return f"<Stack {', '.join(limiter.limit.name for limiter in self.limiters)}>"

    async def hit(self, key: object, cost: int = 1) -> StackDecision:
        """Takes `cost` points from every limit, if all have them. One round trip, or none if one is known to refuse.

        Raises:
            LimitUnavailableError: Valkey can't decide, and one of the limits is closed in outages.
            ConfigurationError: the key can't be a key, or the cost is not from 1 to the smallest capacity.
        """
        return await self.begin(key, cost).decision()

    def begin(self, key: object, cost: int = 1) -> Asked[StackDecision]:
        """Asks as `hit` does, and takes the answer later: the question leaves with what else this turn sends.

        Raises:
            ConfigurationError: as `hit` does.
        """
        subject = subject_of(key)
        names = tuple([limiter.name_for(subject) for limiter in self.limiters])
        words = None if cost == 1 else self._words(cost)
        known = self._known(key, cost)
        if known is not None:
            return Asked(_itself, reply=known)
        if self._valkey is None or self._batch is None:
            return Asked(_itself, reply=self._decide_here(names, cost, LOCAL))
        conclude = partial(self._conclude, key, names, cost, self._monotonic())
        try:
            sent: asyncio.Future[Any] = (
                self._batch.send(*names)
                if words is None
                else self._valkey.call("EVALSHA", DECIDE.sha, len(names), *names, *words)
            )
        except ValkeyError as exc:
            return Asked(conclude, reply=exc)
        return Asked(conclude, sent)

    async def _conclude(
        self, key: object, names: tuple[str, ...], cost: int, since: float, reply: Any
    ) -> StackDecision:
        if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT" and self._valkey is not None:
            try:
                reply = await self._valkey.call("EVAL", DECIDE.source, len(names), *names, *self._words(cost))
            except ValkeyError as exc:
                reply = exc
        if isinstance(reply, ValkeyError):
            return self._decide_without(names, cost, reply)
        return _together(
            limiter.settle(part, key, name, cost, since)
            for limiter, name, part in zip(self.limiters, names, reply, strict=True)
        )

    def _words(self, cost: int) -> tuple[str | int, ...]:
        parts = [limiter.arguments(cost, watched=limiter.shadow) for limiter in self.limiters]
        return ("hit", *(word for part in parts for word in part))

    def _known(self, key: object, cost: int) -> StackDecision | None:
        known = [
            decision
            for limiter in self.limiters
            if limiter.waiting and not limiter.shadow and (decision := limiter.known(key, cost)) is not None
        ]
        return StackDecision(False, tuple(known)) if known else None

    def _decide_without(self, names: tuple[str, ...], cost: int, exc: ValkeyError) -> StackDecision:
        if self.on_outage is OnOutage.CLOSED:
            errors = [limiter.close(exc) for limiter in self.limiters]
            raise errors[0] from exc
        if self.on_outage is OnOutage.OPEN:
            return _together(limiter.open(exc) for limiter in self.limiters)
        for limiter in self.limiters:
            limiter.insure(exc)
        return self._decide_here(names, cost, INSURANCE)

    def _decide_here(self, names: tuple[str, ...], cost: int, source: str) -> StackDecision:
        shares = [
            (name, limiter.share, limiter.shadow) for limiter, name in zip(self.limiters, names, strict=True)
        ]
        verdicts = self._local.hit(shares, min(cost, *(share.capacity for _, share, _ in shares)))
        refused = any(
            not verdict.passes and not limiter.shadow
            for limiter, verdict in zip(self.limiters, verdicts, strict=True)
        )
        return _together(
            limiter.settle_here(verdict, source, spared=refused)
            for limiter, verdict in zip(self.limiters, verdicts, strict=True)
        )


def _together(decisions: Iterable[Decision]) -> StackDecision:
    made = tuple(decisions)
    return StackDecision(all(decision.allowed for decision in made), made)


async def _itself(decision: StackDecision) -> StackDecision:
    return decision
