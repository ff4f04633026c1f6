"""The doctor on real servers: sound ones, badly set up ones, restricted users, TLS, clusters, and the dead and frozen."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from valtier import Tier
from valtier.cli import main
from valtier.doctor import (
    FEATURES,
    Check,
    Report,
    Verdict,
    examination,
    examine,
    live,
    load,
    memory,
    probes,
    security,
    topology,
)
from valtier.doctor.facts import Facts
from valtier.doctor.knock import Way
from valtier.doctor.needs import acl_line, needs
from valtier.doctor.probes import PROBES
from valtier.doctor.show import text_of
from valtier.doctor.verdict import ok, worst, wrong
from valtier.embedded import EmbeddedCluster, EmbeddedSentinel, EmbeddedValkey, ServerTls
from valtier.errors import ConfigurationError
from valtier.testing import Cut, EmbeddedRedis, FaultProxy
from valtier.wire import WireOptions, parse_url
from valtier.wire.handshake import Server
from valtier.wire.standalone import Standalone

PREFIX = "shop"


async def report_on(url: str, **options: object) -> Report:
    address, wire = parse_url(url)
    return await examine(address, WireOptions(**wire), **{"prefix": PREFIX, **options})  # type: ignore[arg-type]


def the(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def verdicts(report: Report) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in report.checks}


def url_of(server: EmbeddedValkey, user: str, password: str) -> str:
    return server.url.replace(f":{server.password}@", f"{user}:{password}@")


def grant(server: EmbeddedValkey, line: str, *more: str) -> str:
    """Runs an ACL line as the doctor prints it, with a password; returns the user's URL."""
    words = line.replace(">PASSWORD", ">sesame").split()
    server.call(*words, *more)
    return url_of(server, words[2], "sesame")


