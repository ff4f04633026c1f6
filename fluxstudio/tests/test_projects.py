"""Projects and their members; with the cache and without."""

from __future__ import annotations

from fluxstudio.app import Application
from fluxstudio.roles import Role, find_role, pack_roles
from fluxstudio.testing import Caller, Database, World, expect


async def test_the_list_tells_role_members_last_message_and_unread(app: Application, world: World) -> None:
    [project] = (await Caller(app, world.cy).get("/api/projects"))["projects"]
    assert project["id"] == world.project
    assert project["title"] == "Harbour poster"
    assert project["role"] == "viewer"
    assert project["member_count"] == 3
    assert (project["unread"], project["unread_capped"]) == (2, False)
    last = project["last_message"]
    assert last["author"] == {"id": world.ben.id, "name": "Ben"}
    assert (last["id"], last["excerpt"]) == (world.newest_message, "I made the lighthouse larger")
    assert project["active_at"] == last["created_at"]


async def test_the_list_begins_with_the_latest_activity(app: Application, database: Database) -> None:
    ada = await database.person("Ada")
    first, second, third = [await database.project(name, {ada: "owner"}) for name in ("One", "Two", "Three")]
    await database.message(first, ada, "Here!")
    listed = (await Caller(app, ada).get("/api/projects"))["projects"]
    assert [project["id"] for project in listed] == [first, third, second]
    assert listed[1]["last_message"] is None


async def test_unread_messages_are_counted_to_a_hundred(app: Application, database: Database) -> None:
    ada, ben = await database.person("Ada"), await database.person("Ben")
    project = await database.project("Busy", {ada: "owner", ben: "editor"})
    for _ in range(100):
        await database.message(project, ben, "Hm")
    caller = Caller(app, ada)
    [entry] = (await caller.get("/api/projects"))["projects"]
    assert (entry["unread"], entry["unread_capped"]) == (100, False)
    await Caller(app, ben).post(f"/api/projects/{project}/messages", {"body": "One more"})
    [entry] = (await caller.get("/api/projects"))["projects"]
    assert (entry["unread"], entry["unread_capped"]) == (100, True)


async def test_reading_up_to_a_message_never_goes_back_nor_past_the_newest(
    app: Application, world: World, database: Database
) -> None:
    caller, path = Caller(app, world.cy), f"/api/projects/{world.project}/read"

    async def unread() -> int:
        return int((await caller.get("/api/projects"))["projects"][0]["unread"])

    await caller.put(path, {"message_id": world.first_message})
    assert await unread() == 1
    await caller.put(path, {"message_id": 2**63 - 1})
    assert await unread() == 0
    await caller.put(path, {"message_id": world.first_message})
    assert await unread() == 0
    await database.message(world.project, world.ben, "And one more")
    await Caller(app, world.ben).post(f"/api/projects/{world.project}/messages", {"body": "And another"})
    assert await unread() == 2


async def test_who_posts_has_read_what_was_there(app: Application, world: World) -> None:
    ben = Caller(app, world.ben)
    await ben.post(f"/api/projects/{world.project}/messages", {"body": "Done"})
    assert (await ben.get("/api/projects"))["projects"][0]["unread"] == 0


async def test_who_creates_a_project_owns_it(app: Application, world: World) -> None:
    dora = Caller(app, world.dora)
    await dora.get("/api/projects")
    response = expect(await dora.call("POST", "/api/projects", {"title": "  Kites  "}), 201)
    created = response.json()
    assert (created["title"], created["role"], created["member_count"]) == ("Kites", "owner", 1)
    assert await dora.get(response.headers["location"]) == created
    assert [p["id"] for p in (await dora.get("/api/projects"))["projects"]] == [
        created["id"],
        world.other_project,
    ]


async def test_editors_change_a_project_and_viewers_do_not(app: Application, world: World) -> None:
    path = f"/api/projects/{world.project}"
    changed = await Caller(app, world.ben).patch(path, {"title": "Beacon"})
    assert (changed["title"], changed["description"]) == ("Beacon", "A red lighthouse at dusk")
    assert changed["role"] == "editor"
    assert (await Caller(app, world.cy).get(path))["role"] == "viewer"
    await Caller(app, world.cy).patch(path, {"title": "Mine"}, status=403)
    await Caller(app, world.dora).patch(path, {"title": "Mine"}, status=404)
    assert (await Caller(app, world.cy).get(path))["title"] == "Beacon"


