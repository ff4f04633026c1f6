"""The server: what Valkey tells of itself, and what is set up badly. One INFO and one CONFIG GET for each primary."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Any
from weakref import WeakSet

from valtier.errors import ReplyError, ValkeyError
from valtier.wire import Link, Valkey

_MOST_BYTES = 256 * 1024
_SETTINGS = ("maxmemory", "maxmemory-policy", "maxclients", "tracking-table-max-keys", "save", "appendonly")

_refusing: WeakSet[Link] = WeakSet()
"""Those that have refused CONFIG GET; asking again would fill their ACL LOG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """One primary. What it does not tell, or this user may not ask, is `None`."""

    server: str
    """`host:port`."""
    program: str | None = None
    """`valkey` or `redis`."""
    version: str | None = None
    role: str | None = None
    uptime_s: int | None = None
    used_memory: int | None = None
    """Bytes."""
    maxmemory: int | None = None
    """Bytes; 0 has no limit."""
    policy: str | None = None
    """`maxmemory-policy`."""
    clients: int | None = None
    max_clients: int | None = None
    commands_per_s: int | None = None
    evicted: int | None = None
    expired: int | None = None
    keyspace_hits: int | None = None
    keyspace_misses: int | None = None
    rejected_connections: int | None = None
    tracked_keys: int | None = None
    max_tracked_keys: int | None = None
    replicas: int | None = None
    persistent: bool | None = None
    """Whether it writes to disk, so that a restart forgets nothing, or little."""
    tls: bool = False
    on_host: bool = False
    """Whether it is reached without leaving this machine."""
    password: bool = False
    """Whether this process has to show one."""

    def as_dict(self) -> dict[str, Any]:
        """Returns what is known, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that is set up badly. `code` is for programs, `text` tells people what to do."""

    code: str
    text: str
    server: str


async def ask_servers(valkey: Valkey) -> list[ServerFacts]:
    """Asks every primary. Two commands to each, sent together; waits a deadline at most. Never raises for Valkey's sake.

    A primary that does not answer is left out.
    """
    asked = await asyncio.gather(*(_ask(valkey, link) for link in valkey.nodes()))
    return [facts for facts in asked if facts is not None]


async def _ask(valkey: Valkey, link: Link) -> ServerFacts | None:
    asked = [link.send("INFO")] if link.available else []
    if asked and link not in _refusing:
        asked.append(link.send("CONFIG", "GET", *_SETTINGS))
    if not asked:
        return None
    info, config, *_ = [*await asyncio.gather(*asked, return_exceptions=True), None]
    if isinstance(config, ReplyError):
        _refusing.add(link)
    if not isinstance(info, bytes):
        if isinstance(info, BaseException) and not isinstance(info, ValkeyError):
            raise info
        info = b""
        if config is None or isinstance(config, BaseException):
            return None
    known = {} if config is None or isinstance(config, BaseException) else _pairs(config)
    address, endpoint = valkey.address, link.endpoint
    return read_facts(
        parse_info(info),
        known,
        server=str(endpoint or address),
        tls=address.tls is not None,
        on_host=endpoint is not None and (endpoint.path is not None or is_loopback(endpoint.host)),
        password=address.password is not None,
    )


def parse_info(data: bytes) -> dict[str, str]:
    """Reads the answer to INFO. Pure; what is past 256 KiB is left out."""
    found: dict[str, str] = {}
    for line in data[:_MOST_BYTES].decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            found[name] = value.strip()
    return found


