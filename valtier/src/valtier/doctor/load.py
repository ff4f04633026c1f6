"""Load: connections, what was refused or evicted since the server started, buffers and timeouts. Pure."""

from __future__ import annotations

import re

from valtier.doctor.facts import Facts
from valtier.doctor.units import age, percent, size
from valtier.doctor.verdict import Check, advice, ok, unknown, wrong

_NEAR_FULL = 0.8
_FEW_READS = 1000
_CANARY_S = 5
"""So often each connection that listens is used, whatever else goes on."""
_SMALL_BUFFER = 8 * 2**20
_UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3}


def connections(facts: Facts) -> Check:
    """How many clients there are, may be, and were turned away."""
    name = "connections"
    if not facts.info:
        return unknown(name, "nothing is told", facts.refusal)
    clients, limit = facts.number("connected_clients"), facts.setting_number("maxclients") or 0
    rejected = facts.number("rejected_connections")
    numbers = {"clients": clients, "maxclients": limit, "rejected": rejected}
    found = f"{clients:,} of {limit:,} clients" if limit else f"{clients:,} clients"
    if limit and clients >= _NEAR_FULL * limit:
        return wrong(name, found, "raise maxclients: past it new workers are turned away", **numbers)
    if rejected:
        change = "raise maxclients, or find who opens so many connections"
        return advice(name, f"{found}; {rejected:,} turned away in {_since(facts)}", change, **numbers)
    return ok(name, found, **numbers)


def losses(facts: Facts) -> Check:
    """What was evicted, and what was refused for want of memory, since the server started."""
    name = "evictions"
    if not facts.info:
        return unknown(name, "nothing is told", facts.refusal)
    evicted, expired = facts.number("evicted_keys"), facts.number("expired_keys")
    hits, misses = facts.number("keyspace_hits"), facts.number("keyspace_misses")
    full = int(re.sub(r"\D", "", facts.info.get("errorstat_OOM", "")) or 0)
    numbers = {
        "evicted_keys": evicted,
        "expired_keys": expired,
        "refused_for_memory": full,
        "keyspace_hit_rate": round(hits / (hits + misses), 4) if hits + misses else None,
    }
    rate = (
        f"; {percent(hits / (hits + misses))} of reads found something" if hits + misses >= _FEW_READS else ""
    )
    if full:
        found = f"{full:,} commands were refused for want of memory in {_since(facts)}"
        return wrong(name, found, "raise maxmemory, or set a policy that evicts", **numbers)
    if evicted > expired:
        change = "raise maxmemory: more keys leave because memory is full than because their time is over"
        return advice(name, f"{evicted:,} keys evicted in {_since(facts)}{rate}", change, **numbers)
    return ok(name, f"{evicted:,} keys evicted in {_since(facts)}{rate}", **numbers)


def buffers(facts: Facts) -> Check:
    """What a client that reads too slowly may leave lying, before it is cut off."""
    name = "output buffers"
    told = facts.config.get("client-output-buffer-limit")
    if told is None:
        return unknown(name, "the limits are not told", facts.refusal)
    limits = parse_buffers(told)
    cut = facts.number("client_output_buffer_limit_disconnections")
    hard, soft, _ = limits.get("pubsub", (0, 0, 0))
    normal = limits.get("normal", (0, 0, 0))[0]
    numbers = {"pubsub_hard": hard, "pubsub_soft": soft, "normal_hard": normal, "cut_off": cut}
    found = f"pubsub {size(hard)}" if hard else "pubsub without a limit"
    found += f", normal {size(normal)}" if normal else ", normal without a limit"
    if not hard:
        change = (
            "set client-output-buffer-limit pubsub 32mb 8mb 60: a stuck subscriber takes memory without end"
        )
        return advice(name, found, change, **numbers)
    if hard < _SMALL_BUFFER:
        change = "raise client-output-buffer-limit pubsub to 32mb 8mb 60: a burst cuts subscribers off"
        return advice(name, found, change, **numbers)
    if 0 < normal < _SMALL_BUFFER:
        change = "set client-output-buffer-limit normal 0 0 0: large replies, and news of many changed keys, cut a worker off"
        return advice(name, found, change, **numbers)
    if cut:
        change = "find which clients read too slowly (CLIENT LIST, omem), or raise client-output-buffer-limit"
        return advice(name, f"{found}; {cut:,} clients cut off in {_since(facts)}", change, **numbers)
    return ok(name, found, **numbers)


def timeouts(facts: Facts) -> Check:
    """Whether the server hangs up on connections that only listen."""
    name = "idle timeout"
    idle, alive = facts.setting_number("timeout"), facts.setting_number("tcp-keepalive")
    if idle is None:
        return unknown(name, "timeout is not told", facts.refusal)
    numbers = {"timeout_s": idle, "tcp_keepalive_s": alive}
    if 0 < idle <= 2 * _CANARY_S:
        change = (
            "set timeout 0: connections that listen are cut off, and what processes keep is dropped with them"
        )
        return wrong(name, f"clients that say nothing for {idle} s are cut off", change, **numbers)
    if idle:
        change = "set timeout 0: an idle worker reconnects all the time; tcp-keepalive already finds the dead"
        return advice(name, f"clients that say nothing for {age(idle)} are cut off", change, **numbers)
    if alive == 0:
        change = (
            "set tcp-keepalive 300: clients whose machine is gone are never noticed, and hold their buffers"
        )
        return advice(name, "no idle timeout, but no keep-alive either", change, **numbers)
    return ok(name, "nobody is cut off for being idle", **numbers)


def parse_buffers(text: str) -> dict[str, tuple[int, int, int]]:
    """Reads `client-output-buffer-limit`: hard limit, soft limit in bytes, and seconds of the soft one, by class."""
    words = text.split()
    return {
        words[i]: (_bytes(words[i + 1]), _bytes(words[i + 2]), int(words[i + 3]))
        for i in range(0, len(words) - 3, 4)
    }


def _bytes(word: str) -> int:
    number = re.match(r"\d+", word)
    return int(number[0]) * _UNITS.get(word[number.end() :].lower(), 1) if number else 0


def _since(facts: Facts) -> str:
    return age(facts.number("uptime_in_seconds"))
