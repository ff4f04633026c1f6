"""Messages; with the cache and without."""

from __future__ import annotations

from fluxstudio.app import Application
from fluxstudio.testing import Caller, Database, World, make_world, running, settings_for, signed_out
from valtier.embedded import EmbeddedValkey


async def test_pages_hold_every_message_once_the_newest_first(
    app: Application, world: World, database: Database
) -> None:
    drafts = [await database.message(world.project, world.ada, f"Draft {number}") for number in range(9)]
    expected = [world.first_message, world.newest_message, *drafts]
    caller, seen, pages, before = Caller(app, world.cy), [], 0, ""
    while True:
        page = await caller.get(f"/api/projects/{world.project}/messages?limit=4{before}")
        seen += [message["id"] for message in page["messages"]]
        pages += 1
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"
    assert seen == sorted(expected, reverse=True)
    assert pages == 3


async def test_a_full_last_page_is_known_to_be_the_last(app: Application, world: World) -> None:
    page = await Caller(app, world.cy).get(f"/api/projects/{world.project}/messages?limit=2")
    assert len(page["messages"]) == 2
    assert page["next_before"] is None


async def test_a_message_is_as_it_was_posted(app: Application, world: World) -> None:
    body = "Grüße 🎨 <script>alert(1)</script>\n\t'; DROP TABLE messages; -- \\"
    posted = await Caller(app, world.ben).post(
        f"/api/projects/{world.project}/messages", {"body": f" {body} "}
    )
    assert posted["body"] == body
    assert posted["author"] == {"id": world.ben.id, "name": "Ben"}
    page = await Caller(app, world.cy).get(f"/api/projects/{world.project}/messages")
    assert page["messages"][0] == posted


async def test_viewers_read_and_do_not_write(app: Application, world: World, database: Database) -> None:
    path = f"/api/projects/{world.project}/messages"
    problem = await Caller(app, world.cy).post(path, {"body": "Me too"}, status=403)
    assert problem["code"] == "forbidden"
    await Caller(app, world.dora).post(path, {"body": "Me too"}, status=404)
    await Caller(app, world.dora).post("/api/projects/999999/messages", {"body": "Me too"}, status=404)
    assert await database.connection.fetchval("SELECT count(*) FROM messages WHERE body = 'Me too'") == 0


async def test_a_page_costs_no_query_when_it_is_cached(
    shared_database_url: str, valkey: EmbeddedValkey
) -> None:
    async with (
        Database.open(shared_database_url) as database,
        running(settings_for(shared_database_url, valkey.url)) as app,
    ):
        world = await make_world(database)
        caller, path = Caller(app, world.cy), f"/api/projects/{world.project}/messages"
        first = await caller.get(path)
        await database.connection.execute("DELETE FROM members WHERE project_id = $1", world.project)
        await database.connection.execute("DELETE FROM messages WHERE project_id = $1", world.project)
        assert await caller.get(path) == first
        await database.connection.execute("DELETE FROM valtier_sessions WHERE subject = $1", str(world.cy.id))
        await signed_out(caller)


async def test_a_page_around_a_message_goes_on_in_both_directions(
    app: Application, world: World, database: Database
) -> None:
    ids = [await database.message(world.other_project, world.dora, f"Note {number}") for number in range(40)]
    caller, path = Caller(app, world.dora), f"/api/projects/{world.other_project}/messages"
    everything = [one["id"] for one in (await caller.get(f"{path}?limit=100"))["messages"]]
    for sought in (ids[20], ids[0], ids[-1], everything[-1]):
        page = await caller.get(f"{path}?around={sought}&limit=7")
        seen = [one["id"] for one in page["messages"]]
        assert sought in seen
        assert seen == sorted(seen, reverse=True)
        while page["next_after"] is not None:
            page = await caller.get(f"{path}?after={page['next_after']}&limit=7")
            seen = [one["id"] for one in page["messages"]] + seen
        before = seen[-1]
        while before is not None:
            page = await caller.get(f"{path}?before={before}&limit=7")
            seen += [one["id"] for one in page["messages"]]
            before = page["next_before"]
        assert seen == everything


async def test_there_is_no_page_around_anothers_message(app: Application, world: World) -> None:
    dora, path = Caller(app, world.dora), f"/api/projects/{world.other_project}/messages"
    for sought in (world.first_message, 2**62):
        assert (await dora.call("GET", f"{path}?around={sought}")).status_code == 404
    assert (await dora.call("GET", f"{path}?around=1&before=2")).status_code == 422
