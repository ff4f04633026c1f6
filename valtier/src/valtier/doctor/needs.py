"""Needs: which rights valtier's features take, put together from what each of them publishes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from valtier import codes, limits, presence, sessions, vitals
from valtier.cache import rights as cache
from valtier.errors import ConfigurationError
from valtier.keys import check_prefix
from valtier.wire.rights import CLUSTER, CONNECTION


def _socketio(prefix: str) -> Sequence[str]:
    from valtier.socketio import acl  # which needs python-socketio

    return acl(prefix)


_RULES: dict[str, Callable[[str], Sequence[str]]] = {
    "cache": cache.acl,
    "http": cache.acl,  # whose entries are the cache's
    "sessions": sessions.acl,
    "limits": lambda prefix: limits.acl_rule(prefix).split(),
    "codes": codes.acl,
    "presence": presence.acl,
    "socketio": _socketio,
    "vitals": vitals.acl,
}
FEATURES = tuple(name for name in _RULES if name != "socketio" or find_spec("socketio"))
"""What may be asked for: all that is installed."""


@dataclass(frozen=True, slots=True)
class Need:
    """The rights that one feature takes."""

    feature: str
    commands: tuple[str, ...]
    """As ACL names them: `get`, `client|tracking`."""
    keys: tuple[str, ...] = ()
    """Patterns."""
    channels: tuple[str, ...] = ()
    """Patterns."""


def needs(prefix: str, features: Iterable[str] = FEATURES, *, cluster: bool = False) -> list[Need]:
    """Returns what the connection needs, and each feature.

    Raises:
        ConfigurationError: there is no such feature, or the prefix can't be one.
    """
    check_prefix(prefix)
    wanted = list(features)
    if strange := [name for name in wanted if name not in FEATURES]:
        raise ConfigurationError(f"there is no feature {strange[0]!r} here: there are {', '.join(FEATURES)}")
    connection = Need("connection", (*CONNECTION, *(CLUSTER if cluster else ())))
    return [connection, *(_need(name, _RULES[name](prefix)) for name in dict.fromkeys(wanted))]


def acl_line(found: Sequence[Need], *, user: str = "valtier", without: Iterable[str] = ()) -> str:
    """Returns the command that makes a user with these rights and no others; a placeholder stands for the password.

    `without`: commands that the server does not know, and would refuse in the line.
    """
    keys = _widest(pattern for need in found for pattern in need.keys)
    channels = _widest(pattern for need in found for pattern in need.channels)
    commands = sorted({command for need in found for command in need.commands} - set(without))
    words = ["ACL", "SETUSER", user, "reset", "on", ">PASSWORD"]
    words += [f"~{pattern}" for pattern in keys] + [f"&{pattern}" for pattern in channels]
    return " ".join([*words, "-@all", *(f"+{command}" for command in commands)])


def _need(feature: str, rules: Sequence[str]) -> Need:
    def begins(sign: str) -> tuple[str, ...]:
        return tuple(rule[1:].lower() if sign == "+" else rule[1:] for rule in rules if rule[:1] == sign)

    return Need(feature, begins("+"), begins("~"), begins("&"))


def _widest(patterns: Iterable[str]) -> list[str]:
    """Leaves out what another pattern, one that ends in `*`, covers."""
    unique = list(dict.fromkeys(patterns))
    return [one for one in unique if not any(_covers(other, one) for other in unique if other != one)]


def _covers(wide: str, narrow: str) -> bool:
    return wide.endswith("*") and narrow.startswith(wide[:-1])
