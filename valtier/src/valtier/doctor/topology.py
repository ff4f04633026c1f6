"""Topology: whether the servers are what the URL says, and whether others stand by."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from valtier.doctor.facts import Facts, pairs, parse_info
from valtier.doctor.knock import signed_in
from valtier.doctor.verdict import Check, advice, ok, unknown, wrong
from valtier.errors import ReplyError, ValkeyError
from valtier.wire import Address, Endpoint, Link, WireOptions
from valtier.wire.handshake import Server

_NAME = "topology"
_SLOTS = 16384
_FEWEST_SENTINELS = 3
_FEWEST_PRIMARIES = 3


def one_server(server: Server, facts: Facts) -> Check:
    """A single server: it should be a primary, and no part of a cluster. Pure."""
    if server.mode == "cluster":
        change = "add ?cluster=true to the URL: this node answers for its own slots only"
        return wrong(_NAME, "the server is a node of a cluster, and the URL does not say so", change)
    if server.mode == "sentinel":
        change = "use redis+sentinel://host1,host2/service/0 as the URL"
        return wrong(_NAME, "the server is a sentinel, and holds no data", change)
    role = facts.info.get("role") or server.role
    if role not in (None, "master"):
        primary = f"{facts.info.get('master_host', '')}:{facts.info.get('master_port', '')}"
        change = "connect to its primary, or name the sentinels in the URL, which lead there"
        return wrong(_NAME, f"the server is a replica of {primary}, and refuses writes", change)
    replicas = facts.number("connected_slaves")
    told = f"one primary, {replicas} replicas" if replicas else "one server, no replica"
    return ok(_NAME, told, replicas=replicas)


# -- a cluster -----------------------------------------------------------------------------------------------


async def cluster(links: Sequence[Link]) -> Check:
    """Asks one node about the whole. One round trip.

    Raises:
        ValkeyError: no node answers.
    """
    info, nodes = await asyncio.gather(
        links[0].send("CLUSTER", "INFO"), links[0].send("CLUSTER", "NODES"), return_exceptions=True
    )
    for reply in (info, nodes):
        if isinstance(reply, BaseException) and not isinstance(reply, ReplyError):
            raise reply
    text = nodes.decode("utf-8", "replace") if isinstance(nodes, bytes) else ""
    told = {} if isinstance(info, ReplyError) else parse_info(info)
    if not told and not text:
        return unknown(_NAME, f"{len(links)} primaries are in use", "allow +cluster|info and +cluster|nodes")
    return judge_cluster(told, text)


@dataclass(slots=True)
class _Node:
    identity: str
    flags: list[str]
    primary: str
    slots: int


def judge_cluster(info: Mapping[str, str], nodes: str) -> Check:
    """Returns what CLUSTER INFO and CLUSTER NODES mean. Pure."""
    known = [_read_node(line.split()) for line in nodes.splitlines() if len(line.split()) >= 8]
    primaries = [node for node in known if node.slots]
    served = {node.primary for node in known if node.primary != "-"}
    bare = [node for node in primaries if node.identity not in served]
    dead = [node for node in known if any(flag in ("fail", "fail?") for flag in node.flags)]
    covered = sum(node.slots for node in primaries) if known else int(info.get("cluster_slots_ok", "0"))
    replicas = len([node for node in known if node.primary != "-"])
    numbers = {"slots": covered, "primaries": len(primaries), "replicas": replicas, "failing": len(dead)}
    found = f"a cluster of {len(primaries)} primaries and {replicas} replicas, {covered:,} of {_SLOTS:,} slots served"
    if covered < _SLOTS or info.get("cluster_state", "ok") != "ok":
        change = "give every slot a primary: valkey-cli --cluster check and --cluster fix"
        state = info.get("cluster_state", "?")
        return wrong(_NAME, f"{found}; its state is {state}", change, **numbers)
    if dead:
        change = "bring it back, or forget it: valkey-cli --cluster check tells which"
        return advice(_NAME, f"{found}; {len(dead)} of its nodes do not answer", change, **numbers)
    if bare and known:
        change = "give each primary a replica: the slots of one that dies are gone until it is back"
        return advice(_NAME, f"{found}; {len(bare)} primaries have no replica", change, **numbers)
    if len(primaries) < _FEWEST_PRIMARIES:
        change = "use three primaries or more: fewer can't agree on a failover"
        return advice(_NAME, found, change, **numbers)
    return ok(_NAME, found, **numbers)


def _read_node(words: Sequence[str]) -> _Node:
    slots = 0
    for word in words[8:]:
        if not word.startswith("["):
            first, _, last = word.partition("-")
            slots += int(last or first) - int(first) + 1
    return _Node(words[0], words[2].split(","), words[3], slots)


# -- sentinels -----------------------------------------------------------------------------------------------


async def sentinels(address: Address, options: WireOptions) -> Check:
    """Asks each sentinel of the URL about the primary. One connection to each."""
    told: list[dict[str, str]] = []
    refused: list[str] = []
    for endpoint in address.endpoints:
        try:
            told.append(await _ask_sentinel(endpoint, address, options))
        except (ValkeyError, TimeoutError) as exc:
            refused.append(f"{endpoint}: {str(exc) or 'no answer in time'}")
    return judge_sentinels(told, refused, len(address.endpoints))


async def _ask_sentinel(endpoint: Endpoint, address: Address, options: WireOptions) -> dict[str, str]:
    async with asyncio.timeout(2 * options.connect_timeout_s):
        async with signed_in(endpoint, address.for_sentinels(), options) as (connection, _):
            said = pairs(await connection.send("SENTINEL", "MASTER", address.service or ""))
            try:
                await connection.send("SENTINEL", "CKQUORUM", address.service or "")
            except ReplyError as exc:
                said["quorum-trouble"] = str(exc)
            return said


def judge_sentinels(told: Sequence[Mapping[str, str]], refused: Sequence[str], asked: int) -> Check:
    """Returns what the sentinels' answers mean. Pure."""
    if not told:
        return unknown(_NAME, "no sentinel tells of the primary", "; ".join(refused))
    sentinels_ = max(int(each.get("num-other-sentinels", "0")) + 1 for each in told)
    replicas = max(int(each.get("num-slaves", "0")) for each in told)
    quorum = told[0].get("quorum", "?")
    numbers = {"sentinels": sentinels_, "replicas": replicas, "quorum": quorum, "silent": list(refused)}
    found = f"{sentinels_} sentinels (quorum {quorum}), a primary with {replicas} replicas"
    if len({(each.get("ip"), each.get("port")) for each in told}) > 1:
        change = "wait for the failover's end, or look at the sentinels: they name different primaries"
        return wrong(_NAME, f"{found}; they disagree", change, **numbers)
    if trouble := next((each["quorum-trouble"] for each in told if "quorum-trouble" in each), ""):
        return wrong(
            _NAME,
            f"{found}; {trouble}",
            "bring the other sentinels back: nobody can fail over now",
            **numbers,
        )
    if not replicas:
        change = "add a replica: there is nothing that the sentinels could promote"
        return wrong(_NAME, found, change, **numbers)
    if refused:
        change = f"bring it back, or take it out of the URL ({'; '.join(refused)})"
        return advice(_NAME, f"{found}; {len(refused)} of {asked} do not answer", change, **numbers)
    if sentinels_ < _FEWEST_SENTINELS:
        return advice(_NAME, found, "run three sentinels on three machines", **numbers)
    if asked == 1 < sentinels_:
        change = "name several sentinels in the URL: while this one is away no new worker finds the primary"
        return advice(_NAME, found, change, **numbers)
    return ok(_NAME, found, **numbers)