@pytest.fixture
def bare_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey as somebody might run it who has set nothing, or the wrong things."""
    settings: dict[str, str | tuple[str, ...]] = {
        "save": "",
        "maxmemory": "0",
        "maxmemory-policy": "allkeys-lru",
        "timeout": "5",
        "tcp-keepalive": "0",
        "tracking-table-max-keys": "100",
        "client-output-buffer-limit": ("pubsub", "0", "0", "0"),
    }
    with EmbeddedValkey(tmp_path, settings=settings, password="") as server:
        yield server


@pytest.fixture
def guarded(valkey: EmbeddedValkey) -> Iterator[EmbeddedValkey]:
    """The shared Valkey with a limit of its memory, whose users are removed again."""
    before = valkey.call("CONFIG", "GET", "maxmemory")[1]
    valkey.call("CONFIG", "SET", "maxmemory", "256mb")
    yield valkey
    valkey.call("CONFIG", "SET", "maxmemory", before.decode())
    valkey.call("ACL", "DELUSER", "valtier")


# -- sound ---------------------------------------------------------------------------------------------------


async def test_a_sound_valkey_has_nothing_wrong_and_nothing_is_left_there(own_valkey: EmbeddedValkey) -> None:
    report = await report_on(own_valkey.url)
    wrong = [check for check in report.checks if check.verdict is Verdict.WRONG and check.name != "latency"]
    assert wrong == []
    found = verdicts(report)
    for name in (
        "reachable",
        "version",
        "tls",
        "topology",
        "memory",
        "eviction",
        "tracking",
        "clock",
        "rights",
    ):
        assert found[name] is Verdict.OK, the(report, name)
    assert "Valkey" in the(report, "version").found.title()
    assert the(report, "latency").details["samples"] > 100
    assert len(the(report, "tracking").details["push_ms"]) > 1
    assert own_valkey.call("DBSIZE") == 0
    assert own_valkey.password not in text_of(report)


async def test_read_only_writes_nothing_and_says_what_it_could_not_tell(own_valkey: EmbeddedValkey) -> None:
    url = grant(own_valkey, acl_line(needs(PREFIX)))
    before = own_valkey.call("INFO", "commandstats")
    report = await report_on(url, read_only=True)
    after = own_valkey.call("INFO", "commandstats")
    assert isinstance(before, bytes)
    assert isinstance(after, bytes)
    for command in (b"set", b"hset", b"zadd", b"xadd", b"incrby"):
        assert b"cmdstat_%b:" % command not in after
    assert the(report, "tracking").verdict is Verdict.UNKNOWN
    assert "hset" in the(report, "rights").advice
    assert report.healthy


async def test_every_kind_of_server_is_examined(every_url: str) -> None:
    report = await report_on(every_url)
    assert the(report, "reachable").verdict is Verdict.OK
    assert the(report, "rights").verdict is Verdict.OK, the(report, "rights")
    expected = Verdict.ADVICE if "protocol=2" in every_url else Verdict.OK
    assert the(report, "tracking").verdict is expected, the(report, "tracking")


async def test_the_workers_prefix_is_found_and_what_they_say_is_told(own_valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(own_valkey.url, prefix="flux:one", deadline=5, vitals_every=60) as tier:
        assert await tier.vitals.publish()
        report = await report_on(own_valkey.url, prefix=None)
        assert the(report, "workers").verdict is Verdict.OK
        assert "1 report under the prefix flux:one" in the(report, "workers").found
        assert "~flux:one:*" in report.acl
        elsewhere = the(await report_on(own_valkey.url, prefix="shop"), "workers")
        assert elsewhere.verdict is Verdict.UNKNOWN
        assert "flux:one" in elsewhere.advice


# -- badly set up --------------------------------------------------------------------------------------------


async def test_what_is_badly_set_up_is_named_with_what_to_change(bare_valkey: EmbeddedValkey) -> None:
    report = await report_on(bare_valkey.url)
    found = verdicts(report)
    assert not report.healthy
    assert found["memory"] is Verdict.WRONG
    assert "maxmemory" in the(report, "memory").advice
    assert found["password"] is Verdict.WRONG
    assert "requirepass" in the(report, "password").advice
    assert found["idle timeout"] is Verdict.WRONG
    assert "timeout 0" in the(report, "idle timeout").advice
    assert found["tracking table"] is Verdict.ADVICE
    assert found["output buffers"] is Verdict.ADVICE
    assert found["eviction"] is Verdict.ADVICE


@pytest.mark.parametrize("durable", [False, True])
async def test_a_policy_that_evicts_sessions_without_a_durable_store_is_wrong(
    own_valkey: EmbeddedValkey, durable: bool
) -> None:
    async with Tier.from_url(own_valkey.url, prefix=PREFIX, deadline=5) as tier:
        async with tier.sessions() as sessions:
            if durable:
                own_valkey.call("HSET", f"{PREFIX}:s:{{abcd}}:0123456789ab:abcdefgh", "h", "x")
            else:
                await sessions.create("ann")
        eviction = the(await report_on(own_valkey.url), "eviction")
    assert eviction.verdict is (Verdict.OK if durable else Verdict.WRONG), eviction
    assert durable or "durable" in eviction.advice


async def test_commands_refused_for_want_of_memory_are_wrong(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    own_valkey.call("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(Exception, match="OOM"):
        own_valkey.call("SET", "k", "v")
    report = await report_on(own_valkey.url)
    assert the(report, "evictions").verdict is Verdict.WRONG
    assert the(report, "memory").verdict is Verdict.WRONG


# -- rights --------------------------------------------------------------------------------------------------


async def test_the_printed_line_makes_a_user_that_lacks_nothing(guarded: EmbeddedValkey) -> None:
    line = (await report_on(guarded.url)).acl
    assert line.startswith("ACL SETUSER valtier reset on >PASSWORD ~shop:* ")
    url = grant(guarded, line)
    guarded.call("ACL", "LOG", "RESET")
    report = await report_on(url)
    rights = the(report, "rights")
    assert rights.verdict is Verdict.OK, rights
    assert rights.details["by"] == "calls"
    assert the(report, "tracking").verdict is Verdict.OK
    assert the(report, "password").found.startswith("signed in as valtier")
    assert the(report, "memory").verdict is Verdict.OK  # INFO tells it
    assert the(report, "tracking table").verdict is Verdict.UNKNOWN
    assert "config|get" in the(report, "tracking table").advice
    assert guarded.call("DBSIZE") == 0


async def test_the_line_for_an_old_server_has_no_commands_that_it_does_not_know(
    redis70: EmbeddedRedis,
) -> None:
    line = (await report_on(redis70.url)).acl
    url = grant(redis70, line)
    try:
        report = await report_on(url)
        assert the(report, "rights").verdict is Verdict.OK, the(report, "rights")
        assert report.acl == line
    finally:
        redis70.call("ACL", "DELUSER", "valtier")


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("command", "feature"),
    [
        ("getrange", "cache"),
        ("xrevrange", "socketio"),
        ("pexpiretime", "codes"),
        ("zscore", "presence"),
        ("zrange", "sessions"),
        ("incrby", "limits"),
        ("client|tracking", "cache"),
        ("unlink", "cache"),
        ("ssubscribe", "presence"),
        ("subscribe", "sessions"),
        ("evalsha", "codes"),
        ("xadd", "socketio"),
    ],
)
async def test_a_missing_command_is_named_with_its_feature(
    guarded: EmbeddedValkey, command: str, feature: str, dry_run: bool
) -> None:
    more = ("+acl|dryrun", "+acl|whoami") if dry_run else ()
    url = grant(guarded, acl_line(needs(PREFIX)), *more, f"-{command}")
    report = await report_on(url)
    rights = the(report, "rights")
    assert rights.verdict is Verdict.WRONG
    assert rights.details["by"] == ("DRYRUN" if dry_run else "calls")
    assert feature in rights.details["missing"]
    assert {rule for several in rights.details["missing"].values() for rule in several} == {f"+{command}"}
    assert f"+{command}" in rights.advice
    assert guarded.call("DBSIZE") == 0


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_missing_pattern_of_keys_or_channels_is_named(guarded: EmbeddedValkey, dry_run: bool) -> None:
    line = acl_line(needs(PREFIX)).replace("~shop:*", "~shop:limit:*").replace("&shop:sio:*", "")
    url = grant(guarded, line, *(("+acl|dryrun",) if dry_run else ()))
    rights = the(await report_on(url, features=["limits", "socketio"]), "rights")
    assert rights.verdict is Verdict.WRONG
    assert "limits" not in rights.details["missing"]
    assert "~shop:sio:*" in rights.advice
    assert "&shop:sio:*" in rights.advice


def test_there_is_a_probe_for_every_command_that_a_feature_needs() -> None:
    published = {command for need in needs(PREFIX, cluster=True) for command in need.commands}
    assert published <= set(PROBES)


async def test_features_that_are_not_in_use_need_no_rights(guarded: EmbeddedValkey) -> None:
    url = grant(guarded, acl_line(needs(PREFIX, ["limits"])))
    assert the(await report_on(url, features=["limits"]), "rights").verdict is Verdict.OK
    assert the(await report_on(url), "rights").verdict is Verdict.WRONG
    with pytest.raises(ConfigurationError, match="no feature 'teleport'"):
        await report_on(url, features=["teleport"])
    assert set(FEATURES) >= {"cache", "http", "sessions", "limits", "codes", "presence", "socketio"}


async def test_a_server_that_forbids_config_is_examined_by_what_info_tells(tmp_path: Path) -> None:
    """As managed ones do."""
    settings: dict[str, str | tuple[str, ...]] = {"save": "", "rename-command": ("CONFIG", "")}
    with EmbeddedValkey(tmp_path, settings=settings) as server:
        report = await report_on(server.url)
    assert the(report, "memory").verdict is Verdict.OK
    assert the(report, "eviction").verdict is Verdict.OK
    assert the(report, "idle timeout").verdict is Verdict.UNKNOWN
    assert "unknown command" in the(report, "idle timeout").advice


# -- TLS -----------------------------------------------------------------------------------------------------


async def test_tls_is_verified_and_its_end_is_told(redis70: EmbeddedRedis) -> None:
    report = await report_on(f"{redis70.tls_url}?tls_ca={redis70.certificates.ca}")
    tls = the(report, "tls")
    assert tls.verdict is Verdict.OK
    assert "good until" in tls.found
    assert tls.details["tls"].startswith("TLSv1")
    assert the(report, "version").found.startswith("redis 7.0")


async def test_tls_that_is_not_verified_is_wrong(redis70: EmbeddedRedis) -> None:
    report = await report_on(f"{redis70.tls_url}?tls_verify=false")
    assert the(report, "tls").verdict is Verdict.WRONG
    assert "tls_ca" in the(report, "tls").advice


async def test_a_cluster_is_examined_over_tls(tmp_path: Path, redis70: EmbeddedRedis, tls: ServerTls) -> None:
    with EmbeddedCluster(tmp_path, binary=redis70.binary, tls=tls, replicas=0) as servers:
        report = await report_on(f"{servers.tls_url}&tls_ca={redis70.certificates.ca}")
    assert the(report, "tls").verdict is Verdict.OK, the(report, "tls")
    assert len(the(report, "tls").details) == 3
    assert the(report, "rights").verdict is Verdict.OK, the(report, "rights")
    assert the(report, "tracking").verdict is Verdict.OK, the(report, "tracking")
    assert "no replica" in the(report, "topology").found


async def test_an_expired_certificate_is_why_it_can_not_be_reached(
    make_redis70: Callable[..., EmbeddedRedis], certificates: object
) -> None:
    server = make_redis70(identity=certificates.expired)  # type: ignore[attr-defined]
    report = await report_on(f"{server.tls_url}?tls_ca={server.certificates.ca}")
    assert [check.name for check in report.checks] == ["reachable"]
    assert "expired" in the(report, "reachable").advice


# -- many servers --------------------------------------------------------------------------------------------


async def test_of_a_cluster_every_primary_is_examined(cluster: EmbeddedCluster) -> None:
    report = await report_on(cluster.url)
    topology = the(report, "topology")
    assert topology.verdict is Verdict.OK, topology
    assert topology.details["slots"] == 16384
    assert (topology.details["primaries"], topology.details["replicas"]) == (3, 3)
    assert len(the(report, "tracking").details) == 3
    assert len(the(report, "memory").details) == 3
    assert all(node.call("DBSIZE") == 0 for node in cluster.primaries())


async def test_a_right_that_one_node_of_a_cluster_lacks_is_found(cluster: EmbeddedCluster) -> None:
    words = acl_line(needs(PREFIX, cluster=True)).replace(">PASSWORD", ">sesame").split()
    for node in cluster.nodes:
        node.call(*words)
    last = cluster.primaries()[-1]
    try:
        last.call("ACL", "SETUSER", "valtier", "-hincrby")
        report = await report_on(cluster.url.replace(f":{cluster.password}@", "valtier:sesame@"))
        rights = the(report, "rights")
        assert rights.verdict is Verdict.WRONG
        assert "hincrby" in rights.found
        assert str(last.port) in rights.found
    finally:
        for node in cluster.nodes:
            node.call("ACL", "DELUSER", "valtier")


async def test_a_primary_that_does_not_answer_is_wrong_and_the_others_are_examined(tmp_path: Path) -> None:
    with EmbeddedCluster(tmp_path, replicas=0, node_timeout_ms=60_000, password="") as servers:
        last = servers.primaries()[-1]
        last.kill()
        report = await report_on(servers.url)
        assert not report.healthy
        assert the(report, "reachable").verdict is Verdict.ADVICE
        assert str(last.port) in the(report, "primaries").found
        assert the(report, "password").verdict is Verdict.WRONG
        assert [told["anonymous"] for told in the(report, "password").details.values()] == [True, True]
        assert the(report, "tracking").verdict is Verdict.OK, the(report, "tracking")
        assert len(the(report, "memory").details) == 2


async def test_a_node_of_a_cluster_that_the_url_takes_for_a_server_is_wrong(cluster: EmbeddedCluster) -> None:
    report = await report_on(cluster.primaries()[0].url)
    assert the(report, "topology").verdict is Verdict.WRONG
    assert "cluster=true" in the(report, "topology").advice


async def test_sentinels_are_asked_about_replicas_and_quorum(shared_sentinel: EmbeddedSentinel) -> None:
    topology = the(await report_on(shared_sentinel.url), "topology")
    assert topology.details["sentinels"] == 3
    assert topology.details["replicas"] == 2
    assert topology.verdict is not Verdict.WRONG


def cluster_nodes(*lines: str) -> str:
    """CLUSTER NODES: an id, flags, a primary's id or -, and slots for each line."""
    found = []
    for line in lines:
        identity, flags, primary, *slots = line.split()
        found.append(f"{identity} 10.0.0.1:6379@16379 {flags} {primary} 0 0 1 connected {' '.join(slots)}")
    return "\n".join(found)


