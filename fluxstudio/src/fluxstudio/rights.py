"""Rights: what FluxStudio's user of Valkey may do, and nothing else."""

from __future__ import annotations

from valtier import codes, limits, presence, sessions, socketio

_CACHE = ("get", "mget", "set", "time", "unlink", "del", "getrange", "pexpire", "eval", "evalsha")
_CONNECTION = ("ping", "info", "client|setinfo", "client|tracking")
_ANY = "flux:installation"


def rules(prefix: str) -> list[str]:
    """Returns the rules of the user, after `-@all`: keys and channels that begin with `prefix`, and commands."""
    wanted = [
        f"~{prefix}:*",
        *(f"+{name}" for name in (*_CACHE, *_CONNECTION)),
        *sessions.acl(prefix),
        *limits.acl_rule(prefix).split(),
        *codes.acl(prefix),
        *presence.acl(prefix),
        *socketio.acl(prefix),
    ]
    keys = [
        rule for rule in wanted if rule == f"~{prefix}:*" or not rule.startswith("~")
    ]  # the first holds them all
    return list(dict.fromkeys(keys))


def users_file() -> str:
    """Returns deploy/users.acl: the studio on any database, and whoever looks whether the server lives."""
    granted = " ".join(rules(_ANY)).replace(_ANY, "flux:*")
    return (
        "user default reset off -@all\n"
        f"user studio reset on #PASSWORD_SHA256 -@all {granted}\n"
        "user health reset on >health -@all +ping\n"
        "user operator reset off #PASSWORD_SHA256 ~* &* +@all\n"
    )
