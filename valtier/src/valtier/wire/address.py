"""Where Valkey is and how to sign in there: parsed once from a URL, printed without its password."""

from __future__ import annotations

import enum
import ssl
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

from valtier.wire.tls import Tls


class Topology(enum.StrEnum):
    """How the servers behind an address belong together."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one server listens: TCP host and port, or the path of a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None

    @property
    def is_named(self) -> bool:
        """Whether it is a host's name, which may lead to another server the next time that it is looked up."""
        try:
            ip_address(self.host)
        except ValueError:
            return self.path is None
        return False

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """One server, the seeds of a cluster, or the sentinels that know the primary; and how to sign in."""

    endpoints: tuple[Endpoint, ...] = (Endpoint(),)
    """The one server; or the seeds of the cluster; or the sentinels."""
    topology: Topology = Topology.STANDALONE
    service: str | None = None
    """What the sentinels call the primary."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    read_from_replicas: bool = False
    """In a cluster: whether reads may go to replicas, which lag behind."""

    @classmethod
    def parse(cls, url: str, **keywords: Any) -> Address:
        """Reads a URL; options and keywords are those of `parse_url`, which also returns what they say of the wire.

        Raises:
            ConfigurationError: the URL or an option can't be used; the message says why and never holds a secret.
        """
        from valtier.wire.url import parse_url  # which needs this module

        return parse_url(url, **keywords)[0]

    @classmethod
    def at(cls, host: str = "127.0.0.1", port: int = 6379, **fields: Any) -> Address:
        """Makes the address of one server on TCP. `fields` are those of the class, such as `password` and `database`."""
        return cls((Endpoint(host, port),), **fields)

    @property
    def host(self) -> str:
        """The host of the first endpoint."""
        return self.endpoints[0].host

    @property
    def port(self) -> int:
        """The port of the first endpoint."""
        return self.endpoints[0].port

    @property
    def path(self) -> str | None:
        """The Unix socket's path, if it is one."""
        return self.endpoints[0].path

    def for_sentinels(self) -> Address:
        """Returns how to sign in at the sentinels themselves: with their own user and password, or with none."""
        return replace(self, username=self.sentinel_username, password=self.sentinel_password, database=0)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Returns a context as `Tls.context` does, or `None` without TLS."""
        return None if self.tls is None else self.tls.context()

    def __str__(self) -> str:
        secure = "s" if self.tls is not None else ""
        where = ",".join(map(str, self.endpoints))
        if self.path is not None:
            return f"unix://{quote(self.path)}" + (f"?db={self.database}" if self.database else "")
        if self.topology is Topology.SENTINEL:
            return f"redis{secure}+sentinel://{where}/{quote(self.service or '', safe='')}/{self.database}"
        if self.topology is Topology.CLUSTER:
            return f"redis{secure}://{where}?cluster=true"
        return f"redis{secure}://{where}/{self.database}"
