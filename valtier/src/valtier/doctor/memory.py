"""Memory: its limit, what goes when it is full, what tracking takes of it, and what is on disk. Pure."""

from __future__ import annotations

from valtier.doctor.facts import Facts
from valtier.doctor.units import percent, size
from valtier.doctor.verdict import Check, advice, ok, unknown, wrong

_NEAR_FULL = 0.9
_OF_MACHINE = 0.8
"""More of the machine's memory should not be given away: a save needs a copy of what changes meanwhile."""
_LONG_FORK_US = 200_000
_FEW_TRACKED = 100_000


def memory(facts: Facts) -> Check:
    """The limit, and how far it is used."""
    name = "memory"
    limit, used = facts.setting_number("maxmemory"), facts.number("used_memory")
    if limit is None:
        return unknown(name, "its limit is not told", facts.refusal)
    machine = facts.number("total_system_memory")
    numbers = {"maxmemory": limit, "used_memory": used, "machine": machine}
    if not limit:
        half = size(machine // 2) if machine else "half of the machine's memory"
        return wrong(
            name,
            f"maxmemory is not set: {size(used)} used, and no limit",
            f"set maxmemory, for example to {half}: without it the system ends Valkey when memory runs out",
            **numbers,
        )
    found = f"{size(used)} of {size(limit)} used ({percent(used / limit)})"
    if machine and limit > _OF_MACHINE * machine:
        change = f"lower maxmemory to at most {size(int(_OF_MACHINE * machine))}: saves, buffers and fragmentation need the rest"
        return advice(
            name, f"{found}; the limit is {percent(limit / machine)} of the machine's", change, **numbers
        )
    if used >= _NEAR_FULL * limit and facts.setting("maxmemory-policy") == "noeviction":
        return wrong(name, found, "raise maxmemory: soon every write is refused (noeviction)", **numbers)
    return ok(name, found, **numbers)


def eviction(facts: Facts, *, sessions: str) -> Check:
    """What goes when memory is full. `sessions`: `alone` in Valkey, `copies`, `none` or `unknown`: what was found there."""
    name = "eviction"
    policy = facts.setting("maxmemory-policy")
    if policy is None:
        return unknown(name, "the policy is not told", facts.refusal)
    found = f"maxmemory-policy is {policy}"
    numbers = {"policy": policy, "sessions": sessions}
    if not facts.setting_number("maxmemory"):
        change = "set it to allkeys-lru or allkeys-lfu together with maxmemory, without which it says nothing"
        return advice(name, found, change, **numbers)
    if policy == "noeviction":
        if sessions == "alone":
            return ok(name, f"{found}; sessions lie in Valkey alone, and are never evicted", **numbers)
        change = (
            "set allkeys-lru or allkeys-lfu: a full Valkey refuses every write, so nothing new is cached. Keep noeviction "
            "only where sessions have no durable store, and then give them a Valkey of their own"
        )
        return advice(name, found, change, **numbers)
    if sessions == "alone":
        change = (
            "sessions lie in Valkey alone, and a full Valkey evicts them: people are signed out. Give sessions(durable=…) a "
            "PostgreSQL, or put them into a Valkey of their own with noeviction"
        )
        return wrong(name, found, change, **numbers)
    if policy.startswith("volatile-"):
        change = (
            "set allkeys-lru or allkeys-lfu: only keys with a TTL are evicted now; all of valtier's have one, but what others "
            "keep here can fill the memory"
        )
        return advice(name, found, change, **numbers)
    if policy == "allkeys-random":
        change = "set allkeys-lru or allkeys-lfu: what is hot is evicted as often as what nobody reads"
        return advice(name, found, change, **numbers)
    told = "; sessions here are copies of durable ones" if sessions == "copies" else ""
    return ok(name, found + told, **numbers)


def tracking_table(facts: Facts) -> Check:
    """How many keys the server remembers for those who keep them in their processes."""
    name = "tracking table"
    limit = facts.setting_number("tracking-table-max-keys")
    tracked = facts.number("tracking_total_keys")
    if limit is None:
        return unknown(name, f"{tracked:,} keys tracked; the limit is not told", facts.refusal)
    numbers = {"tracking_table_max_keys": limit, "tracked": tracked}
    found = f"{tracked:,} keys tracked, at most {limit:,}" if limit else f"{tracked:,} keys tracked, no limit"
    if not limit:
        change = "set tracking-table-max-keys, for example to 1000000: the table's memory has no bound"
        return advice(name, found, change, **numbers)
    if tracked >= _NEAR_FULL * limit or limit < _FEW_TRACKED:
        change = (
            "raise tracking-table-max-keys (the default is 1000000): past it the server drops what processes keep, and each "
            "drop costs a read"
        )
        return advice(name, found, change, **numbers)
    return ok(name, found, **numbers)


def persistence(facts: Facts) -> Check:
    """What is on disk, and whether a full disk stops writes."""
    name = "persistence"
    if not facts.info:
        return unknown(name, "nothing is told", facts.refusal)
    save, aof = facts.config.get("save"), facts.info.get("aof_enabled") == "1"
    kept = [word for word, is_on in (("RDB", save not in (None, "")), ("AOF", aof)) if is_on]
    found = f"kept on disk by {' and '.join(kept)}" if kept else "nothing is kept on disk, as a cache may"
    if save is None and not aof:
        found = "no AOF; snapshots are not told"
    saved = facts.info.get("rdb_last_bgsave_status", "ok")
    numbers = {"aof": aof, "save": save, "rdb_last_bgsave_status": saved}
    if facts.info.get("loading") == "1":
        return wrong(name, "it is loading its data", "wait until it has: it refuses commands meanwhile")
    if saved != "ok" and save and facts.config.get("stop-writes-on-bgsave-error", "yes") == "yes":
        change = "look at disk space and permissions of 'dir', or set stop-writes-on-bgsave-error no"
        return wrong(name, f"{found}; the last save failed, and writes are refused", change, **numbers)
    if facts.info.get("aof_last_write_status", "ok") != "ok":
        return wrong(
            name, f"{found}; the AOF can't be written", "look at disk space and permissions of 'dir'"
        )
    if saved != "ok":
        return advice(name, f"{found}; the last save failed", "look at disk space and permissions of 'dir'")
    if (fork := facts.number("latest_fork_usec")) > _LONG_FORK_US:
        change = "turn transparent huge pages off, or save on a replica: everybody waits while Valkey forks"
        return advice(name, f"{found}; the last fork took {fork / 1000:.0f} ms", change, **numbers)
    return ok(name, found, **numbers)
