"""Rights: what an ACL user has to be allowed for the cache, and for the response cache, which keeps all in it."""

from __future__ import annotations

from valtier.keys import check_prefix

COMMANDS = (
    *("get", "mget", "set", "getrange", "pexpire", "del", "unlink", "time"),
    *("eval", "evalsha", "client|tracking"),
    # what is read most and what is learnt of TTLs, for the whole fleet; overrides are read by all and written by `tune`
    *("zincrby", "zunionstore", "zadd", "zrange", "zcard", "zremrangebyscore", "zremrangebyrank"),
    *("hgetall", "hset", "hdel", "hlen"),
)


def acl(prefix: str) -> tuple[str, ...]:
    """Returns the rules that an ACL user needs for the cache: the pattern of keys, and commands.

    The part of a name behind the prefix changes with each restart of the server, so it has to be all of the prefix.
    """
    return (f"~{check_prefix(prefix)}:*", *(f"+{name}" for name in COMMANDS))
