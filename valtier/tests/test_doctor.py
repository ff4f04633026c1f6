"""The doctor on real servers: sound ones, badly set up ones, restricted users, TLS, clusters, and the dead and frozen."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from valtier import Tier
from valtier.cli import main
from valtier.doctor import FEATURES, Check, Report, Verdict, examine
from valtier.doctor.needs import acl_line, needs
from valtier.doctor.probes import PROBES
from valtier.doctor.show import text_of
from valtier.embedded import EmbeddedCluster, EmbeddedSentinel, EmbeddedValkey
from valtier.errors import ConfigurationError
from valtier.testing import Cut, EmbeddedRedis, FaultProxy
from valtier.wire import WireOptions, parse_url

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
    settings = {
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


async def test_the_printed_line_makes_a_user_that_lacks_nothing(own_valkey: EmbeddedValkey) -> None:
    line = (await report_on(own_valkey.url)).acl
    assert line.startswith("ACL SETUSER valtier reset on >PASSWORD ~shop:* ")
    url = grant(own_valkey, line)
    own_valkey.call("ACL", "LOG", "RESET")
    report = await report_on(url)
    rights = the(report, "rights")
    assert rights.verdict is Verdict.OK, rights
    assert rights.details["by"] == "calls"
    assert the(report, "tracking").verdict is Verdict.OK
    assert the(report, "password").found.startswith("signed in as valtier")
    assert the(report, "memory").verdict is Verdict.OK  # INFO tells it
    assert the(report, "tracking table").verdict is Verdict.UNKNOWN
    assert "config|get" in the(report, "tracking table").advice
    assert own_valkey.call("DBSIZE") == 0


async def test_the_line_for_an_old_server_has_no_commands_that_it_does_not_know(redis70: EmbeddedRedis) -> None:
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
    own_valkey: EmbeddedValkey, command: str, feature: str, dry_run: bool
) -> None:
    more = ("+acl|dryrun", "+acl|whoami") if dry_run else ()
    url = grant(own_valkey, acl_line(needs(PREFIX)), *more, f"-{command}")
    report = await report_on(url)
    rights = the(report, "rights")
    assert rights.verdict is Verdict.WRONG
    assert rights.details["by"] == ("DRYRUN" if dry_run else "calls")
    assert feature in rights.details["missing"]
    assert {rule for several in rights.details["missing"].values() for rule in several} == {f"+{command}"}
    assert f"+{command}" in rights.advice
    assert own_valkey.call("DBSIZE") == 0


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_missing_pattern_of_keys_or_channels_is_named(
    own_valkey: EmbeddedValkey, dry_run: bool
) -> None:
    line = acl_line(needs(PREFIX)).replace("~shop:*", "~shop:limit:*").replace("&shop:sio:*", "")
    url = grant(own_valkey, line, *(("+acl|dryrun",) if dry_run else ()))
    rights = the(await report_on(url, features=["limits", "socketio"]), "rights")
    assert rights.verdict is Verdict.WRONG
    assert "limits" not in rights.details["missing"]
    assert "~shop:sio:*" in rights.advice
    assert "&shop:sio:*" in rights.advice


def test_there_is_a_probe_for_every_command_that_a_feature_needs() -> None:
    published = {command for need in needs(PREFIX, cluster=True) for command in need.commands}
    assert published <= set(PROBES)


async def test_features_that_are_not_in_use_need_no_rights(own_valkey: EmbeddedValkey) -> None:
    url = grant(own_valkey, acl_line(needs(PREFIX, ["limits"])))
    assert the(await report_on(url, features=["limits"]), "rights").verdict is Verdict.OK
    assert the(await report_on(url), "rights").verdict is Verdict.WRONG
    with pytest.raises(ConfigurationError, match="no feature 'teleport'"):
        await report_on(url, features=["teleport"])
    assert set(FEATURES) >= {"cache", "http", "sessions", "limits", "codes", "presence", "socketio"}


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


async def test_a_node_of_a_cluster_that_the_url_takes_for_a_server_is_wrong(cluster: EmbeddedCluster) -> None:
    report = await report_on(cluster.primaries()[0].url)
    assert the(report, "topology").verdict is Verdict.WRONG
    assert "cluster=true" in the(report, "topology").advice


async def test_sentinels_are_asked_about_replicas_and_quorum(shared_sentinel: EmbeddedSentinel) -> None:
    topology = the(await report_on(shared_sentinel.url), "topology")
    assert topology.details["sentinels"] == 3
    assert topology.details["replicas"] == 2
    assert topology.verdict is not Verdict.WRONG


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


async def test_changes_that_a_proxy_swallows_are_wrong(own_valkey: EmbeddedValkey) -> None:
    """A link that dies between the read and the change: the message does not come."""
    async with FaultProxy(own_valkey.port) as proxy:

        def cut(check: Check) -> None:
            if check.name == "tracking table":
                proxy.cut(Cut.RST)

        report = await report_on(proxy.url(own_valkey.url), tell=cut)
    assert the(report, "tracking").verdict is not Verdict.OK


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


async def test_cancelling_leaves_no_task_behind(valkey: EmbeddedValkey) -> None:
    task = asyncio.create_task(report_on(valkey.url))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each for each in asyncio.all_tasks() if each.get_name().startswith("valtier")] == []
