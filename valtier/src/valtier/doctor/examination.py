"""Examining: goes from one check to the next. What can't be told is said to be so, and keeps no other check from its turn."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from valtier.doctor import facts, live, load, memory, probes, security, stored, topology, workers
from valtier.doctor.facts import Facts, pairs
from valtier.doctor.knock import Way, asked_anonymously, signed_in, way_to
from valtier.doctor.needs import FEATURES, Need, acl_line, needs
from valtier.doctor.prefixes import prefix_of
from valtier.doctor.verdict import Check, Report, advice, ok, unknown, worst, wrong
from valtier.errors import ReplyError, ValkeyError
from valtier.wire import Address, Endpoint, Link, Topology, Valkey, WireOptions
from valtier.wire.handshake import Server
from valtier.wire.locator import SentinelLocator

DEFAULT_PREFIX = "valtier"
_PATIENCE_S = 10.0
"""The longest that one check may take."""
_DEADLINE_S = 1.0
"""Of a single command, at least: the doctor wants an answer also from a server that the application would not wait for."""
_SAMPLES = 2000

Told = Callable[[Check], None]


async def examine(
    address: Address,
    options: WireOptions | None = None,
    *,
    prefix: str | None = None,
    features: Iterable[str] = FEATURES,
    read_only: bool = False,
    tell: Told = lambda _: None,
) -> Report:
    """Looks at a deployment, and returns what it found. Never raises because Valkey is away or refuses.

    Opens about six connections to each server, one after the other, and sends some hundred commands. Its own keys are
    `prefix:…{doctor:…}…`, and are removed; they would expire in a minute. It needs no right that the features do not
    need; what it can't tell for want of one is said to be so. Takes some seconds at most, also from a server that hangs:
    `connect_timeout_s` for each connection, and 10 s for each check.

    Args:
        address: as the application has it.
        options: likewise; the deadline is what latencies are judged by.
        prefix: likewise; `None` takes that of the workers which report there, and `valtier` if there are none.
        features: those in use, for the rights that they take.
        read_only: writes nothing; then tracking can't be tried, nor, without the right to ACL DRYRUN, whether writes are
            permitted.
        tell: is given each check as soon as it is made.

    Raises:
        ConfigurationError: the prefix or a feature can't be.
    """
    examination = _Examination(address, options or WireOptions(), prefix, list(features), read_only, tell)
    return await examination.run()


class _Examination:
    """One run. Guarded by the event loop."""

    def __init__(
        self,
        address: Address,
        options: WireOptions,
        prefix: str | None,
        features: list[str],
        read_only: bool,
        tell: Told,
    ) -> None:
        self._address = address
        self._options = options
        self._patient = replace(
            options, deadline_s=max(options.deadline_s, _DEADLINE_S), client_name="valtier-doctor"
        )
        self._prefix = prefix or DEFAULT_PREFIX
        self._prefix_is_given = prefix is not None
        self._features = features
        self._read_only = read_only
        self._tell = tell
        self._needs = self._what_is_needed()
        self._user = address.username or "default"
        self._absent: set[str] = set()
        self._token = secrets.token_hex(6)
        self._checks: list[Check] = []
        self._news: dict[bytes, asyncio.Event] = {}

    def _what_is_needed(self) -> list[Need]:
        return needs(self._prefix, self._features, cluster=self._address.topology is Topology.CLUSTER)

    async def run(self) -> Report:
        began = time.monotonic()
        endpoint = await self._reach()
        if endpoint is not None:
            valkey = Valkey.open(self._address, self._patient)
            valkey.on_invalidate(self._on_invalidate)
            try:
                await valkey.start()
                await self._look(valkey, endpoint)
            finally:
                await valkey.close()
        user = self._user if self._user != "default" else "valtier"
        line = acl_line(self._needs, user=user, without=self._absent)
        return Report(str(self._address), tuple(self._checks), line, time.monotonic() - began)

    # -- making checks -------------------------------------------------------------------------------------

    def _add(self, check: Check) -> None:
        self._checks.append(check)
        self._tell(check)

    async def _make(self, name: str, making: Awaitable[Check]) -> None:
        """Makes a check, or says why it could not be made."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                check = await making
        except (ValkeyError, OSError) as exc:  # TimeoutError among them
            check = unknown(name, "there was no answer", str(exc) or f"nothing within {_PATIENCE_S:g} s")
        self._add(check)

    def _judge(self, known: Sequence[Facts], judge: Callable[[Facts], Check]) -> None:
        self._add(worst([(each.where, judge(each)) for each in known]))

    def _on_invalidate(self, names: list[bytes] | None) -> None:
        for name in names or ():
            if (event := self._news.get(name)) is not None:
                event.set()

    # -- reaching ------------------------------------------------------------------------------------------

    async def _reach(self) -> Endpoint | None:
        """Adds the checks whether a server can be reached, and what it is. Returns where one was."""
        refused: list[str] = []
        candidates: Sequence[Endpoint] = self._address.endpoints
        if self._address.topology is Topology.SENTINEL:
            try:
                candidates = [await SentinelLocator(self._address, self._options)()]
            except (ValkeyError, OSError) as exc:
                candidates, refused = [], [str(exc)]
        reached: tuple[Endpoint, Server] | None = None
        for endpoint, met in zip(
            candidates, await asyncio.gather(*map(self._knock, candidates)), strict=True
        ):
            if isinstance(met, Server):
                reached = reached or (endpoint, met)
            else:
                refused.append(met)
        if reached is None:
            found = f"no server at {self._address} can be used"
            self._add(wrong("reachable", found, "; ".join(dict.fromkeys(refused))))
            return None
        if refused:
            found = f"{reached[0]} answers, {len(refused)} of the URL's servers do not"
            self._add(advice("reachable", found, "; ".join(refused)))
        else:
            self._add(ok("reachable", f"{self._address} answers"))
        self._add(security.version(reached[1]))
        return reached[0]

    async def _knock(self, endpoint: Endpoint) -> Server | str:
        """Returns what a server is, or why it can't be used."""
        try:
            async with signed_in(endpoint, self._address, self._options) as (_, server):
                return server
        except ValkeyError as exc:
            return str(exc)

    # -- looking -------------------------------------------------------------------------------------------

    async def _look(self, valkey: Valkey, endpoint: Endpoint) -> None:
        links = [link for link in valkey.nodes() if link.available]
        if not links:
            why = "it answered, and then did not: try again, and look at the server's log"
            self._add(unknown("connection", "the connection does not stand", why))
            return
        servers = [link.endpoint or endpoint for link in links]
        if not self._prefix_is_given:
            with contextlib.suppress(ValkeyError):
                self._prefix = await prefix_of(valkey, self._prefix)
            self._needs = self._what_is_needed()
        await self._make("workers", workers.workers(valkey, self._prefix))
        await self._look_at_security(servers)
        known = await self._facts(links)
        await self._make("topology", self._topology(valkey, links, known))
        if silent := [str(link.endpoint) for link in valkey.nodes() if not link.available]:
            change = "bring them back, or let replicas take over: their slots can't be read or written now"
            self._add(wrong("primaries", f"{', '.join(silent)}: a primary that does not answer", change))
        self._judge(known, memory.memory)
        sessions = await self._sessions(links)
        self._judge(known, lambda each: memory.eviction(each, sessions=sessions))
        self._judge(known, load.losses)
        self._judge(known, memory.tracking_table)
        await self._make("tracking", self._tracking(valkey, links))
        key = f"{self._prefix}:{{doctor:{self._token}}}"
        await self._make(
            "latency", _each(links, lambda link: live.latency(link, key, deadline_s=self._options.deadline_s))
        )
        await self._make("clock", _each(links, live.clock))
        for judge in (memory.persistence, load.connections, load.buffers, load.timeouts):
            self._judge(known, judge)
        await self._make("rights", self._rights(servers))

    async def _look_at_security(self, servers: Sequence[Endpoint]) -> None:
        ways: list[tuple[Endpoint, Way]] = []

        async def encryption() -> Check:
            told = [await way_to(endpoint, self._address, self._options) for endpoint in servers]
            ways.extend(zip(servers, told, strict=True))
            now = datetime.now(UTC)
            return worst([(str(where), security.encryption(self._address, way, now)) for where, way in ways])

        await self._make("tls", encryption())
        same_host = bool(ways) and all(way.same_host for _, way in ways)
        await self._make("password", self._sign_in(servers, same_host=same_host))

    async def _sign_in(self, servers: Sequence[Endpoint], *, same_host: bool) -> Check:
        checks: list[tuple[str, Check]] = []
        for endpoint in servers:
            async with signed_in(endpoint, self._address, self._options) as (connection, _):
                with contextlib.suppress(ReplyError):  # not permitted: then the URL tells
                    self._user = (await connection.send("ACL", "WHOAMI")).decode("utf-8", "replace")
                try:
                    rules = pairs(await connection.send("ACL", "GETUSER", self._user))
                except ReplyError:
                    rules = None
            try:
                is_open: bool | None = await asked_anonymously(
                    endpoint, self._address, self._options, f"{self._prefix}:{{doctor:{self._token}}}"
                )
            except (OSError, ValkeyError):
                is_open = None
            check = security.sign_in(self._user, rules, open_to_all=is_open, same_host=same_host)
            checks.append((str(endpoint), check))
        return worst(checks)

    async def _facts(self, links: Sequence[Link]) -> list[Facts]:
        async def ask(link: Link) -> Facts:
            try:
                return await facts.ask(link)
            except ValkeyError as exc:
                return Facts(str(link.endpoint), info_refused=str(exc), config_refused=str(exc))

        return list(await asyncio.gather(*map(ask, links)))

    async def _topology(self, valkey: Valkey, links: Sequence[Link], known: Sequence[Facts]) -> Check:
        match self._address.topology:
            case Topology.CLUSTER:
                return await topology.cluster(links)
            case Topology.SENTINEL:
                return await topology.sentinels(self._address, self._options)
            case Topology.STANDALONE:
                return topology.one_server(valkey.server, known[0])

    async def _sessions(self, links: Sequence[Link]) -> str:
        try:
            found = await asyncio.gather(*(stored.sessions_of(link, self._prefix) for link in links))
        except ValkeyError:
            return "unknown"
        return next((kind for kind in ("alone", "copies", "none") if kind in found), "unknown")

    async def _tracking(self, valkey: Valkey, links: Sequence[Link]) -> Check:
        if self._read_only:
            return unknown("tracking", "not tried", "leave --read-only out: a key has to be changed for it")
        tracks = valkey.tracking or len(links) < len(valkey.nodes())  # of a part nobody tells
        return worst(
            [
                (str(link.endpoint), await live.tracking(valkey, key, self._news.__setitem__, tracks=tracks))
                for link, key in self._keys_on(valkey, links)
            ]
        )

    def _keys_on(self, valkey: Valkey, links: Sequence[Link]) -> list[tuple[Link, str]]:
        """Returns a throw-away key for each server."""
        found: dict[Link, str] = {}
        for number in range(_SAMPLES):
            key = f"{self._prefix}:{{doctor:{self._token}:{number}}}"
            link = valkey.link_for(key)
            if link in links:
                found.setdefault(link, key)
            if len(found) == len(links):
                break
        return list(found.items())

    async def _rights(self, servers: Sequence[Endpoint]) -> Check:
        checks: list[tuple[str, Check]] = []
        for endpoint in servers:  # each has rights of its own, also in a cluster
            async with signed_in(endpoint, self._address, self._patient, protocol=2) as (connection, _):
                found = await probes.look(
                    connection, self._user, self._needs, token=self._token, read_only=self._read_only
                )
            self._absent |= found.absent
            checks.append((str(endpoint), security.rights(self._user, found, self._needs)))
        return worst(checks)


async def _each(links: Sequence[Link], look: Callable[[Link], Awaitable[Check]]) -> Check:
    """Makes a check of each server, one after the other."""
    return worst([(str(link.endpoint), await look(link)) for link in links])