def read_facts(
    info: Mapping[str, str],
    config: Mapping[str, str],
    *,
    server: str,
    tls: bool = False,
    on_host: bool = False,
    password: bool = False,
) -> ServerFacts:
    """Makes facts of INFO's fields and, where permitted, of the configuration, which is believed first. Pure."""

    def number(name: str, setting: str = "") -> int | None:
        text = config.get(setting) if setting else None
        text = info.get(name) if text is None else text
        return int(text) if text is not None and text.lstrip("-").isdigit() else None

    program = info.get("server_name", "redis" if "redis_version" in info else None)
    aof = config.get("appendonly", {"1": "yes", "0": "no"}.get(info.get("aof_enabled", "")))
    persistent = None if aof is None else aof == "yes" or bool(config.get("save", ""))
    return ServerFacts(
        server=server,
        program=program,
        version=info.get("valkey_version", info.get("redis_version")),
        role=info.get("role"),
        uptime_s=number("uptime_in_seconds"),
        used_memory=number("used_memory"),
        maxmemory=number("maxmemory", "maxmemory"),
        policy=config.get("maxmemory-policy", info.get("maxmemory_policy")),
        clients=number("connected_clients"),
        max_clients=number("maxclients", "maxclients"),
        commands_per_s=number("instantaneous_ops_per_sec"),
        evicted=number("evicted_keys"),
        expired=number("expired_keys"),
        keyspace_hits=number("keyspace_hits"),
        keyspace_misses=number("keyspace_misses"),
        rejected_connections=number("rejected_connections"),
        tracked_keys=number("tracking_total_keys"),
        max_tracked_keys=number("", "tracking-table-max-keys"),
        replicas=number("connected_slaves"),
        persistent=persistent,
        tls=tls,
        on_host=on_host,
        password=password,
    )


def warnings(facts: ServerFacts, *, durable_sessions: bool = True) -> list[Warned]:
    """Returns what is set up badly. Pure; what is not known is not warned of.

    Args:
        facts: of one primary.
        durable_sessions: whether sessions are kept elsewhere too (PostgreSQL), or there are none.
    """
    found: list[Warned] = []

    def warn(code: str, text: str) -> None:
        found.append(Warned(code, text, facts.server))

    evicts = facts.policy is not None and facts.policy != "noeviction"
    if facts.maxmemory == 0:
        warn(
            "no-maxmemory",
            "Valkey has no maxmemory: it grows until the system ends it. Set maxmemory to three quarters of the machine's",
        )
    elif facts.maxmemory and facts.policy == "noeviction":
        warn(
            "no-eviction",
            "maxmemory-policy is noeviction: once memory is full nothing is cached any more. Set it to allkeys-lru",
        )
    if facts.maxmemory and evicts and not durable_sessions:
        warn(
            "evicts-sessions",
            f"maxmemory-policy is {facts.policy}, and sessions are kept in Valkey alone: people are logged out when memory "
            "is full. Keep sessions in PostgreSQL (durable=), or in a Valkey of their own with noeviction",
        )
    if not facts.tls and not facts.on_host:
        warn("no-tls", "Valkey is on another machine and reached without TLS. Use rediss://")
    if not facts.password:
        warn(
            "no-password",
            "Valkey wants no password. Set one (requirepass, or ACL SETUSER), also on a private network",
        )
    if facts.clients and facts.max_clients and facts.clients >= 0.9 * facts.max_clients:
        warn(
            "many-clients",
            f"{facts.clients} of {facts.max_clients} possible connections are open. Raise maxclients, or run fewer workers",
        )
    if facts.tracked_keys and facts.max_tracked_keys and facts.tracked_keys >= 0.95 * facts.max_tracked_keys:
        warn(
            "tracking-table-full",
            f"Valkey tracks as many keys as it may ({facts.max_tracked_keys}), and makes processes drop what they keep. "
            "Raise tracking-table-max-keys, or lower local_bytes",
        )
    return found


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _pairs(config: Any) -> dict[str, str]:
    """Reads the answer to CONFIG GET: a map with RESP3, else a list."""
    flat: Iterable[tuple[Any, Any]] = (
        config.items() if isinstance(config, dict) else zip(config[::2], config[1::2], strict=False)
    )
    return {_text(name): _text(value) for name, value in flat}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
