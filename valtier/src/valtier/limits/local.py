"""Limits that this process keeps by itself: the insurance in outages, and what there is where there is no Valkey."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from valtier.limits.algorithms import State, Verdict, judge
from valtier.limits.policy import Limit


@dataclass(slots=True)
class _Kept:
    state: State | None = None
    blocked_until_us: int = 0


class LocalLimits:
    """States by name. Bounded: past `most` keys those are forgotten that were not hit for longest. Guarded by the loop."""

    def __init__(self, monotonic: Callable[[], float], *, most: int = 10_000) -> None:
        self._monotonic = monotonic
        self._most = most
        self._kept: dict[str, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def hit(self, limits: list[tuple[str, Limit, bool]], cost: int) -> list[Verdict]:
        """Charges all limits, or none if one refuses that is not only watched (the third of each)."""
        now = self._now_us()
        found = [(self._take(name), limit, watched) for name, limit, watched in limits]
        verdicts = [_judge(kept, limit, now, cost) for kept, limit, _ in found]
        refused = any(
            not verdict.passes and not watched
            for verdict, (_, _, watched) in zip(verdicts, found, strict=True)
        )
        for at, ((kept, limit, _), verdict) in enumerate(zip(found, verdicts, strict=True)):
            if verdict.passes and refused:
                verdicts[at] = judge(limit, kept.state, now, 0, force=True)
            elif verdict.passes:
                kept.state = verdict.state
            elif limit.block_s and kept.blocked_until_us <= now:
                kept.blocked_until_us = now + limit.block_ms * 1000
                verdicts[at] = _judge(kept, limit, now, cost)
        return verdicts

    def peek(self, name: str, limit: Limit, *, adjust: int = 0) -> Verdict:
        """Gives or takes points, whatever comes of it, and tells what is left and whether one more would pass."""
        now, kept = self._now_us(), self._take(name)
        if kept.blocked_until_us > now:
            return _judge(kept, limit, now, 1)
        kept.state = judge(limit, kept.state, now, adjust, force=True).state
        there = judge(limit, kept.state, now, 0, force=True)
        one = judge(limit, kept.state, now, 1)
        return there._replace(passes=one.passes, retry_us=one.retry_us)

    def block(self, name: str, for_s: float) -> None:
        """Refuses the key for so long."""
        self._take(name).blocked_until_us = self._now_us() + round(for_s * 1e6)

    def forget(self, name: str) -> None:
        """Gives the key all its points back."""
        self._kept.pop(name, None)

    def _now_us(self) -> int:
        return int(self._monotonic() * 1e6)

    def _take(self, name: str) -> _Kept:
        kept = self._kept.pop(name, None)
        if kept is None:
            kept = _Kept()
            if len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
        self._kept[name] = kept
        return kept


def _judge(kept: _Kept, limit: Limit, now: int, cost: int) -> Verdict:
    left = kept.blocked_until_us - now
    if left > 0:
        return Verdict(False, 0, left, left, kept.state or State(0))
    if kept.blocked_until_us:
        kept.blocked_until_us, kept.state = 0, None
    return judge(limit, kept.state, now, cost)
