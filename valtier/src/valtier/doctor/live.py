"""Live: what is measured through the wire: round trips, the server's clock, and whether changes are told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from valtier.doctor.facts import said_by
from valtier.doctor.units import milliseconds
from valtier.doctor.verdict import Check, advice, ok, unknown, wrong
from valtier.errors import NoPermissionError, ReplyError, ValkeyError
from valtier.wire import Link, Valkey

_SAMPLES = 200
_BUDGET_S = 1.5
"""So long at most each kind of command is measured on a server."""
_FAR_S = 0.002
_SKEW_S, _WRONG_CLOCK_S = 1.0, 60.0
_PATIENCE_S = 1.0
_ROUNDS = 5
_LIVES_MS = 60_000


async def latency(link: Link, key: str, *, deadline_s: float) -> Check:
    """How long a round trip takes: some hundred PINGs and GETs, one at a time.

    Raises:
        ValkeyError: the server can't be asked.
    """
    name = "latency"
    took = {
        "PING": await _sample(lambda: link.send("PING")),
        "GET": await _sample(lambda: link.send("GET", key)),
    }
    numbers: dict[str, float] = {"samples": sum(map(len, took.values()))}
    for command, seconds in took.items():
        for share, percentile in ((0.5, "p50"), (0.99, "p99")):
            numbers[f"{command.lower()}_{percentile}_ms"] = round(_quantile(seconds, share) * 1000, 3)
    p50 = max(_quantile(seconds, 0.5) for seconds in took.values())
    p99 = max(_quantile(seconds, 0.99) for seconds in took.values())
    found = "; ".join(
        f"{command} p50 {milliseconds(_quantile(seconds, 0.5))}, p99 {milliseconds(_quantile(seconds, 0.99))}"
        for command, seconds in took.items()
    )
    if p99 >= deadline_s:
        change = (
            f"find what slows it (SLOWLOG GET, the network, a busy machine), or raise the deadline: more than one in a "
            f"hundred misses its {milliseconds(deadline_s)}, which opens the breaker"
        )
        return wrong(name, found, change, **numbers)
    if p50 > _FAR_S or p99 > deadline_s / 4:
        change = (
            "bring Valkey and the application into one zone, or look at SLOWLOG GET and the machine's load"
        )
        return advice(name, found, change, **numbers)
    return ok(name, found, **numbers)


async def clock(link: Link) -> Check:
    """How far the server's clock is from this machine's: of the quickest of several round trips.

    Raises:
        ValkeyError: the server can't be asked.
    """
    name = "clock"
    best_s, offset_s = float("inf"), 0.0
    for _ in range(_ROUNDS):
        before, began = time.time(), time.perf_counter()
        try:
            told = await link.send("TIME")
        except NoPermissionError:
            return unknown(name, "the server's time is not told", "allow +time")
        took_s = time.perf_counter() - began
        if took_s < best_s:
            best_s, offset_s = took_s, int(told[0]) + int(told[1]) / 1e6 - (before + took_s / 2)
    return judge_clock(name, offset_s, best_s)


def judge_clock(name: str, offset_s: float, within_s: float) -> Check:
    """Returns what a difference of clocks means; it is known to half the round trip."""
    numbers = {"offset_ms": round(offset_s * 1000, 3), "within_ms": round(within_s * 500, 3)}
    found = f"the server's clock is {abs(offset_s):,.3f} s {'ahead' if offset_s > 0 else 'behind'}"
    if abs(offset_s) > _WRONG_CLOCK_S:
        change = (
            "set both clocks by NTP: dates of pages, the ends of sessions and certificates are judged by them"
        )
        return wrong(name, found, change, **numbers)
    if abs(offset_s) > _SKEW_S:
        return advice(name, found, "set both clocks by NTP", **numbers)
    return ok(name, found, **numbers)


async def tracking(
    valkey: Valkey, key: str, news: Callable[[bytes, asyncio.Event], None], *, tracks: bool
) -> Check:
    """Whether a change by another connection is told to who has read the key, and after how long. Writes `key`.

    Args:
        valkey: with a listener to invalidations since before its start.
        key: a throw-away key; it is removed.
        news: has the event set when the key of that name is told as changed.
        tracks: whether the server was asked to track, and does.

    Raises:
        ValkeyError: the server can't be asked.
    """
    name = "tracking"
    if not tracks:
        change = (
            "allow +client|tracking, and let RESP3 through: without it every hit is a round trip, and nothing is kept in the "
            "processes"
        )
        return advice(name, "the server does not track for this user or connection", change)
    took: list[float] = []
    try:
        for number in range(_ROUNDS):
            told = asyncio.Event()
            news(key.encode(), told)
            await valkey.call_tracked("GET", key)
            began = time.perf_counter()
            await valkey.call("SET", key, str(number), "PX", _LIVES_MS)
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await told.wait()
            except TimeoutError:
                change = (
                    "look for a proxy that drops RESP3 pushes, or set local_bytes=0: else processes serve what has changed "
                    "until their canary notices"
                )
                return wrong(name, f"a change was not told within {_PATIENCE_S:g} s", change)
            took.append(time.perf_counter() - began)
    except ReplyError as exc:
        return unknown(name, "it could not be tried", said_by(exc))
    finally:
        await _remove(valkey, key)
    found = f"a change by another connection is told after {milliseconds(_quantile(took, 0.5))}"
    return ok(name, found, push_ms=[round(seconds * 1000, 3) for seconds in took])


async def _remove(valkey: Valkey, key: str) -> None:
    for command in ("UNLINK", "DEL"):  # if neither is permitted it expires
        try:
            await valkey.call(command, key)
        except ValkeyError:
            continue
        return


async def _sample(ask: Callable[[], Awaitable[object]]) -> list[float]:
    took: list[float] = []
    end = time.perf_counter() + _BUDGET_S
    while len(took) < _SAMPLES and (not took or time.perf_counter() < end):
        began = time.perf_counter()
        with contextlib.suppress(
            ReplyError
        ):  # not permitted, or another node's slot: a round trip all the same
            await ask()
        took.append(time.perf_counter() - began)
    return took


def _quantile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]