def test_a_slot_without_a_primary_a_bare_primary_and_a_dead_node_are_told_apart() -> None:
    whole = ["a master - 0-5460", "b master - 5461-10922", "c master - 10923-16383 [93->-d]"]
    replicas = ["x slave a", "y slave b", "z slave c"]
    judge = topology.judge_cluster
    assert judge({"cluster_state": "ok"}, cluster_nodes(*whole, *replicas)).verdict is Verdict.OK
    assert judge({}, cluster_nodes(*whole, *replicas[:2])).verdict is Verdict.ADVICE
    assert "1 primaries have no replica" in judge({}, cluster_nodes(*whole, *replicas[:2])).found
    dead = judge({}, cluster_nodes(*whole, *replicas, "w slave,fail a"))
    assert (dead.verdict, dead.details["failing"]) == (Verdict.ADVICE, 1)
    holes = judge({"cluster_state": "fail"}, cluster_nodes(*whole[:2], *replicas))
    assert (holes.verdict, holes.details["slots"]) == (Verdict.WRONG, 10923)


def test_sentinels_that_disagree_lack_a_quorum_or_a_replica_are_wrong() -> None:
    told = {"ip": "10.0.0.1", "port": "6379", "num-other-sentinels": "2", "num-slaves": "1", "quorum": "2"}
    judge = topology.judge_sentinels
    assert judge([told] * 3, [], 3).verdict is Verdict.OK
    assert judge([told, {**told, "ip": "10.0.0.2"}], [], 2).verdict is Verdict.WRONG
    assert judge([{**told, "quorum-trouble": "NOQUORUM"}], [], 1).verdict is Verdict.WRONG
    assert judge([{**told, "num-slaves": "0"}], [], 1).verdict is Verdict.WRONG
    assert judge([told], ["s2: nobody"], 2).verdict is Verdict.ADVICE
    assert judge([told], [], 1).verdict is Verdict.ADVICE
    assert judge([], ["s1: nobody"], 1).verdict is Verdict.UNKNOWN


