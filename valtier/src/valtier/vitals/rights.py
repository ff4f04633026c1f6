"""Rights: what an ACL user has to be allowed for reports, to write and to read them."""

from __future__ import annotations

COMMANDS = (
    *("eval", "evalsha", "time", "set", "del", "mget", "pexpire"),
    *("zadd", "zrem", "zrange", "zremrangebyscore", "zremrangebyrank"),
)


def acl(prefix: str) -> tuple[str, ...]:
    """Returns the rules that an ACL user needs for reports: patterns of keys, and commands."""
    return (f"~{prefix}:v:*", *(f"+{name}" for name in COMMANDS))
