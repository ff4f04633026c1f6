"""What works on one worker works across all: acknowledgements, calls, rooms, listings, disconnects, volatile events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import socketio
from socketio_workers import Worker, start_in_loop

from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually


@pytest.fixture(scope="module", params=["valtier", "manager"])
def pair(request: pytest.FixtureRequest, valkey_server: EmbeddedValkey) -> Iterator[list[Worker]]:
    """Two workers: with our server, and with the stock one and our manager."""
    valkey_server.flush()
    made = [Worker(valkey_server.url, kind=request.param, manager={"streams": 2}) for _ in range(2)]
    for worker in made:
        start_in_loop(worker)
    yield made
    for worker in made:
        asyncio.run(worker.stop())


class Client(socketio.AsyncClient):  # type: ignore[misc]
    """A client that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(reconnection=False)
        self.got: list[Any] = []
        self.on("*", self._take)

    def _take(self, event: str, *data: Any) -> Any:
        self.got.append((event, data[0] if data else None))
        return self.get_sid()

    def events(self, name: str) -> list[Any]:
        return [data for event, data in self.got if event == name]


@pytest.fixture
async def clients(pair: list[Worker]) -> AsyncIterator[list[Client]]:
    """One client on each worker, in the room `r`."""
    made: list[Client] = []
    for worker in pair:
        client = Client()
        await client.connect(worker.url, transports=["websocket"], auth={"rooms": ["r"], "recovery": False})
        made.append(client)
    yield made
    for client in made:
        await client.disconnect()


async def test_an_event_reaches_a_client_by_its_id_wherever_it_is(
    pair: list[Worker], clients: list[Client]
) -> None:
    for worker in pair:
        for client in clients:
            await worker.emit("direct", worker.port, to=client.get_sid())
    ports = [worker.port for worker in pair]
    await eventually(lambda: all(sorted(client.events("direct")) == sorted(ports) for client in clients))


async def test_a_list_of_rooms_is_served_once_and_who_is_skipped_is_not(
    pair: list[Worker], clients: list[Client]
) -> None:
    one, two = clients
    await pair[0].emit("news", 1, room=["r", one.get_sid(), "nobody"])
    await pair[0].emit("news", 2, room="r", skip_sid=two.get_sid())
    await pair[0].emit("news", 3)
    await eventually(lambda: one.events("news") == [1, 2, 3] and two.events("news") == [1, 3])


async def test_a_call_is_answered_from_another_worker(pair: list[Worker], clients: list[Client]) -> None:
    sid = clients[1].get_sid()
    assert await pair[0].do("call", event="question", data=1, to=sid, timeout=10) == sid
    assert await pair[1].do("call", event="question", data=1, to=sid, timeout=10) == sid


async def test_a_call_that_nobody_answers_times_out(pair: list[Worker]) -> None:
    with pytest.raises(RuntimeError, match="TimeoutError"):
        await pair[0].do("call", event="question", data=1, to="nobody", timeout=0.2)


async def test_a_whole_room_answers(pair: list[Worker], clients: list[Client]) -> None:
    answers = await pair[0].do("ask_all", event="question", data=None, room="r")
    assert sorted(answers) == sorted(client.get_sid() for client in clients)
    assert await pair[0].do("ask_all", event="question", data=None, room="empty") == []


async def test_everybody_in_a_room_is_listed(pair: list[Worker], clients: list[Client]) -> None:
    for worker in pair:
        sids, complete = await worker.do("list_room", room="r")
        assert complete
        assert sorted(sids) == sorted(client.get_sid() for client in clients)


async def test_a_client_enters_and_leaves_rooms_by_another_workers_word(
    pair: list[Worker], clients: list[Client]
) -> None:
    one, two = clients
    await pair[0].do("enter_room", sid=two.get_sid(), room="q")
    await pair[0].emit("in", 1, room="q")
    await eventually(lambda: two.events("in") == [1])
    await pair[0].do("leave_room", sid=two.get_sid(), room="q")
    await pair[0].emit("in", 2, room="q")
    await pair[0].do("enter_room", sid=two.get_sid(), room="q")
    await pair[1].do("enter_room", sid=one.get_sid(), room="q")
    await pair[0].emit("in", 3, room="q")
    await eventually(lambda: 3 in two.events("in"))
    await pair[1].do("close_room", room="q")
    await pair[1].emit("in", 4, room="q")
    await pair[1].emit("end", 5)
    await eventually(lambda: one.events("end") == two.events("end") == [5])
    assert two.events("in") == [1, 3]
    assert 4 not in one.events("in")


async def test_a_client_is_disconnected_by_another_workers_word(
    pair: list[Worker], clients: list[Client]
) -> None:
    sid = clients[1].get_sid()
    await pair[0].do("disconnect", sid=sid)
    await eventually(lambda: not clients[1].connected)
    assert ["disconnect", sid, "server disconnect"] in await pair[1].do("log")


async def test_a_whole_room_is_disconnected_by_one_workers_word(
    pair: list[Worker], clients: list[Client]
) -> None:
    await pair[0].do("empty_room", room="r")
    await eventually(lambda: not any(client.connected for client in clients))


async def test_volatile_events_reach_the_other_worker(pair: list[Worker], clients: list[Client]) -> None:
    async def both_got_one() -> bool:  # the channel may be joined later than the clients
        await pair[0].do("volatile", event="cursor", data={"x": 1}, room="r")
        return all(client.events("cursor") for client in clients)

    await eventually(both_got_one)


async def test_a_coalesced_room_gets_one_event_with_the_latest_of_each_key(
    pair: list[Worker], clients: list[Client]
) -> None:
    async def got_both() -> bool:
        for worker in pair:
            for number in range(50):
                await worker.do("ticks", room="r", key=f"user {worker.port}", payload={"n": number})
        return all(
            {key for tick in client.events("tick") for key in tick}
            == {f"user {worker.port}" for worker in pair}
            for client in clients
        )

    await eventually(got_both)
    for client in clients:
        ticks = client.events("tick")
        assert len(ticks) < 100
        assert {"n": 49} in [payload for tick in ticks for payload in tick.values()]