# -- judging, without a server -------------------------------------------------------------------------------


def facts(config: dict[str, str] | None = None, **info: str) -> Facts:
    return Facts("v:6379", {"used_memory": "900", "uptime_in_seconds": "60", **info}, config or {})


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (memory.memory(facts({"maxmemory": "1000"})), Verdict.OK),
        (memory.memory(facts({"maxmemory": "0"})), Verdict.WRONG),
        (memory.memory(facts(maxmemory="1000", maxmemory_policy="noeviction")), Verdict.WRONG),
        (memory.memory(facts({"maxmemory": "950"}, total_system_memory="1000")), Verdict.ADVICE),
        (memory.memory(facts()), Verdict.UNKNOWN),
        (memory.tracking_table(facts({"tracking-table-max-keys": "0"})), Verdict.ADVICE),
        (
            memory.tracking_table(
                facts({"tracking-table-max-keys": "1000000"}, tracking_total_keys="950000")
            ),
            Verdict.ADVICE,
        ),
        (memory.persistence(facts({"save": ""})), Verdict.OK),
        (memory.persistence(facts({"save": "60 1"}, rdb_last_bgsave_status="err")), Verdict.WRONG),
        (
            memory.persistence(facts({"save": ""}, aof_enabled="1", aof_last_write_status="err")),
            Verdict.WRONG,
        ),
        (memory.persistence(facts({"save": "60 1"}, latest_fork_usec="900000")), Verdict.ADVICE),
        (load.connections(facts({"maxclients": "10"}, connected_clients="9")), Verdict.WRONG),
        (load.connections(facts({"maxclients": "10"}, rejected_connections="3")), Verdict.ADVICE),
        (load.losses(facts(evicted_keys="10", expired_keys="1")), Verdict.ADVICE),
        (load.losses(facts(evicted_keys="1", expired_keys="10")), Verdict.OK),
        (load.losses(facts(errorstat_OOM="count=3")), Verdict.WRONG),
        (load.timeouts(facts({"timeout": "300"})), Verdict.ADVICE),
        (load.timeouts(facts({"timeout": "0", "tcp-keepalive": "300"})), Verdict.OK),
        (
            load.buffers(facts({"client-output-buffer-limit": "normal 0 0 0 pubsub 1mb 1mb 60"})),
            Verdict.ADVICE,
        ),
        (
            load.buffers(facts({"client-output-buffer-limit": "normal 1000 0 0 pubsub 32mb 8mb 60"})),
            Verdict.ADVICE,
        ),
        (live.judge_clock("clock", 0.2, 0.001), Verdict.OK),
        (live.judge_clock("clock", -5.0, 0.001), Verdict.ADVICE),
        (live.judge_clock("clock", 90.0, 0.001), Verdict.WRONG),
        (security.version(Server("redis", (6, 2, 14))), Verdict.WRONG),
        (security.version(Server("valkey", (8, 1, 0))), Verdict.OK),
        (security.version(Server()), Verdict.UNKNOWN),
    ],
    ids=lambda each: f"{each.name} {each.found[:40]}" if isinstance(each, Check) else "",
)
def test_what_is_told_is_judged(check: Check, verdict: Verdict) -> None:
    assert check.verdict is verdict
    assert bool(check.advice) is (verdict is not Verdict.OK)


