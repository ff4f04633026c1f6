"""Ready hooks prepare a connection before anybody else may use it: they call on it, and may close the client."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from scripted import ScriptedServer
from scripted_cluster import ScriptedCluster
from wires import QUICK

from valtier import DeadlineError, UnavailableError, ValkeyError
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually
from valtier.wire import Address, Status, Valkey
from valtier.wire.cluster import Cluster


@pytest_asyncio.fixture(params=["one server", "cluster"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Valkey]:
    """A client that is not started, of scripted servers."""
    made: Valkey
    if request.param == "cluster":
        async with ScriptedCluster().serving() as nodes:
            made = Cluster(nodes.address, QUICK)
            yield made
            await made.close()
    else:
        async with ScriptedServer().serving() as server:
            made = Valkey.open(server.address, QUICK)
            yield made
            await made.close()


def tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("valtier-")}


async def test_a_hook_calls_on_the_connection_that_it_prepares_and_nobody_else_does(client: Valkey) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    replies = []

    async def hook(valkey: Valkey) -> None:
        replies.append(await valkey.call("SET", "k", "v"))
        replies.append(await valkey.get("k"))
        entered.set()
        await go_on.wait()
        replies.extend(await asyncio.gather(valkey.call("GET", "a"), valkey.call("GET", "b")))

    client.on_ready(hook)
    starting = asyncio.ensure_future(client.start())
    await entered.wait()
    assert not client.available
    if client.status is not Status.CONNECTING or not isinstance(client, Cluster):  # there calls wait
        with pytest.raises(UnavailableError):
            client.call("GET", "k")
    go_on.set()
    await starting
    await eventually(lambda: client.available)
    assert replies == [b"OK"] * 4


async def test_a_hook_calls_again_after_each_reconnect(own_valkey: EmbeddedValkey) -> None:
    async def hook(valkey: Valkey) -> None:
        await valkey.incr("connections")

    client = Valkey.open(Address.parse(own_valkey.url), QUICK)
    client.on_ready(hook)
    await client.start()
    assert await client.get("connections") == b"1"
    for number in (1, 2):
        client.link_for().drop(ConnectionAbortedError("for the test"))
        await eventually(lambda number=number: client.reconnects == number and client.available)  # type: ignore[misc]
    assert await client.get("connections") == b"3"
    await client.close()


async def test_what_a_hook_has_begun_does_not_go_around_the_breaker(own_valkey: EmbeddedValkey) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()
    outcomes: list[BaseException] = []

    async def later(valkey: Valkey) -> None:
        await asked.wait()
        try:
            await valkey.call("GET", "k")
        except ValkeyError as exc:
            outcomes.append(exc)
        answered.set()

    background: list[asyncio.Task[None]] = []

    async def hook(valkey: Valkey) -> None:
        background.append(asyncio.ensure_future(later(valkey)))

    client = Valkey.open(Address.parse(own_valkey.url), QUICK)
    client.on_ready(hook)
    await client.start()
    own_valkey.freeze()
    with pytest.raises(DeadlineError):
        await client.call("GET", "k")
    asked.set()
    await answered.wait()
    assert "slow" in str(outcomes[0])
    own_valkey.thaw()
    await client.close()


async def test_a_hook_may_close_the_client(client: Valkey) -> None:
    behind = []

    async def hook(valkey: Valkey) -> None:
        await valkey.close()
        behind.append("it goes on")

    client.on_ready(hook)
    async with asyncio.timeout(5):
        await client.start()
        await eventually(lambda: client.status is Status.CLOSED and not tasks())
    assert not behind  # there is nothing left to prepare
    assert all(link.status in ("closed", "new") for link in client.telemetry.links)
    with pytest.raises(UnavailableError):
        client.call("GET", "k")


async def test_a_task_of_a_hook_may_close_the_client(client: Valkey) -> None:
    async def hook(valkey: Valkey) -> None:
        await asyncio.gather(valkey.close(), valkey.close())

    client.on_ready(hook)
    async with asyncio.timeout(5):
        await client.start()
        await eventually(lambda: client.status is Status.CLOSED and not tasks())
