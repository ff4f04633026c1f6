"""Typed helpers for the commands that the features use; each is one call, and one round trip."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping

from valtier.errors import ConfigurationError
from valtier.wire.connection import Argument, Reply

Text = str | bytes


class Commands(ABC):
    """What can be asked of Valkey with types. Each raises as `call` does; reads are repeated if a connection breaks."""

    @abstractmethod
    def call(self, *args: Argument, idempotent: bool = False) -> asyncio.Future[Reply]: ...

    # -- strings -------------------------------------------------------------------------------------------

    def get(self, key: Text) -> Awaitable[bytes | None]:
        """Returns the value, or `None` where there is none."""
        return self.call("GET", key, idempotent=True)

    def mget(self, *keys: Text) -> Awaitable[list[bytes | None]]:
        """Returns the values in the order of the keys, `None` where there is none."""
        return self.call("MGET", *keys, idempotent=True)

    def set(
        self,
        key: Text,
        value: Argument,
        *,
        ttl_ms: int | None = None,
        only_if: str | None = None,
    ) -> Awaitable[bool]:
        """Stores the value; returns whether it did.

        Args:
            key: where.
            value: what.
            ttl_ms: how long it lives, in milliseconds; for ever without it.
            only_if: `"absent"` or `"present"`.

        Raises:
            ConfigurationError: `only_if` is anything else, or `ttl_ms` is not positive.
        """
        args: list[Argument] = ["SET", key, value]
        if ttl_ms is not None:
            if ttl_ms <= 0:
                raise ConfigurationError("ttl_ms has to be more than 0")
            args += ["PX", ttl_ms]
        if only_if is not None:
            if only_if not in _CONDITIONS:
                raise ConfigurationError('only_if is "absent" or "present"')
            args.append(_CONDITIONS[only_if])
        return _true_if_ok(self.call(*args))

    def incr(self, key: Text, by: int = 1) -> Awaitable[int]:
        """Adds to the number at `key`, which begins at 0; returns the sum."""
        return self.call("INCRBY", key, by)

    # -- keys ----------------------------------------------------------------------------------------------

    def unlink(self, *keys: Text) -> Awaitable[int]:
        """Removes keys, and frees their memory in the background; returns how many there were."""
        return self.call("UNLINK", *keys)

    def exists(self, *keys: Text) -> Awaitable[int]:
        """Returns how many of the keys there are."""
        return self.call("EXISTS", *keys, idempotent=True)

    def expire(self, key: Text, ttl_ms: int) -> Awaitable[int]:
        """Gives the key `ttl_ms` milliseconds from now; returns 1, or 0 if there is no such key."""
        return self.call("PEXPIRE", key, ttl_ms)

    def ttl_ms(self, key: Text) -> Awaitable[int]:
        """Returns how many milliseconds the key has left; -1: for ever, -2: there is no such key."""
        return self.call("PTTL", key, idempotent=True)

    # -- hashes, sets, sorted sets ---------------------------------------------------------------------------

    def hget(self, key: Text, name: Text) -> Awaitable[bytes | None]:
        """Returns one field of a hash."""
        return self.call("HGET", key, name, idempotent=True)

    def hset(self, key: Text, fields: Mapping[str, Argument]) -> Awaitable[int]:
        """Sets fields of a hash; returns how many are new."""
        return self.call("HSET", key, *(word for pair in fields.items() for word in pair))

    def hgetall(self, key: Text) -> Awaitable[dict[bytes, bytes]]:
        """Returns all fields of a hash; none if there is no such key."""
        return _as_dict(self.call("HGETALL", key, idempotent=True))

    def sadd(self, key: Text, *members: Argument) -> Awaitable[int]:
        """Adds to a set; returns how many are new."""
        return self.call("SADD", key, *members)

    def srem(self, key: Text, *members: Argument) -> Awaitable[int]:
        """Removes from a set; returns how many were there."""
        return self.call("SREM", key, *members)

    def zadd(self, key: Text, scores: Mapping[str, float]) -> Awaitable[int]:
        """Adds members with their scores to a sorted set; returns how many are new."""
        return self.call("ZADD", key, *(word for member, score in scores.items() for word in (score, member)))

    def zrem(self, key: Text, *members: Argument) -> Awaitable[int]:
        """Removes from a sorted set; returns how many were there."""
        return self.call("ZREM", key, *members)

    # -- streams, messages ----------------------------------------------------------------------------------

    def xadd(
        self, key: Text, fields: Mapping[str, Argument], *, max_length: int | None = None
    ) -> Awaitable[bytes]:
        """Appends to a stream and returns the entry's id; trims it to about `max_length` entries."""
        trim: tuple[Argument, ...] = () if max_length is None else ("MAXLEN", "~", max_length)
        return self.call("XADD", key, *trim, "*", *(word for pair in fields.items() for word in pair))

    def publish(self, channel: Text, message: Argument, *, sharded: bool = False) -> Awaitable[int]:
        """Sends a message to whoever listens now; returns how many that are (in a cluster: on one node)."""
        return self.call("SPUBLISH" if sharded else "PUBLISH", channel, message)


_CONDITIONS = {"absent": "NX", "present": "XX"}


async def _true_if_ok(reply: Awaitable[Reply]) -> bool:
    return await reply is not None


async def _as_dict(reply: Awaitable[Reply]) -> dict[bytes, bytes]:
    pairs = await reply
    if isinstance(pairs, dict):
        return pairs
    return dict(zip(pairs[::2], pairs[1::2], strict=True))  # RESP2