@pytest.mark.parametrize(
    ("policy", "sessions", "verdict"),
    [
        ("allkeys-lru", "none", Verdict.OK),
        ("allkeys-lfu", "copies", Verdict.OK),
        ("allkeys-lru", "alone", Verdict.WRONG),
        ("volatile-lru", "alone", Verdict.WRONG),
        ("noeviction", "alone", Verdict.OK),
        ("noeviction", "none", Verdict.ADVICE),
        ("volatile-ttl", "none", Verdict.ADVICE),
        ("allkeys-random", "none", Verdict.ADVICE),
    ],
)
def test_the_policy_is_judged_by_what_lies_there(policy: str, sessions: str, verdict: Verdict) -> None:
    told = facts({"maxmemory": "1000", "maxmemory-policy": policy})
    assert memory.eviction(told, sessions=sessions).verdict is verdict


def test_no_tls_is_wrong_as_soon_as_bytes_leave_the_machine_and_the_end_of_a_certificate_is_told_before() -> (
    None
):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    plain, _ = parse_url("redis://cache.example")
    secure, _ = parse_url("rediss://cache.example")
    assert security.encryption(plain, Way(same_host=False), now).verdict is Verdict.WRONG
    assert security.encryption(plain, Way(same_host=True), now).verdict is Verdict.OK
    soon = Way(same_host=False, tls="TLSv1.3", expires=now + timedelta(days=9))
    assert security.encryption(secure, soon, now).verdict is Verdict.ADVICE
    assert "9 days" in security.encryption(secure, soon, now).found
    later = replace(soon, expires=now + timedelta(days=90))
    assert security.encryption(secure, later, now).verdict is Verdict.OK


