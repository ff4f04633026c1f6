"""Rights: what an ACL user has to be allowed for Socket.IO."""

from __future__ import annotations

COMMANDS = (
    *("get", "set", "del", "exists", "time", "info", "pexpire", "eval", "evalsha"),
    *("hget", "hmget", "hgetall", "hset", "hsetnx", "hdel"),
    *("xadd", "xread", "xrange", "xrevrange", "xtrim", "spublish", "ssubscribe", "sunsubscribe"),
)


def acl(prefix: str) -> tuple[str, ...]:
    """Returns the rules that an ACL user needs for Socket.IO: patterns of keys and channels, and commands."""
    return (f"~{prefix}:sio:*", f"&{prefix}:sio:*", *(f"+{name}" for name in COMMANDS))
