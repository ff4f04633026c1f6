"""One contract for every server: Valkey 9.1 and 8.1, Redis 7.0, alone, behind sentinels and as a cluster, over TLS, with RESP2."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from wires import open_url

from valtier import ConfigurationError, ReplyError, Tier, UnavailableError, WrongTypeError
from valtier.embedded import EmbeddedCluster, EmbeddedSentinel, ServerTls, valkey_81
from valtier.testing import EmbeddedRedis, eventually
from valtier.wire import Script, Valkey, scan

BINARY = bytes(range(256)) * 8
ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture(scope="module")
def cluster81(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    directory: Path = tmp_path_factory.mktemp("cluster81")
    with EmbeddedCluster(directory, replicas=0, binary=valkey_81()) as servers:
        yield servers


@pytest.fixture(scope="module")
def cluster70(
    tmp_path_factory: pytest.TempPathFactory, redis70: EmbeddedRedis, tls: ServerTls
) -> Iterator[EmbeddedCluster]:
    directory: Path = tmp_path_factory.mktemp("cluster70")
    with EmbeddedCluster(directory, replicas=0, binary=redis70.binary, tls=tls) as servers:
        yield servers


@pytest.fixture(scope="module")
def sentinel70(
    tmp_path_factory: pytest.TempPathFactory, redis70: EmbeddedRedis, tls: ServerTls
) -> Iterator[EmbeddedSentinel]:
    directory: Path = tmp_path_factory.mktemp("sentinel70")
    with EmbeddedSentinel(directory, replicas=1, binary=redis70.binary, tls=tls) as servers:
        yield servers


@pytest.fixture(
    params=[
        "valkey",
        "valkey81",
        "redis70",
        "redis70 tls",
        "valkey resp2",
        "cluster",
        "cluster81",
        "cluster70",
        "cluster70 tls",
        "shared_sentinel",
        "sentinel70 tls",
    ]
)
def every_url(request: pytest.FixtureRequest) -> str:
    name, _, variant = request.param.partition(" ")
    server = request.getfixturevalue(name)
    if variant == "tls":
        ca = request.getfixturevalue("certificates").ca
        return f"{server.tls_url}{'&' if '?' in server.tls_url else '?'}tls_ca={ca}"
    return f"{server.url}?protocol=2" if variant == "resp2" else str(server.url)


@pytest_asyncio.fixture
async def wire(every_url: str) -> AsyncIterator[Valkey]:
    async with open_url(every_url, deadline="2s", connect_timeout="5s") as opened:
        assert opened.available
        for node in opened.nodes():
            await node.send("FLUSHALL")
        yield opened


@pytest_asyncio.fixture
async def tier(every_url: str, wire: Valkey) -> AsyncIterator[Tier]:
    """A tier on the emptied server."""
    async with Tier.from_url(every_url, deadline="2s", connect_timeout="5s", canary="1h") as opened:
        assert opened.valkey.available
        yield opened


async def test_every_caller_gets_its_own_reply(wire: Valkey) -> None:
    replies = await asyncio.gather(*(wire.call("ECHO", f"n{number}") for number in range(500)))
    assert replies == [b"n%d" % number for number in range(500)]


async def test_strings(wire: Valkey) -> None:
    assert await wire.get("k") is None
    assert await wire.set("k", BINARY)
    assert await wire.get("k") == BINARY
    assert not await wire.set("k", "other", only_if="absent")
    assert not await wire.set("none", "v", only_if="present")
    assert await wire.incr("n", 5) == 5
    with pytest.raises(ConfigurationError, match="only_if"):
        wire.set("k", "v", only_if="sometimes")
    with pytest.raises(ConfigurationError, match="ttl_ms"):
        wire.set("k", "v", ttl_ms=0)


async def test_many_keys_at_once_whatever_their_slots(wire: Valkey) -> None:
    names = [f"k{number}" for number in range(100)]
    await asyncio.gather(*(wire.set(name, name) for name in names[::2]))
    assert await wire.mget(*names) == [name.encode() if n % 2 == 0 else None for n, name in enumerate(names)]
    assert await wire.exists(*names) == 50
    assert await wire.unlink(*names) == 50


async def test_ttls(wire: Valkey) -> None:
    await wire.set("k", "v", ttl_ms=60_000)
    assert 50_000 < await wire.ttl_ms("k") <= 60_000
    assert await wire.expire("k", 5_000) == 1
    assert await wire.ttl_ms("k") <= 5_000
    assert await wire.ttl_ms("none") == -2


async def test_hashes_sets_and_sorted_sets(wire: Valkey) -> None:
    assert await wire.hset("h", {"a": 1, "b": b"\x00"}) == 2
    assert await wire.hget("h", "b") == b"\x00"
    assert await wire.hgetall("h") == {b"a": b"1", b"b": b"\x00"}
    assert await wire.hgetall("none") == {}
    assert await wire.sadd("s", "a", "b") == 2
    assert await wire.srem("s", "a", "c") == 1
    assert await wire.zadd("z", {"a": 1.5, "b": 2}) == 2
    assert await wire.zrem("z", "a") == 1


async def test_streams_and_commands_that_block(wire: Valkey) -> None:
    async with wire.dedicated("stream") as connection:
        waiting = asyncio.ensure_future(
            connection.call("XREAD", "BLOCK", 5000, "STREAMS", "stream", "0", block_s=5.0)
        )
        await asyncio.sleep(0.05)
        added = await wire.xadd("stream", {"field": "value"}, max_length=100)
        reply = await waiting
    entries = dict(reply)[b"stream"] if isinstance(reply, list) else reply[b"stream"]
    assert entries == [[added, [b"field", b"value"]]]


@pytest.mark.parametrize("sharded", [False, True])
async def test_messages(wire: Valkey, sharded: bool) -> None:
    async with wire.subscribe("news", sharded=sharded) as subscription:
        await wire.publish("news", "first", sharded=sharded)
        await wire.publish("news", BINARY, sharded=sharded)
        messages = [await anext(subscription), await anext(subscription)]
    assert [(message.channel, message.data) for message in messages] == [  # type: ignore[union-attr]
        (b"news", b"first"),
        (b"news", BINARY),
    ]


async def test_the_messages_of_a_channel_keep_their_order(wire: Valkey) -> None:
    async with wire.subscribe("news") as subscription:
        for number in range(500):
            await wire.publish("news", number)
        heard = [(await anext(subscription)).data for _ in range(500)]  # type: ignore[union-attr]
    assert heard == [b"%d" % number for number in range(500)]


async def test_subscribing_again_and_again_counts_in_one_place(wire: Valkey) -> None:
    async with wire.subscribe("news"):
        before = len(wire.telemetry.links)
    for _ in range(5):
        async with wire.subscribe("news"):
            pass
    assert len(wire.telemetry.links) == before


async def test_closing_the_client_closes_connections_of_their_own(every_url: str) -> None:
    async with Tier.from_url(every_url, deadline="2s", connect_timeout="5s") as other:
        connection = other.valkey.dedicated("list")
        assert await connection.call("RPUSH", "list", "first") >= 1
    with pytest.raises(UnavailableError):
        await connection.call("LPOP", "list")


async def test_scripts_are_loaded_again_when_the_server_forgot(wire: Valkey) -> None:
    assert await ADD.run(wire, ("n",), (2,)) == 2
    for node in wire.nodes():
        await node.send("SCRIPT", "FLUSH")
    assert await ADD.run(wire, ("n",), (2,)) == 4
    assert await ADD.run(wire, ("n",), (2,)) == 6


async def test_an_error_stays_in_its_place(wire: Valkey) -> None:
    await wire.sadd("s", "a")
    first, error, last = await wire.call_many([("SET", "k", "v"), ("GET", "s"), ("GET", "k")])
    assert (first, last) == (b"OK", b"v")
    assert isinstance(error, WrongTypeError)
    assert "prefix" in str(error)
    with pytest.raises(ReplyError, match="unknown command"):
        await wire.call("NOSUCHCOMMAND", "k")


async def test_large_values(wire: Valkey) -> None:
    await wire.set("big", BINARY * 2048)
    assert await wire.get("big") == BINARY * 2048


async def test_what_changed_is_told_where_the_protocol_can(wire: Valkey) -> None:
    told: list[list[bytes] | None] = []
    wire.on_invalidate(told.append)
    if wire.options.protocol == 2:
        assert not wire.tracking
        return
    await eventually(lambda: wire.tracking)
    for key in ("a", "b", "c"):  # in a cluster: on every node
        await wire.call_tracked("GET", key)
        await wire.set(key, "v")
    await eventually(lambda: sorted(key for keys in told for key in keys or ()) == [b"a", b"b", b"c"])


async def test_the_cache_works_over_it(tier: Tier) -> None:
    loads = 0

    async def load() -> str:
        nonlocal loads
        loads += 1
        return "value"

    for _ in range(3):
        assert await tier.cache.get_or_set("user:1", 60, load, tags=["users"]) == "value"
    assert loads == 1
    await tier.cache.invalidate_tags("users")
    assert await tier.cache.get_or_set("user:1", 60, load, tags=["users"]) == "value"
    assert loads == 2
    await tier.cache.set("user:2", "two", 60)
    assert await tier.cache.get("user:2") == "two"
    await tier.cache.delete("user:2")
    assert await tier.cache.get("user:2") is None


async def test_everything_in_the_cache_goes_at_once(tier: Tier) -> None:
    await asyncio.gather(*(tier.cache.set(f"user:{number}", number, 60) for number in range(200)))
    await tier.valkey.set("somebody else's", "stays")
    store = tier.cache._engine.store
    assert store is not None
    await store.sweep()
    left = [
        key async for key in scan(tier.valkey) if b":{k:" not in key and b":{vitals}:" not in key
    ]  # the canary's, and this process's report, may have come meanwhile
    assert left == [b"somebody else's"]


async def test_health_and_telemetry_tell_the_same(tier: Tier) -> None:
    health = (await tier.health())["cache"]
    assert (health["connected"], health["status"], health["breaker"]) == (True, "ready", "closed")
    assert tier.telemetry.total().commands > 0


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("SUBSCRIBE", "news"),
        (b"psubscribe", "n*"),
        ("Monitor",),
        ("CLIENT", "REPLY", "SKIP"),
        ("client", b"tracking", "on"),
        ("SELECT", 0),
        ("REPLCONF", "ACK", 0),
        ("CLIENT", "NO-TOUCH", "ON"),
        ("SCRIPT", "DEBUG", "YES"),
        ("DEBUG", "SLEEP", 0),
        ("MULTI",),
        ("AUTH", "pw"),
        ("RESET",),
        ("BLPOP", "list", 1),
        ("BLPOP", "list", 0),
        ("XREAD", "BLOCK", 1000, "STREAMS", "s", "$"),
        ("WAIT", 1, 0),
    ],
    ids=str,
)
async def test_what_would_harm_others_on_a_shared_connection_is_refused(
    wire: Valkey, words: tuple[str | bytes | int, ...]
) -> None:
    """One SUBSCRIBE among the commands of others, and each of them gets the next one's reply."""
    with pytest.raises(ConfigurationError):
        wire.call(*words)
    with pytest.raises(ConfigurationError):
        wire.call_tracked(*words)
    assert await wire.call("ECHO", "mine") == b"mine"
