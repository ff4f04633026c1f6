"""Realtime over two workers: chat, boards, presence, permissions; real processes, real clients."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest
import pytest_asyncio
import socketio
from socketio.exceptions import ConnectionError as Refused

from fluxstudio.boards.elements import merge, parse_batch
from fluxstudio.testing import Database, Person, World
from fluxstudio.testing_workers import StudioWorker, Visitor, visiting
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(
    shared_database_url: str, valkey_server: EmbeddedValkey
) -> AsyncIterator[tuple[StudioWorker, StudioWorker]]:
    async with (
        StudioWorker(shared_database_url, valkey_server.url) as one,
        StudioWorker(shared_database_url, valkey_server.url) as two,
    ):
        yield one, two


@pytest_asyncio.fixture(loop_scope="module")
async def database(shared_database_url: str) -> AsyncIterator[Database]:
    async with Database.open(shared_database_url) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def world(database: Database) -> World:
    from fluxstudio.testing import make_world

    return await make_world(database)


Workers = tuple[StudioWorker, StudioWorker]


def raw(element_id: str = "a", version: int = 1, nonce: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": element_id, "type": "rectangle", "version": version, "versionNonce": nonce, **more}


def http(worker: StudioWorker, person: Person) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=worker.url, headers={"cookie": f"flux={person.token}"})


async def test_a_message_reaches_everybody_once_on_any_worker(workers: Workers, world: World) -> None:
    one, two = workers
    async with (
        visiting(one, world.ada) as ada,
        visiting(two, world.ben) as ben,
        visiting(two, world.cy) as cy,
    ):
        for visitor in (ada, ben, cy):
            assert (await visitor.ok("project:join", project_id=world.project))["role"]
        client_id = str(uuid.uuid4())
        sends = [
            ben.ok("message:send", project_id=world.project, body="Hello", client_id=client_id)
            for _ in range(5)
        ]
        answers = await asyncio.gather(*sends)
        assert len({answer["message"]["id"] for answer in answers}) == 1
        for visitor in (ada, ben, cy):
            await eventually(lambda visitor=visitor: visitor.of("message:new"))  # type: ignore[misc]
        await ben.ok("message:send", project_id=world.project, body="Bye", client_id=str(uuid.uuid4()))
        for visitor in (ada, ben, cy):
            await eventually(lambda visitor=visitor: len(visitor.of("message:new")) >= 2)  # type: ignore[misc]
            assert [told["message"]["body"] for told in visitor.of("message:new")] == ["Hello", "Bye"]
        async with http(one, world.ada) as client:
            page = (await client.get(f"/api/projects/{world.project}/messages")).json()
        assert [message["body"] for message in page["messages"]][:2] == ["Bye", "Hello"]


async def test_a_message_that_came_by_http_is_told_too(workers: Workers, world: World) -> None:
    one, two = workers
    async with visiting(two, world.cy) as cy, http(one, world.ben) as ben:
        await cy.ok("project:join", project_id=world.project)
        posted = await ben.post(f"/api/projects/{world.project}/messages", json={"body": "By HTTP"})
        assert posted.status_code == 201
        await eventually(lambda: cy.of("message:new"))
        assert cy.of("message:new")[0]["message"] == posted.json()
        await eventually(lambda: cy.of("projects:changed"))


async def test_viewers_and_strangers_write_nothing(workers: Workers, world: World) -> None:
    one, _ = workers
    async with visiting(one, world.cy) as cy, visiting(one, world.dora) as dora:
        answer = await cy.ask("message:send", project_id=world.project, body="x", client_id=str(uuid.uuid4()))
        assert (answer["status"], answer["code"]) == (403, "forbidden")
        assert (await dora.ask("project:join", project_id=world.project))["status"] == 404
        assert (await dora.ask("board:join", board_id=world.board.id, since=0))["status"] == 404
        answer = await cy.ask("board:change", board_id=world.board.id, elements=[raw("z")])
        assert answer["status"] == 403
        assert (await dora.ask("board:change", board_id=world.board.id, elements=[raw("z")]))["status"] == 404
        assert (await dora.ask("cursor", board_id=world.board.id, x=1, y=2))["status"] == 404


async def test_a_board_is_the_same_for_all_and_equals_the_database(workers: Workers, world: World) -> None:
    one, two = workers
    board = world.board.id
    async with (
        visiting(one, world.ada) as ada,
        visiting(two, world.ben) as ben,
        visiting(two, world.cy) as cy,
    ):
        scenes: dict[str, dict[str, Any]] = {}
        people = {"ada": ada, "ben": ben, "cy": cy}
        for name, visitor in people.items():
            joined = await visitor.ok("board:join", board_id=board, since=0)
            scenes[name] = {one["id"]: one for one in joined["scene"]["elements"]}
        chance = random.Random(3)

        async def edit(visitor: Visitor, name: str) -> None:
            for _ in range(25):
                change = raw(chance.choice("abcdef"), chance.randrange(1, 9), chance.randrange(9))
                await visitor.ok("board:change", board_id=board, elements=[change])
                absorb(scenes[name], [change])

        await asyncio.gather(edit(ada, "ada"), edit(ben, "ben"))
        async with http(one, world.cy) as client:
            final = (await client.get(f"/api/boards/{board}/scene")).json()

        def state(elements: list[dict[str, Any]]) -> set[tuple[str, int, int]]:
            return {(one["id"], one["version"], one["versionNonce"]) for one in elements}

        def seen(name: str) -> set[tuple[str, int, int]]:
            scene = dict(scenes[name])
            for told in people[name].of("board:changed"):
                absorb(scene, told["elements"])
            return state(list(scene.values()))

        for name in people:
            await eventually(lambda name=name: seen(name) == state(final["elements"]))  # type: ignore[misc]
        assert not [told for told in ben.of("board:changed") if told["board_id"] != board]


def absorb(scene: dict[str, Any], elements: list[dict[str, Any]]) -> None:
    known = {element.id: element for element in parse_batch(list(scene.values()))}
    for element in merge(known, parse_batch(elements)).values():
        if element is not known.get(element.id):
            scene[element.id] = next(
                one
                for one in elements
                if (one["id"], one["version"], one["versionNonce"])
                == (element.id, element.version, element.nonce)
            )


async def test_who_comes_back_gets_what_changed_since(workers: Workers, world: World) -> None:
    one, two = workers
    board = world.board.id
    async with visiting(one, world.ben) as ben:
        first = await ben.ok("board:join", board_id=board, since=0)
        async with visiting(two, world.ada) as ada:
            await ada.ok("board:change", board_id=board, elements=[raw("n1"), raw("n2")])
    async with visiting(two, world.ben) as ben:
        again = await ben.ok("board:join", board_id=board, since=first["scene"]["version"])
        assert {one["id"] for one in again["scene"]["elements"]} == {"n1", "n2"}


async def test_cursors_come_together_in_ticks_and_only_to_who_sees_the_board(
    workers: Workers, world: World
) -> None:
    one, two = workers
    async with (
        visiting(one, world.ada) as ada,
        visiting(two, world.ben) as ben,
        visiting(two, world.cy) as cy,
    ):
        for visitor in (ada, ben):
            await visitor.ok("board:join", board_id=world.board.id, since=0)
        for step in range(30):
            await ada.client.emit(
                "cursor", {"board_id": world.board.id, "x": step, "y": 1, "selected": ["a"]}
            )
        last = {
            "x": 29.0,
            "y": 1.0,
            "selected": ["a"],
            "key": f"u{world.ada.id}",
            "name": "Ada",
            "guest": False,
        }
        await eventually(lambda: ben.of("cursors") and last in ben.of("cursors")[-1].values())
        assert len(ben.of("cursors")) < 30
        assert not cy.of("cursors")


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "x",
        {},
        {"board_id": "1"},
        {"board_id": True},
        {"board_id": -1},
        {"board_id": 2**80},
        {"board_id": 1.5},
    ],
)
async def test_hostile_data_is_answered_and_costs_nothing(data: Any, workers: Workers, world: World) -> None:
    async with visiting(workers[0], world.ben) as ben:
        for event in ("board:join", "board:change", "board:leave", "cursor", "project:join", "message:send"):
            answer = await ben.client.call(event, data, timeout=20)
            assert answer.get("ok") is False or "error" in answer, (event, answer)
        assert (await ben.ok("project:join", project_id=world.project))["role"] == "editor"


async def test_hostile_elements_and_cursors_are_refused(workers: Workers, world: World) -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    async with visiting(workers[0], world.ben) as ben:
        await ben.ok("board:join", board_id=world.board.id, since=0)
        broken: tuple[Any, ...] = (
            None,
            {},
            [1],
            [{}],
            [raw(customData=deep)],
            [raw(link="javascript:x")],
            [raw("\0")],
        )
        for elements in broken:
            answer = await ben.ask("board:change", board_id=world.board.id, elements=elements)
            assert answer["status"] == 422
        for bad in ({"x": "1", "y": 1}, {"x": 1e300, "y": 1}, {"x": 1, "y": 1, "selected": ["../"] * 3}):
            assert (await ben.ask("cursor", board_id=world.board.id, **bad))["status"] == 422
        assert (await ben.client.call("no:such:event", {}, timeout=20)) == {"error": "unknown event"}


async def test_presence_is_told_over_workers_and_by_user(workers: Workers, world: World) -> None:
    one, two = workers
    room = {"board_id": world.board.id, "since": 0}
    async with visiting(one, world.ada) as ada:
        joined = await ada.ok("board:join", **room)
        assert joined["known"]
        async with visiting(two, world.ben) as ben, visiting(one, world.ben) as tablet:
            there = await ben.ok("board:join", **room)
            assert [(one["name"], one["devices"]) for one in there["people"]] == [("Ada", 1), ("Ben", 1)]
            again = await tablet.ok("board:join", **room)
            assert [(one["name"], one["devices"]) for one in again["people"]] == [("Ada", 1), ("Ben", 2)]
            await eventually(lambda: "Ben" in str(ada.of("presence")))
        await eventually(
            lambda: any(f"u{world.ben.id}" in told.get("left", []) for told in ada.of("presence")), 20
        )


async def test_typing_is_told_to_the_others(workers: Workers, world: World) -> None:
    one, two = workers
    async with visiting(one, world.ada) as ada, visiting(two, world.ben) as ben:
        for visitor in (ada, ben):
            await visitor.ok("project:join", project_id=world.project)
        await ben.ok("message:typing", project_id=world.project)
        await eventually(lambda: ada.of("message:typing"))
        assert ada.of("message:typing")[0]["name"] == "Ben"
        assert not ben.of("message:typing")


async def test_who_is_removed_hears_nothing_more_from_that_moment_on(workers: Workers, world: World) -> None:
    """Ben sits on the other worker, in the project and on its board, while he is removed and others go on."""
    one, two = workers
    async with (
        visiting(two, world.ben) as ben,
        visiting(one, world.ada) as ada,
        http(one, world.ada) as owner,
    ):
        for visitor in (ben, ada):
            await visitor.ok("project:join", project_id=world.project)
            await visitor.ok("board:join", board_id=world.board.id, since=0)
        stop = asyncio.Event()

        async def chatter() -> None:
            count = 0
            while not stop.is_set():
                count += 1
                body = {"project_id": world.project, "body": f"m{count}", "client_id": str(uuid.uuid4())}
                answer = await ada.ask("message:send", **body)
                if not answer["ok"]:
                    await asyncio.sleep(0.05)  # too fast for the limit
                await ada.ok("board:change", board_id=world.board.id, elements=[raw("c", count)])

        talking = asyncio.create_task(chatter())
        await eventually(lambda: len(ben.of("board:changed")) > 5)
        removed = await owner.delete(f"/api/projects/{world.project}/members/{world.ben.id}")
        assert removed.status_code == 204
        async with http(one, world.ada) as client:
            reached = (await client.get(f"/api/boards/{world.board.id}/scene")).json()["version"]
        mark = len(ada.of("message:new"))
        await eventually(lambda: len(ada.of("message:new")) > mark + 3, 30)
        stop.set()
        await talking
        await eventually(lambda: ben.of("access:lost"))
        later = [told["version"] for told in ben.of("board:changed") if told["version"] > reached]
        assert later == []
        assert (await ben.ask("board:join", board_id=world.board.id, since=0))["status"] == 404


async def test_signing_out_closes_the_sockets_of_that_session_only(
    workers: Workers, world: World, database: Database
) -> None:
    one, two = workers
    other = Person(world.ada.id, "Ada", world.ada.email, await database.session(world.ada.id))
    async with visiting(two, world.ada) as ada, visiting(two, other) as phone, http(one, world.ada) as client:
        assert (await client.post("/api/sign-out")).status_code == 204
        await eventually(lambda: not ada.client.connected)
        assert phone.client.connected
        assert (await phone.ok("project:join", project_id=world.project))["role"] == "owner"


@pytest.mark.parametrize("token", [None, "forged", "a" * 43])
async def test_without_a_session_nobody_connects(token: str | None, workers: Workers, world: World) -> None:
    nobody = None if token is None else Person(0, "x", "x@example.org", token)
    with pytest.raises(Refused):
        async with visiting(workers[0], nobody):
            pass
    with pytest.raises(Refused):
        async with visiting(workers[0], share=token or "x"):
            pass


async def test_who_is_refused_is_told_why_in_a_word_for_programs(workers: Workers, world: World) -> None:
    async with aiohttp.ClientSession() as session:
        client = socketio.AsyncClient(reconnection=False, http_session=session)
        told: list[Any] = []
        client.on("connect_error", told.append)
        with pytest.raises(Refused):
            await client.connect(workers[0].url, transports=["websocket"], wait_timeout=20)
        assert [answer["message"] for answer in told] == ["not-signed-in"]


async def test_pages_of_other_sites_do_not_connect(workers: Workers, world: World) -> None:
    with pytest.raises(Refused):
        async with visiting(workers[0], world.ada, Origin="https://evil.example"):
            pass
    async with visiting(workers[0], world.ada, Origin=workers[0].url):
        pass


async def test_guests_see_their_board_until_the_link_is_revoked(workers: Workers, world: World) -> None:
    one, two = workers
    async with http(one, world.ada) as owner:
        made = (await owner.post(f"/api/boards/{world.board.id}/links", json={"may_edit": True})).json()
        async with visiting(two, share=made["token"]) as guest, visiting(one, world.ben) as ben:
            await ben.ok("board:join", board_id=world.board.id, since=0)
            joined = await guest.ok("board:join", board_id=world.board.id, since=0)
            assert {one["name"] for one in joined["people"]} == {"Ben", "Guest"}
            await guest.ok("board:change", board_id=world.board.id, elements=[raw("g")])
            await eventually(lambda: ben.of("board:changed"))
            assert (await guest.ask("project:join", project_id=world.project))["status"] == 404
            body = {"project_id": world.project, "body": "x", "client_id": str(uuid.uuid4())}
            assert (await guest.ask("message:send", **body))["status"] == 404
            gone = await owner.delete(f"/api/boards/{world.board.id}/links/{made['link']['id']}")
            assert gone.status_code == 204
            await eventually(lambda: guest.of("access:lost"))
            before = len(guest.of("board:changed"))
            await ben.ok("board:change", board_id=world.board.id, elements=[raw("h")])
            assert (await guest.ask("board:change", board_id=world.board.id, elements=[raw("i")]))[
                "status"
            ] == 404
            assert len(guest.of("board:changed")) == before


async def test_a_flood_is_cut_off_and_nobody_else_is(workers: Workers, world: World) -> None:
    async with visiting(workers[0], world.ben) as flooder, visiting(workers[0], world.ada) as ada:
        for _ in range(1500):
            if not flooder.client.connected:
                break
            await flooder.client.emit("cursor", {"board_id": 1, "x": 1, "y": 1})
        await eventually(lambda: not flooder.client.connected)
        assert (await ada.ok("project:join", project_id=world.project))["role"] == "owner"


async def test_guests_are_out_when_their_link_expires(
    workers: Workers, world: World, database: Database
) -> None:
    one, two = workers
    async with http(one, world.ada) as owner:
        made = (await owner.post(f"/api/boards/{world.board.id}/links", json={"expires_in_s": 3600})).json()
    await database.connection.execute(
        "UPDATE board_links SET expires_at = now() + interval '3 s' WHERE id = $1", made["link"]["id"]
    )
    async with visiting(two, share=made["token"]) as guest:
        await guest.ok("board:join", board_id=world.board.id, since=0)
        await eventually(lambda: guest.of("access:lost") and not guest.client.connected)
    with pytest.raises(Refused):
        async with visiting(two, share=made["token"]):
            pass


async def test_a_projects_boards_are_listed_anew_and_who_looks_at_one_that_is_deleted_is_told(
    workers: Workers, world: World
) -> None:
    one, two = workers
    async with visiting(two, world.ben) as ben, http(one, world.ada) as ada:
        await ben.ok("project:join", project_id=world.project)
        made = (await ada.post(f"/api/projects/{world.project}/boards", json={"title": "New"})).json()
        await eventually(lambda: len(ben.of("boards:changed")) == 1)
        await ada.patch(f"/api/boards/{made['id']}", json={"title": "Newer"})
        await eventually(lambda: len(ben.of("boards:changed")) == 2)
        await ben.ok("board:join", board_id=made["id"], since=0)
        assert (await ada.delete(f"/api/boards/{made['id']}")).status_code == 204
        await eventually(lambda: ben.of("board:gone") == [{"board_id": made["id"]}])
        await eventually(lambda: len(ben.of("boards:changed")) == 3)
        assert ben.of("boards:changed")[0] == {"project_id": world.project}
