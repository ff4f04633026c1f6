"""Which commands may go over a connection that everybody shares.

Some have no reply or more than one, and would shift every later reply to another caller (SUBSCRIBE, MONITOR, CLIENT REPLY).
Some change the connection for all (SELECT, AUTH, MULTI), and some make all wait (BLPOP). They have a connection of their
own: `Valkey.subscribe` and `Valkey.dedicated`.
"""

from __future__ import annotations

from valtier.errors import ConfigurationError
from valtier.wire.blocking import block_of
from valtier.wire.connection import Argument

_MESSAGES = frozenset(
    ("SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE", "MONITOR")
)
_CONNECTION = (
    "HELLO",
    "AUTH",
    "SELECT",
    "RESET",
    "QUIT",
    "SYNC",
    "PSYNC",
    "ASKING",
    "READONLY",
    "READWRITE",
    "REPLCONF",
    "DEBUG",
)
_TRANSACTION = ("MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH")
_STATEFUL = frozenset((*_CONNECTION, *_TRANSACTION))
_CLIENT_IS_FINE = frozenset(
    ("", "GETNAME", "GETREDIR", "HELP", "ID", "INFO", "KILL", "LIST", "TRACKINGINFO", "UNBLOCK")
)
_DEPENDS_ON_ARGUMENTS = frozenset(("CLIENT", "SCRIPT", "XREAD", "XREADGROUP"))
_MOST_WORDS = 4096

shareable: set[Argument] = set()
"""First words that were found to be fine whatever follows them, as they were written. Looked up before anything else."""


def check_shareable(args: tuple[Argument, ...]) -> None:
    """Refuses what may not go over a shared connection; called for first words that are not in `shareable`.

    Raises:
        ConfigurationError: there are no words, or the command needs a connection of its own.
    """
    if not args:
        raise ConfigurationError("a command has at least a name")
    name = _capitals(args[0])
    if name in _MESSAGES:
        raise ConfigurationError(f"{name} has more than one reply: use Valkey.subscribe")
    if name in _STATEFUL:
        raise ConfigurationError(
            f"{name} would change the connection for everybody who shares it: use a Script, or Valkey.dedicated"
        )
    second = _capitals(args[1]) if len(args) > 1 else ""
    if (name == "CLIENT" and second not in _CLIENT_IS_FINE) or (name, second) == ("SCRIPT", "DEBUG"):
        raise ConfigurationError(f"{name} {second} would change the connection for everybody who shares it")
    if block_of(args) != 0:
        raise ConfigurationError(
            f"{name} makes everybody wait who shares the connection: use Valkey.dedicated"
        )
    if name not in _DEPENDS_ON_ARGUMENTS and len(shareable) < _MOST_WORDS:
        shareable.add(args[0])


def _capitals(word: Argument) -> str:
    return word.decode("ascii", "replace").upper() if isinstance(word, bytes) else str(word).upper()
