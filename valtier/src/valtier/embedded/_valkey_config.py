"""valkey.conf and redis.conf: what is written into them for users and TLS, and how values are quoted."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Value = str | tuple[str, ...]
"""The value of a directive: one word, or several."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a server shows to clients that come by TLS, and what it wants of them.

    Args:
        certificate: its certificate chain, PEM.
        key: the key of that certificate, PEM, not encrypted.
        ca: who must have signed the certificates of clients, PEM.
        clients: whether clients need a certificate: `"optional"` takes those without one, `"yes"` does not.
    """

    certificate: Path
    key: Path
    ca: Path
    clients: Literal["no", "optional", "yes"] = "optional"

    def directives(self, port: int) -> dict[str, str]:
        return {
            "tls-port": str(port),
            "tls-cert-file": os.fspath(self.certificate),
            "tls-key-file": os.fspath(self.key),
            "tls-ca-cert-file": os.fspath(self.ca),
            "tls-auth-clients": self.clients,
        }


@dataclass(frozen=True, slots=True)
class User:
    """A user of the server's access list: a password and rules such as `("~app:*", "+@all")`; without rules, powerless."""

    password: str = field(repr=False)
    rules: tuple[str, ...] = ()


def user_lines(users: Mapping[str, User]) -> list[Sequence[str]]:
    """Returns the directives that make the users."""
    return [("user", name, "on", f">{user.password}", *user.rules) for name, user in users.items()]


def directive_lines(directives: Mapping[str, Value]) -> list[Sequence[str]]:
    """Returns each directive as its words."""
    return [(name, *(value if isinstance(value, tuple) else (value,))) for name, value in directives.items()]


def render(lines: Iterable[Sequence[str]]) -> str:
    """Returns the text of a configuration file; each line's first word is the name of a directive."""
    return "".join(f"{name} {' '.join(map(_quote, words))}\n" for name, *words in lines)


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"' + "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in escaped.encode()) + '"'
    )
