"""Help for tests of codes: tiers, and time that passes in Valkey without anybody waiting."""

from __future__ import annotations

import re
from typing import Any

from valtier import Tier
from valtier.codes import Codes, OneTimeCodes

PEPPER = b"a pepper that Valkey never sees"
_CODE = re.compile(rb"(\d+)(:\d+:.*)", re.DOTALL)


def open_tier(url: str, **options: Any) -> Tier:
    return Tier.from_url(url, local_bytes=0, **{"deadline": 5, **options})


def one_time(tier: Tier, purpose: str = "sign-in", **options: Any) -> OneTimeCodes:
    """Codes of six digits without a cooldown, unless told otherwise."""
    return tier.codes(purpose, digits=6, **{"pepper": PEPPER, "cooldown": None, **options})


def tokens(tier: Tier, purpose: str = "password-reset", **options: Any) -> Codes:
    """Tokens without a cooldown, unless told otherwise."""
    made: Codes = tier.codes(purpose, **{"cooldown": None, **options})
    return made


def wrong(code: str) -> str:
    """Returns another code."""
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}}"


async def states(tier: Tier) -> list[bytes]:
    """Returns the keys of all that is kept of codes."""
    found: list[bytes] = await tier.valkey.call("KEYS", "valtier:code:*")
    return found


async def age(tier: Tier, by_s: float) -> None:
    """Lets time pass for all that is kept of codes: every moment in it, and its own expiry, comes earlier."""
    by_ms = int(by_s * 1000)
    for key in await states(tier):
        if await tier.valkey.call("TYPE", key) == b"hash":
            for field, value in dict(await tier.valkey.call("HGETALL", key)).items():
                await tier.valkey.call("HSET", key, field, _aged(field, value, by_ms))
        left = await tier.valkey.call("PTTL", key)
        await tier.valkey.call("PEXPIRE", key, left - by_ms)


def _aged(field: bytes, value: bytes, by_ms: int) -> bytes:
    if field[:1] == b"c":
        return b"%d" % (int(value) - by_ms)
    if field[:1] == b"f":
        count, _, ends = value.partition(b":")
        return b"%s:%d" % (count, int(ends) - by_ms)
    match = _CODE.fullmatch(value)
    assert match is not None
    return b"%d%s" % (int(match[1]) - by_ms, match[2])
