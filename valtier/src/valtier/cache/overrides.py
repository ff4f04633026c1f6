"""Overrides: TTLs that an operator has set for whole namespaces, in Valkey, where every process looks at intervals.

They lie in one hash, `prefix:{ttl}`: the namespace, and milliseconds. One that is out of bounds is not obeyed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from valtier.errors import ConfigurationError
from valtier.keys import check
from valtier.wire import Valkey

log = logging.getLogger("valtier")

LEAST_S, MOST_S = 1.0, 7 * 24 * 3600.0
"""No override is below or above. Past seven days a tag's version may be gone, and the entry with it."""


def _name(prefix: str) -> str:
    return f"{prefix}:{{ttl}}"


async def fetch_overrides(valkey: Valkey, prefix: str) -> dict[str, float]:
    """Returns the TTLs by namespace, in seconds. One round trip.

    Raises:
        ValkeyError: Valkey can't be asked.
    """
    told = await valkey.call("HGETALL", _name(prefix))
    pairs = told.items() if isinstance(told, Mapping) else zip(told[::2], told[1::2], strict=True)
    found: dict[str, float] = {}
    for name, text in pairs:
        try:
            ttl_s = int(text) / 1000
        except ValueError:
            ttl_s = 0.0
        if LEAST_S <= ttl_s <= MOST_S:
            found[name.decode("utf-8", "replace")] = ttl_s
        else:
            log.warning("The TTL override of %r is not obeyed: %r ms", name, text)
    return found


async def write_override(valkey: Valkey, prefix: str, space: str, ttl_s: float) -> None:
    """Sets the TTL of a namespace. One round trip; a running fleet obeys within an interval (30 s).

    Raises:
        ConfigurationError: it is below a second or above seven days, or the namespace can't be one.
        ValkeyError: Valkey can't take it.
    """
    if not LEAST_S <= ttl_s <= MOST_S:
        raise ConfigurationError(
            f"the TTL of {space!r} has to be from {LEAST_S:g} s to 7 days, not {ttl_s:g} s"
        )
    if ":" in check(space, what="namespace"):
        raise ConfigurationError(f"a namespace is the part of a key before its first colon, not {space!r}")
    await valkey.call("HSET", _name(prefix), space, int(ttl_s * 1000))


async def remove_overrides(valkey: Valkey, prefix: str, *spaces: str) -> int:
    """Removes the overrides of namespaces, or of all. Returns how many there were. One or two round trips.

    Raises:
        ValkeyError: Valkey can't do it.
    """
    if spaces:
        return int(await valkey.call("HDEL", _name(prefix), *spaces))
    count = int(await valkey.call("HLEN", _name(prefix)))
    await valkey.call("DEL", _name(prefix))
    return count