def test_several_servers_make_one_check_of_the_gravest() -> None:
    fine, poor = ok("memory", "fine"), wrong("memory", "no limit", "set one")
    assert worst([("a", fine), ("b", fine)]).found == "fine (all 2 servers)"
    both = worst([("a", fine), ("b", poor), ("c", poor)])
    assert (both.verdict, both.found) == (Verdict.WRONG, "b, c: no limit")


def test_what_a_server_says_steers_no_terminal() -> None:
    report = Report("redis://h", (wrong("version", "v\x1b[2J9", "do\x07"),), "ACL")
    assert "\x1b" not in text_of(report)
    assert "\x07" not in text_of(report)


# -- in trouble ----------------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_where_nobody_listens_it_fails_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", f"redis://:secret@127.0.0.1:{closed_port()}"]) == 1
    told = capsys.readouterr().out
    assert "nobody listens there" in " ".join(told.split())
    assert "secret" not in told


def test_a_wrong_password_is_told_and_not_printed(
    valkey: EmbeddedValkey, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", valkey.url.replace(valkey.password, "open-barley"), "--json"]) == 1
    told = capsys.readouterr().out
    [check] = json.loads(told)["checks"]
    assert check["name"] == "reachable"
    assert "password" in check["advice"]
    assert "open-barley" not in told


async def test_a_frozen_server_is_told_within_bounded_time(own_valkey: EmbeddedValkey) -> None:
    own_valkey.freeze()
    began = time.monotonic()
    report = await report_on(own_valkey.url)
    took = time.monotonic() - began
    own_valkey.thaw()
    assert the(report, "reachable").verdict is Verdict.WRONG
    assert "no answer in time" in the(report, "reachable").advice
    assert took < 10


async def test_a_server_that_freezes_meanwhile_ends_no_check_but_its_own(own_valkey: EmbeddedValkey) -> None:
    def freeze(check: Check) -> None:
        if check.name == "topology":
            own_valkey.freeze()

    began = time.monotonic()
    report = await report_on(f"{own_valkey.url}?connect_timeout=300ms", tell=freeze)
    took = time.monotonic() - began
    own_valkey.thaw()
    assert the(report, "memory").verdict is Verdict.OK
    assert the(report, "latency").verdict is Verdict.UNKNOWN
    assert the(report, "rights").verdict is Verdict.UNKNOWN
    assert took < 60


async def test_a_server_that_freezes_within_a_check_is_not_waited_for(
    own_valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = probes.look

    async def freeze_and_look(*args: Any, **options: Any) -> Any:
        own_valkey.freeze()
        return await look(*args, **options)

    monkeypatch.setattr(probes, "look", freeze_and_look)
    monkeypatch.setattr(examination, "_PATIENCE_S", 3.0)
    report = await report_on(own_valkey.url)
    own_valkey.thaw()
    assert the(report, "rights").verdict is Verdict.UNKNOWN
    assert the(report, "rights").advice == "nothing within 3 s"


async def test_changes_that_something_on_the_way_swallows_are_wrong(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the messages go: replies come as ever. No proxy here tells them apart, so the wire is made deaf to them."""
    monkeypatch.setattr(Standalone, "_on_push", lambda _, message: None)
    report = await report_on(valkey.url)
    assert the(report, "tracking").verdict is Verdict.WRONG
    assert "RESP3 pushes" in the(report, "tracking").advice
    assert valkey.call("DBSIZE") == 0


async def test_a_cut_connection_ends_no_check_but_its_own(valkey: EmbeddedValkey) -> None:
    async with FaultProxy(valkey.port) as proxy:

        def cut(check: Check) -> None:
            if check.name == "tracking table":
                proxy.cut(Cut.RST)

        report = await report_on(proxy.url(valkey.url), tell=cut)
    assert the(report, "tracking").verdict in (Verdict.UNKNOWN, Verdict.ADVICE)
    assert the(report, "rights").verdict is Verdict.OK


async def test_a_unix_socket_needs_no_tls(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with EmbeddedValkey(
        tmp_path / "data", settings={"save": "", "unixsocket": str(path)}, password=""
    ) as server:
        server.call("CONFIG", "SET", "requirepass", "sesame")
        report = await report_on(f"unix://:sesame@{path}")
    assert the(report, "tls").verdict is Verdict.OK
    assert the(report, "rights").verdict is Verdict.OK


# -- the command line ----------------------------------------------------------------------------------------


def test_json_holds_every_check(valkey: EmbeddedValkey, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--prefix", PREFIX, "doctor", valkey.url, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert status == (0 if told["healthy"] else 1)
    assert {"reachable", "memory", "rights"} <= {check["name"] for check in told["checks"]}
    assert told["acl"].startswith("ACL SETUSER valtier reset on >PASSWORD ~shop:*")


def test_the_report_can_be_read_in_a_terminal(
    valkey: EmbeddedValkey, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", valkey.url])
    told = capsys.readouterr().out
    assert "✓ reachable" in told
    assert "ACL SETUSER" in told
    assert valkey.password not in told


def test_what_is_wrongly_asked_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "http://127.0.0.1"]) == 2
    assert main(["doctor", "redis://127.0.0.1", "--features", "teleport"]) == 2
    assert "teleport" in capsys.readouterr().err


def test_it_needs_neither_rich_nor_socketio(valkey: EmbeddedValkey) -> None:
    code = (
        "import sys; sys.modules['rich'] = sys.modules['socketio'] = None; from valtier.cli import main; "
        f"main(['doctor', {valkey.url!r}])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert "✓ rights" in ended.stdout
    assert "ACL SETUSER valtier" in ended.stdout
    assert "xadd" not in ended.stdout
    assert "\x1b" not in ended.stdout


async def test_cancelling_leaves_no_task_behind(valkey: EmbeddedValkey) -> None:
    task = asyncio.create_task(report_on(valkey.url))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each for each in asyncio.all_tasks() if each.get_name().startswith("valtier")] == []
