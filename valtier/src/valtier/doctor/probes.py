"""Probes: whether a user may run a command on a key, found out without harm.

`ACL DRYRUN` tells it exactly, where the user may ask that. Else the commands are run for real, on throw-away keys under the
feature's own pattern: what is not permitted is answered NOPERM, and what is permitted finds nothing or leaves a key that is
removed. Commands are looked at in an order in which those that write come first, so that no other meets a wrong type.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from valtier.doctor.needs import Need
from valtier.errors import NoPermissionError, ReplyError
from valtier.wire.connection import Argument, Connection

KEY, HASH, SET, STREAM, COUNTER, CHANNEL = "<key>", "<hash>", "<set>", "<stream>", "<counter>", "<channel>"
_TYPES = (KEY, HASH, SET, STREAM, COUNTER)
_LIVES_MS = 60_000
"""For so long a throw-away key lives at most, should it not be removed."""

_WRITES: dict[str, tuple[Argument, ...]] = {  # by name as ACL has it
    "set": ("SET", KEY, "1", "PX", _LIVES_MS),
    "incr": ("INCR", COUNTER),
    "incrby": ("INCRBY", COUNTER, 1),
    "hset": ("HSET", HASH, "f", 1),
    "hsetnx": ("HSETNX", HASH, "g", 1),
    "hincrby": ("HINCRBY", HASH, "f", 1),
    "zadd": ("ZADD", SET, 1, "m"),
    "zincrby": ("ZINCRBY", SET, 1, "m"),
    "zunionstore": ("ZUNIONSTORE", SET, 1, SET),
    "xadd": ("XADD", STREAM, "MAXLEN", 1, "*", "f", 1),
}
_HARMLESS: dict[str, tuple[Argument, ...]] = {  # change nothing where nothing is
    "ping": ("PING",),
    "info": ("INFO", "server"),
    "time": ("TIME",),
    "client|setinfo": ("CLIENT", "SETINFO", "LIB-NAME", "valtier"),
    "client|tracking": ("CLIENT", "TRACKING", "OFF"),
    "cluster|slots": ("CLUSTER", "SLOTS"),
    "cluster|nodes": ("CLUSTER", "NODES"),
    "eval": ("EVAL", "return 1", 1, KEY),
    "evalsha": ("EVALSHA", "0" * 40, 1, KEY),
    "get": ("GET", KEY),
    "mget": ("MGET", KEY),
    "getrange": ("GETRANGE", KEY, 0, 0),
    "exists": ("EXISTS", KEY),
    "pttl": ("PTTL", KEY),
    "pexpiretime": ("PEXPIRETIME", KEY),
    "pexpire": ("PEXPIRE", KEY, _LIVES_MS),
    "pexpireat": ("PEXPIREAT", KEY, 4_102_444_800_000),
    "hget": ("HGET", HASH, "f"),
    "hmget": ("HMGET", HASH, "f"),
    "hgetall": ("HGETALL", HASH),
    "hlen": ("HLEN", HASH),
    "hkeys": ("HKEYS", HASH),
    "hdel": ("HDEL", HASH, "f"),
    "zrem": ("ZREM", SET, "m"),
    "zcard": ("ZCARD", SET),
    "zscore": ("ZSCORE", SET, "m"),
    "zrange": ("ZRANGE", SET, 0, 0),
    "zrangebyscore": ("ZRANGEBYSCORE", SET, 0, 0),
    "zremrangebyscore": ("ZREMRANGEBYSCORE", SET, 0, 0),
    "zremrangebyrank": ("ZREMRANGEBYRANK", SET, 0, 0),
    "xread": ("XREAD", "COUNT", 1, "STREAMS", STREAM, "0"),
    "xrange": ("XRANGE", STREAM, "-", "+", "COUNT", 1),
    "xrevrange": ("XREVRANGE", STREAM, "+", "-", "COUNT", 1),
    "xtrim": ("XTRIM", STREAM, "MAXLEN", 1),
    "publish": ("PUBLISH", CHANNEL, ""),
    "spublish": ("SPUBLISH", CHANNEL, ""),
    "scan": ("SCAN", 0, "COUNT", 1),
    "type": ("TYPE", KEY),
    "memory|usage": ("MEMORY", "USAGE", KEY),
}
_SUBSCRIBES: dict[str, tuple[Argument, ...]] = {  # not run: their replies come out of turn
    "subscribe": ("SUBSCRIBE", CHANNEL),
    "unsubscribe": ("UNSUBSCRIBE", CHANNEL),
    "ssubscribe": ("SSUBSCRIBE", CHANNEL),
    "sunsubscribe": ("SUNSUBSCRIBE", CHANNEL),
}
_REMOVES: dict[str, tuple[Argument, ...]] = {
    "del": ("DEL", *_TYPES),
    "unlink": ("UNLINK", *_TYPES),
}
PROBES = {**_WRITES, **_HARMLESS, **_SUBSCRIBES, **_REMOVES}
"""What is sent for each command; a test holds that there is one for whatever a feature publishes."""


@dataclass(slots=True)
class Findings:
    """What a user may not do, and what could not be told."""

    missing: dict[str, list[str]] = field(default_factory=dict)
    """By feature: the rules that are lacking, such as `+hset`, `~valtier:s:*` or `&valtier:s:*`."""
    untold: dict[str, list[str]] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    """What this server does not know, and valtier does without: an old one has no CLIENT SETINFO."""
    by: str = "DRYRUN"
    """How it was found out: `DRYRUN` or `calls`."""

    @property
    def rules(self) -> list[str]:
        """All that is lacking, each rule once."""
        return list(dict.fromkeys(rule for several in self.missing.values() for rule in several))


async def look(
    connection: Connection, user: str, found: Sequence[Need], *, token: str, read_only: bool
) -> Findings:
    """Finds out what the connection's user may not do. A few round trips for each feature.

    Args:
        connection: one of its own, signed in as the user and by RESP2, where a SUBSCRIBE is answered in its turn.
        user: who that is.
        found: what is needed.
        token: what throw-away keys are named by.
        read_only: nothing is written, even if that leaves some untold.

    Raises:
        ValkeyError: the connection was lost.
    """
    try:
        await connection.send("ACL", "DRYRUN", user, "PING")
    except ReplyError:  # not permitted, or not known to this server
        findings = await _by_calls(connection, found, token=token, read_only=read_only)
    else:
        findings = await _by_dry_run(connection, user, found, token=token)
    for need in found:
        for name in need.commands:
            if name not in PROBES:
                _note(findings.untold, need, name)
    return findings


async def _by_dry_run(connection: Connection, user: str, found: Sequence[Need], *, token: str) -> Findings:
    findings = Findings()
    for need in found:
        asked = [(name, where, args) for name in need.commands for where, args in _forms(need, name, token)]
        futures = [connection.send("ACL", "DRYRUN", user, *args) for _, _, args in asked]
        replies = await asyncio.gather(*futures, return_exceptions=True)
        for (name, where, _), reply in zip(asked, replies, strict=True):
            if isinstance(reply, ReplyError):
                _note_error(findings, need, name, str(reply))
            elif isinstance(reply, BaseException):
                raise reply
            elif reply != b"OK":
                _note(findings.missing, need, lacking(reply.decode("utf-8", "replace"), name, where))
    return findings


async def _by_calls(
    connection: Connection, found: Sequence[Need], *, token: str, read_only: bool
) -> Findings:
    findings = Findings(by="calls")
    for need in found:
        removable = not read_only and await _can_remove(connection, need, token)
        writes = [name for name in _WRITES if name in need.commands]
        tried = [name for name in writes if not read_only and (removable or name == "set")]
        for name in writes:
            if name not in tried:  # what could not be removed is not written
                _note(findings.untold, need, name)
        tried += [name for kind in (_HARMLESS, _REMOVES) for name in kind if name in need.commands]
        await _try(connection, need, tried, findings, token)
    for need in found:  # last: a user who may not unsubscribe can't call anything else behind it
        await _try(connection, need, [name for name in _SUBSCRIBES if name in need.commands], findings, token)
    return findings


async def _try(
    connection: Connection, need: Need, names: Sequence[str], findings: Findings, token: str
) -> None:
    """Runs the commands in this order, and removes what they left. Two round trips."""
    asked = [(name, where, args) for name in names for where, args in _forms(need, name, token)]
    errors = await _errors(connection, [args for _, _, args in asked])
    for (name, where, _), error in zip(asked, errors, strict=True):
        if isinstance(error, NoPermissionError):
            _note(findings.missing, need, lacking(str(error), name, where))
        elif error is not None and _is_unknown(str(error)):
            findings.absent.add(name)
    if any(name in _WRITES for name in names):
        await _errors(connection, _removals(need, token))


async def _can_remove(connection: Connection, need: Need, token: str) -> bool:
    errors = await _errors(connection, _removals(need, token))
    return any(not isinstance(error, NoPermissionError) for error in errors)


def _removals(need: Need, token: str) -> list[tuple[Argument, ...]]:
    return [args for name in _REMOVES if need.keys for _, args in _forms(need, name, token)]


async def _errors(connection: Connection, commands: Sequence[Sequence[Argument]]) -> list[ReplyError | None]:
    """Runs the commands together; returns the error of each. MOVED, OOM and their kin come after what is permitted."""
    futures = [connection.send(*args) for args in commands]
    replies = await asyncio.gather(*futures, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException) and not isinstance(reply, ReplyError):
            raise reply
    return [reply if isinstance(reply, ReplyError) else None for reply in replies]


def _note_error(findings: Findings, need: Need, name: str, said: str) -> None:
    if _is_unknown(said):
        findings.absent.add(name)
    else:
        _note(findings.untold, need, name)


def _is_unknown(said: str) -> bool:
    return "not found" in said or "unknown command" in said.lower() or "unknown subcommand" in said.lower()


def lacking(said: str, name: str, pattern: str) -> str:
    """Returns the rule that is lacking where a server said so: for a command, for keys (`~…`) or for channels (`&…`). Pure."""
    if "run the" in said or not pattern:
        return f"+{name}"
    return f"{'&' if 'channel' in said else '~'}{pattern}"


def _forms(need: Need, name: str, token: str) -> Iterable[tuple[str, tuple[Argument, ...]]]:
    """Yields the words that try a command, once for each pattern that it is needed on, and that pattern."""
    template = PROBES.get(name)
    if template is None:
        return
    if CHANNEL in template:
        patterns: tuple[str, ...] = need.channels
    else:
        patterns = need.keys if any(kind in template for kind in _TYPES) else ()
    for pattern in patterns or ("",):
        yield pattern, tuple(_filled(word, pattern, token) for word in template)


def _filled(word: Argument, pattern: str, token: str) -> Argument:
    if word in _TYPES or word == CHANNEL:
        return _key(pattern, str(word), token)
    return word


def _key(pattern: str, kind: str, token: str) -> str:
    """Returns a throw-away key's name: under the pattern, and all of a pattern's in one slot of a cluster."""
    return f"{pattern.removesuffix('*')}{{doctor:{token}}}{kind.strip('<>')}"


def _note(into: dict[str, list[str]], need: Need, what: str) -> None:
    several = into.setdefault(need.feature, [])
    if what not in several:
        several.append(what)