async def test_owners_decide_who_belongs_to_a_project(app: Application, world: World) -> None:
    path = f"/api/projects/{world.project}/members"
    ada, dora = Caller(app, world.ada), Caller(app, world.dora)
    expect(await dora.call("GET", path), 404)
    for caller in (world.ben, world.cy):
        await Caller(app, caller).put(f"{path}/{world.dora.id}", {"role": "viewer"}, status=403)
        await Caller(app, caller).delete(f"{path}/{world.ada.id}", status=403)
    await ada.put(f"{path}/{world.dora.id}", {"role": "viewer"})
    assert [(m["name"], m["role"]) for m in (await dora.get(path))["members"]] == [
        ("Ada", "owner"),
        ("Ben", "editor"),
        ("Cy", "viewer"),
        ("Dora", "viewer"),
    ]
    await ada.put(f"{path}/{world.dora.id}", {"role": "editor"})
    await dora.patch(f"/api/projects/{world.project}", {"title": "Dora was here"})
    await ada.delete(f"{path}/{world.dora.id}")
    expect(await dora.call("GET", path), 404)
    await ada.delete(f"{path}/{world.dora.id}", status=404)
    await ada.put(f"{path}/999999", {"role": "viewer"}, status=404)


async def test_a_project_never_loses_its_last_owner(app: Application, world: World) -> None:
    path = f"/api/projects/{world.project}/members"
    ada = Caller(app, world.ada)
    problem = await ada.delete(f"{path}/{world.ada.id}", status=409)
    assert problem["code"] == "last-owner"
    await ada.put(f"{path}/{world.ada.id}", {"role": "viewer"}, status=409)
    await ada.put(f"{path}/{world.ada.id}", {"role": "owner"})
    await ada.put(f"{path}/{world.cy.id}", {"role": "owner"})
    await ada.delete(f"{path}/{world.ada.id}")
    assert (await Caller(app, world.cy).get(f"/api/projects/{world.project}"))["role"] == "owner"


async def test_members_may_leave(app: Application, world: World) -> None:
    cy = Caller(app, world.cy)
    await cy.delete(f"/api/projects/{world.project}/members/{world.cy.id}")
    assert (await cy.get("/api/projects"))["projects"] == []


def test_a_packed_role_is_found_for_its_project_only() -> None:
    roles: dict[int, Role] = {1: "owner", 12: "editor", 2**63 - 1: "viewer"}
    packed = pack_roles(roles)
    assert {project: find_role(packed, project) for project in roles} == roles
    assert [find_role(packed, project) for project in (2, 11, 112, 121)] == [None] * 4
    assert find_role(pack_roles({}), 1) is None


async def test_in_the_archive_everything_is_seen_and_nothing_changes(app: Application, world: World) -> None:
    ada, ben, path = Caller(app, world.ada), Caller(app, world.ben), f"/api/projects/{world.project}"
    await ben.patch(path, {"archived": True}, status=403)
    assert (await ada.patch(path, {"archived": True}))["archived"] is True
    for caller in (ada, ben, Caller(app, world.cy)):
        assert [one["archived"] for one in (await caller.get("/api/projects"))["projects"]] == [True]
        assert (await caller.get(path))["archived"] is True
    board = f"/api/boards/{world.board.id}"
    element = {"id": "b", "type": "line", "version": 1, "versionNonce": 1}
    attempts = [
        await ben.call("POST", f"{path}/messages", {"body": "Still here"}),
        await ben.call("POST", f"{path}/boards", {"title": "Another"}),
        await ben.call("PATCH", path, {"title": "Renamed"}),
        await ben.call("PATCH", board, {"title": "Renamed"}),
        await ben.call("POST", f"{board}/elements", {"elements": [element]}),
        await ben.call("POST", f"{board}/links", {}),
        await ben.call("DELETE", board),
        await ben.call("PUT", f"{path}/showcase", {"slug": world.slug, "headline": "New"}),
    ]
    assert [(one.status_code, one.json()["code"]) for one in attempts] == [(409, "archived")] * len(attempts)
    expect(await Caller(app, world.dora).call("POST", f"{path}/messages", {"body": "x"}), 404)
    expect(await Caller(app, world.cy).call("POST", f"{path}/messages", {"body": "x"}), 403)
    assert (await ada.get(f"{path}/messages"))["messages"][0]["id"] == world.newest_message
    assert (await ada.patch(path, {"archived": False, "title": "Back"}))["title"] == "Back"
    await ben.post(f"{path}/messages", {"body": "Here again"})
