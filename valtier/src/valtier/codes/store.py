"""Store: what is kept of codes in Valkey, one hash for each purpose and subject, and the scripts that change it.

Everything about a subject lies in one key, so that each step is one script on one slot, and so that whatever evicts the
count of failures evicts the codes that could be guessed with it: an eviction never gives anybody further guesses.
"""

from __future__ import annotations

import math
from typing import Any

from valtier.codes.errors import CodesUnavailableError
from valtier.errors import ConfigurationError, ValkeyError
from valtier.wire import Script, Valkey

_ISSUE = Script.load("valtier.codes", "issue.lua")
_VERIFY = Script.load("valtier.codes", "verify.lua")
_REDEEM = Script.load("valtier.codes", "redeem.lua")
_REVOKE = Script.load("valtier.codes", "revoke.lua")
_COUNT = Script.load("valtier.codes", "count.lua")

COMMANDS = (
    "EVAL",
    "EVALSHA",
    "GET",
    "HDEL",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HSET",
    "INCR",
    "PEXPIREAT",
    "PEXPIRETIME",
    "PTTL",
    "SET",
    "TIME",
)
"""All that codes send, themselves or in scripts: what a restricted user of Valkey has to be granted."""


def acl(prefix: str) -> tuple[str, ...]:
    """Returns the rules that an ACL user needs for codes: the pattern of keys, and commands."""
    return (f"~{prefix}:code:*", *(f"+{name.lower()}" for name in COMMANDS))


class ValkeyStore:
    """The state of one purpose, in Valkey. Every call is one round trip, two where the server forgot the script.

    Raises (every method):
        CodesUnavailableError: Valkey can't be asked, or refuses; what the call did is not known.
    """

    def __init__(self, valkey: Valkey | None, prefix: str, purpose: str) -> None:
        self._valkey = valkey
        self._base = f"{prefix}:code:{purpose}:"

    def state(self, subject: str) -> str:
        """Returns the key of a subject's state. `subject` is a digest."""
        return self._base + subject

    async def issue(
        self,
        subject: str,
        *,
        lane: str,
        cooldown_ms: int,
        field: str = "",
        data: str = "",
        ttl_ms: int = 0,
        tries: int = 1,
        most: int = 1,
    ) -> int:
        """Stores a code, or only begins a cooldown. Returns 0, or in how many ms to ask again."""
        args = (
            f"c{lane}",
            cooldown_ms,
            field and f"k{field}",
            data.encode("utf-8", "surrogatepass"),
            ttl_ms,
            tries,
            most,
        )
        return int(await self._run(_ISSUE, self.state(subject), args))

    async def count(self, address: str, *, points: int, window_ms: int) -> int:
        """Counts one more from an address (a digest). Returns 0, or in how many ms to ask again."""
        return int(await self._run(_COUNT, f"{self._base}from:{address}", (points, window_ms)))

    async def verify(
        self, subject: str, field: str, mac: str, *, lane: str, most_failures: int, window_ms: int
    ) -> tuple[int, int]:
        """Compares, counts and removes. Returns what `verify.lua` does."""
        args = (f"k{field}", mac, f"f{lane}", most_failures, window_ms)
        verdict, more = await self._run(_VERIFY, self.state(subject), args)
        return int(verdict), int(more)

    async def redeem(self, subject: str, field: str, bound: str, *, keep: bool) -> str | None:
        """Takes a token, or with `keep` only looks at it. Returns the subject, or None."""
        found = await self._run(_REDEEM, self.state(subject), (f"k{field}", bound, int(keep)))
        return None if found is None else bytes(found).decode("utf-8", "surrogatepass")

    async def revoke(self, subject: str) -> int:
        """Removes a subject's codes, and returns how many there were."""
        return int(await self._run(_REVOKE, self.state(subject), ()))

    async def _run(self, script: Script, key: str, args: tuple[str | int | bytes, ...]) -> Any:
        if self._valkey is None:
            raise CodesUnavailableError("USE_REDIS is false")
        try:
            return await script.run(self._valkey, (key,), args)
        except ValkeyError as exc:
            raise CodesUnavailableError(type(exc).__name__) from exc


def milliseconds(duration_s: float) -> int:
    """Returns a duration in whole milliseconds, rounded up."""
    return math.ceil(duration_s * 1000)


def whole(value: int, *, name: str, least: int, most: int) -> int:
    """Returns `value` if it is a whole number within these bounds.

    Raises:
        ConfigurationError: it is not.
    """
    if type(value) is not int or not least <= value <= most:
        raise ConfigurationError(f"{name} is a whole number from {least} to {most}, not {value!r}")
    return value
