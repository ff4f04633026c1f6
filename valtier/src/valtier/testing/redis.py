"""EmbeddedRedis: a Redis, the oldest of the servers that valtier supports, with TLS and users of several ranks."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import quote

from valtier.embedded import EmbeddedValkey, ServerTls, User, make_directory
from valtier.testing.certificates import Certificates, Identity
from valtier.testing.debian import ensure_redis


class EmbeddedRedis(EmbeddedValkey):
    """Debian's Redis with a port for TLS, the default user with a password, and the users of `USERS`.

    Args:
        certificates: the authorities; clients trust `certificates.ca`, and so does the server.
        identity: what the server shows to clients; by default its proper certificate.
        clients: whether clients need a certificate of their own: `"optional"` or `"yes"`.

    Raises:
        EmbeddedServerError: there is no Redis, and it cannot be installed; the message says why and what to do.
    """

    _NAME = "Redis"

    USERS: ClassVar[Mapping[str, User]] = {
        # All that an application does, with its own keys and channels.
        "app": User("app-password", ("~app:*", "&app:*", "+@all", "-@dangerous")),
        # Reads every key and changes none.
        "reader": User("reader-password", ("~*", "+@read", "+@connection", "-@dangerous")),
        # May sign in, and nothing else.
        "nobody": User("nobody-password"),
    }

    def __init__(
        self,
        data_dir: Path,
        certificates: Certificates,
        *,
        identity: Identity | None = None,
        clients: Literal["optional", "yes"] = "optional",
    ) -> None:
        shown = identity or certificates.server
        super().__init__(
            data_dir,
            settings={"save": "", "enable-debug-command": "local"},
            binary=ensure_redis(make_directory(data_dir)),
            tls=ServerTls(shown.certificate, shown.key, ca=certificates.ca, clients=clients),
            users=self.USERS,
        )
        self.certificates = certificates

    def user_url(self, name: str) -> str:
        """The address of the plain port for one of `USERS`; with the password, so not for logs."""
        return f"redis://{self._user(name)}@127.0.0.1:{self.port}/0"

    def user_tls_url(self, name: str) -> str:
        """The address of the port for TLS for one of `USERS`; with the password, so not for logs."""
        return f"rediss://{self._user(name)}@localhost:{self.tls_port}/0"

    def _user(self, name: str) -> str:
        return f"{name}:{quote(self.USERS[name].password, safe='')}"
