"""What Valkey tells of itself, and what is warned of."""

from __future__ import annotations

from typing import Any

import pytest

from valtier import Tier
from valtier.embedded import EmbeddedValkey
from valtier.testing import FaultProxy
from valtier.vitals.server import ServerFacts, ask_servers, is_loopback, parse_info, read_facts, warnings

GOOD: dict[str, Any] = {
    "server": "valkey.example:6379",
    "maxmemory": 10**9,
    "used_memory": 10**8,
    "policy": "allkeys-lru",
    "clients": 4,
    "max_clients": 10_000,
    "tls": True,
    "password": True,
}


@pytest.mark.parametrize(
    ("changes", "durable", "codes"),
    [
        ({}, True, []),
        ({}, False, ["evicts-sessions"]),
        ({"policy": "volatile-ttl"}, False, ["evicts-sessions"]),
        ({"policy": "noeviction"}, False, ["no-eviction"]),
        ({"policy": "noeviction"}, True, ["no-eviction"]),
        ({"maxmemory": 0, "policy": "noeviction"}, True, ["no-maxmemory"]),
        ({"maxmemory": 0}, False, ["no-maxmemory"]),
        ({"maxmemory": None, "policy": None}, False, []),
        ({"tls": False}, True, ["no-tls"]),
        ({"tls": False, "on_host": True}, True, []),
        ({"password": False}, True, ["no-password"]),
        ({"password": False, "tls": False, "on_host": True}, True, ["no-password"]),
        ({"clients": 9_000}, True, ["many-clients"]),
        ({"clients": 8_999}, True, []),
        ({"tracked_keys": 950_000, "max_tracked_keys": 1_000_000}, True, ["tracking-table-full"]),
        ({"tracked_keys": 950_000, "max_tracked_keys": 0}, True, []),
        (
            {"maxmemory": 0, "policy": "noeviction", "tls": False, "password": False},
            False,
            ["no-maxmemory", "no-tls", "no-password"],
        ),
    ],
)
def test_what_is_set_up_badly_is_warned_of(changes: dict[str, Any], durable: bool, codes: list[str]) -> None:
    found = warnings(ServerFacts(**{**GOOD, **changes}), durable_sessions=durable)
    assert [warning.code for warning in found] == codes
    assert all(warning.server == "valkey.example:6379" and len(warning.text) > 20 for warning in found)


def test_info_is_read_whatever_is_in_it() -> None:
    info = parse_info(
        b"# Server\r\nredis_version:7.0.15\r\nmaxmemory:100\r\nodd\r\n\r\nexecutable:C:/x\r\nbad:\xff\r\n"
    )
    assert info["executable"] == "C:/x"
    facts = read_facts(info, {}, server="s")
    assert (facts.program, facts.version, facts.maxmemory, facts.clients) == ("redis", "7.0.15", 100, None)
    assert "clients" not in facts.as_dict()
    assert read_facts(info, {"maxmemory": "5"}, server="s").maxmemory == 5
    assert read_facts({"used_memory": "lots"}, {}, server="s").used_memory is None
    assert len(parse_info(b"a:1\n" * 10**6)) == 1


@pytest.mark.parametrize(
    ("config", "info", "persistent"),
    [
        ({}, {}, None),
        ({}, {"aof_enabled": "1"}, True),
        ({"appendonly": "no", "save": ""}, {}, False),
        ({"appendonly": "no", "save": "3600 1"}, {}, True),
    ],
)
def test_whether_it_writes_to_disk(
    config: dict[str, str], info: dict[str, str], persistent: bool | None
) -> None:
    assert read_facts(info, config, server="s").persistent is persistent


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)),
        *(("10.0.0.1", False), ("valkey", False), ("localhost.example.org", False)),
    ],
)
def test_who_is_on_this_machine(host: str, local: bool) -> None:
    assert is_loopback(host) is local


async def test_every_server_tells_its_facts(every_url: str) -> None:
    async with Tier.from_url(every_url, vitals_every=0, deadline=5) as tier:
        servers = await ask_servers(tier.valkey)
        assert len(servers) == len(tier.valkey.nodes())
        for facts in servers:
            assert facts.program in {"valkey", "redis"}
            assert facts.role == "master"
            assert facts.used_memory
            assert facts.policy
            assert facts.clients
            assert facts.commands_per_s is not None
            assert facts.on_host


async def test_a_user_who_may_ask_little_gets_what_it_may(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call(
        "ACL", "SETUSER", "poor", "reset", "on", ">secret", "-@all", "+ping", "+info", "+client|setinfo"
    )
    url = own_valkey.url.replace(f":{own_valkey.password}@", "poor:secret@")
    async with Tier.from_url(url, vitals_every=0, local_bytes=0) as tier:
        [facts] = await ask_servers(tier.valkey)
        assert facts.policy
        assert facts.max_tracked_keys is None
        assert facts.password
        own_valkey.call("ACL", "LOG", "RESET")
        assert len(await ask_servers(tier.valkey)) == 1
        assert own_valkey.call("ACL", "LOG") == [], "what was refused is not asked again"
    own_valkey.call("ACL", "SETUSER", "poor", "-info")
    async with Tier.from_url(url, vitals_every=0, local_bytes=0) as tier:
        assert await ask_servers(tier.valkey) == []


async def test_a_server_that_is_away_is_left_out(valkey: EmbeddedValkey) -> None:
    async with (
        FaultProxy(valkey.port) as proxy,
        Tier.from_url(proxy.url(valkey.url), vitals_every=0) as tier,
    ):
        proxy.black_hole()
        assert await ask_servers(tier.valkey) == []
