"""Boards: scenes, revisions, links and images, as HTTP shows them; with the cache and without."""

from __future__ import annotations

import asyncio
import io
import json
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from PIL import Image

from fluxstudio.app import Application
from fluxstudio.boards import images as limits
from fluxstudio.boards.access import Actor
from fluxstudio.boards.elements import Element, merge, parse_batch
from fluxstudio.boards.service import BoardChanged
from fluxstudio.messages.schemas import NewMessage
from fluxstudio.testing import Caller, Database, World, expect, running, settings_for
from valtier.testing import eventually


def raw(element_id: str = "a", version: int = 1, nonce: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": element_id, "type": "rectangle", "version": version, "versionNonce": nonce, **more}


def png(width: int = 3, height: int = 2, color: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
async def board(app: Application, world: World) -> int:
    created = await Caller(app, world.ben).post(
        f"/api/projects/{world.project}/boards", {"title": "Sketches"}
    )
    assert created["version"] == 0
    return int(created["id"])


async def draw(caller: Caller, board: int, *elements: dict[str, Any], status: int = 200) -> Any:
    return await caller.post(f"/api/boards/{board}/elements", {"elements": list(elements)}, status=status)


async def put_image(caller: Caller, board: int, name: str, content: bytes, **options: Any) -> httpx.Response:
    return await caller.call("PUT", f"/api/boards/{board}/images/{name}", content=content, **options)


async def test_a_scene_is_read_whole_or_since_a_version(app: Application, world: World, board: int) -> None:
    ben, cy = Caller(app, world.ben), Caller(app, world.cy)
    assert await cy.get(f"/api/boards/{board}/scene") == {"version": 0, "elements": []}
    assert await draw(ben, board, raw("a"), raw("b")) == {"version": 1, "accepted": ["a", "b"]}
    assert await draw(ben, board, raw("b", 2, x=1.5)) == {"version": 2, "accepted": ["b"]}
    assert await draw(ben, board, raw("b", 2, x=1.5), raw("a", 0)) == {"version": 2, "accepted": []}
    whole = await cy.get(f"/api/boards/{board}/scene")
    assert whole == {"version": 2, "elements": [raw("a"), raw("b", 2, x=1.5)]}
    assert await cy.get(f"/api/boards/{board}/scene?since=1") == {
        "version": 2,
        "elements": [raw("b", 2, x=1.5)],
    }
    assert await cy.get(f"/api/boards/{board}/scene?since=2") == {"version": 2, "elements": []}
    assert await cy.get(f"/api/boards/{board}/scene?since=9") == whole
    listed = await cy.get(f"/api/projects/{world.project}/boards")
    mine = [(one["title"], one["version"]) for one in listed["boards"] if one["id"] == board]
    assert mine == [("Sketches", 2)]


async def test_concurrent_editors_converge_to_what_the_merge_says(
    app: Application, world: World, board: int
) -> None:
    """Twenty editors, overlapping batches, in any order: the database holds what the pure merge says."""
    chance = random.Random(7)
    batches = [
        [raw(chance.choice("abcdefgh"), chance.randrange(6), chance.randrange(4)) for _ in range(5)]
        for _ in range(80)
    ]
    assert app.studio is not None
    boards, seen = app.studio.boards, []

    async def listen(change: Any) -> None:
        if change.elements:  # else it was sent before, and only the version is told
            seen.append((change.version, change.elements))

    boards.announce = listen

    async def edit(mine: list[list[dict[str, Any]]]) -> None:
        for batch in mine:
            await boards.apply(Actor(world.ben.id), board, parse_batch(batch))

    await asyncio.gather(*(edit(batches[n::20]) for n in range(20)))
    expected = merge({}, [element for batch in batches for element in parse_batch(batch)])
    scene = await Caller(app, world.cy).get(f"/api/boards/{board}/scene")

    def marks(elements: list[dict[str, Any]]) -> set[tuple[str, int, int]]:
        return {(one["id"], one["version"], one["versionNonce"]) for one in elements}

    assert marks(scene["elements"]) == {(one.id, one.version, one.nonce) for one in expected.values()}
    assert sorted(version for version, _ in seen) == list(range(1, scene["version"] + 1))
    told: dict[str, Element] = {}
    for _, elements in seen:  # in whatever order they are told
        told = merge(told, elements)
    assert marks(scene["elements"]) == {(one.id, one.version, one.nonce) for one in told.values()}


async def test_viewers_look_strangers_see_nothing(app: Application, world: World, board: int) -> None:
    for path in (f"/api/boards/{board}/scene", f"/api/boards/{board}/revisions"):
        await Caller(app, world.cy).get(path)
        expect(await Caller(app, world.dora).call("GET", path), 404)
        expect(await Caller(app).call("GET", path), 401)
    await draw(Caller(app, world.cy), board, raw(), status=403)
    await draw(Caller(app, world.dora), board, raw(), status=404)
    await Caller(app, world.cy).post(f"/api/boards/{board}/revisions", {"name": "Mine"}, status=403)
    await Caller(app, world.cy).post(f"/api/boards/{board}/links", {}, status=403)
    expect(await Caller(app, world.cy).call("GET", f"/api/boards/{board}/links"), 403)
    await Caller(app, world.cy).patch(f"/api/boards/{board}", {"title": "Mine"}, status=403)
    await Caller(app, world.cy).delete(f"/api/boards/{board}", status=403)
    expect(await put_image(Caller(app, world.cy), board, "f", png()), 403)
    await draw(Caller(app, world.ben), 999999, raw(), status=404)


async def test_who_lost_the_membership_changes_nothing_any_more(
    app: Application, world: World, board: int
) -> None:
    await Caller(app, world.ada).delete(f"/api/projects/{world.project}/members/{world.ben.id}")
    await draw(Caller(app, world.ben), board, raw(), status=404)
    expect(await Caller(app, world.ben).call("GET", f"/api/boards/{board}/scene"), 404)


async def test_a_board_is_renamed_and_deleted(app: Application, world: World, board: int) -> None:
    ben = Caller(app, world.ben)
    await draw(ben, board, raw())
    renamed = await ben.patch(f"/api/boards/{board}", {"title": "Final"})
    assert renamed["title"] == "Final"
    await ben.delete(f"/api/boards/{board}")
    expect(await ben.call("GET", f"/api/boards/{board}/scene"), 404)
    left = (await ben.get(f"/api/projects/{world.project}/boards"))["boards"]
    assert [one["id"] for one in left] == [world.board.id]


@pytest.mark.parametrize(
    "body", [{}, {"elements": 1}, {"elements": [1]}, {"elements": [{}]}, {"elements": [], "x": 1}]
)
async def test_hostile_batches_are_refused(body: Any, app: Application, world: World, board: int) -> None:
    await Caller(app, world.ben).post(f"/api/boards/{board}/elements", body, status=422)


async def test_batches_may_be_larger_than_other_bodies_and_not_endless(
    app: Application, world: World, board: int
) -> None:
    ben = Caller(app, world.ben)
    many = [raw(f"e{n}", text="x" * 1000) for n in range(200)]
    assert len((await draw(ben, board, *many))["accepted"]) == 200
    await draw(ben, board, *(raw(f"e{n}", text="x" * 1000) for n in range(900)), status=413)


# -- revisions ---------------------------------------------------------------------------------------------


async def test_a_revision_is_kept_read_and_restored(app: Application, world: World, board: int) -> None:
    ben, cy = Caller(app, world.ben), Caller(app, world.cy)
    await draw(ben, board, raw("a", text="first"), raw("gone", isDeleted=True))
    kept = await ben.post(f"/api/boards/{board}/revisions", {"name": "Before lunch"})
    assert (kept["name"], kept["elements"], kept["created_by"]) == ("Before lunch", 1, world.ben.id)
    await draw(ben, board, raw("a", 2, text="second"), raw("b"))
    assert await cy.get(f"/api/boards/{board}/revisions/{kept['id']}") == [raw("a", text="first")]
    restored = await ben.post(f"/api/boards/{board}/revisions/{kept['id']}/restore", status=200)
    assert restored["accepted"] == ["a", "b"]
    scene = {one["id"]: one for one in (await cy.get(f"/api/boards/{board}/scene"))["elements"]}
    assert (scene["a"]["text"], scene["a"]["version"], scene["a"]["isDeleted"]) == ("first", 3, False)
    assert scene["b"]["isDeleted"]
    listed = (await cy.get(f"/api/boards/{board}/revisions"))["revisions"]
    assert [one["name"] for one in listed] == [None, "Before lunch"]
    again = await ben.post(f"/api/boards/{board}/revisions/{listed[0]['id']}/restore", status=200)
    assert again["accepted"] == ["a", "b"]
    scene = {one["id"]: one for one in (await cy.get(f"/api/boards/{board}/scene"))["elements"]}
    assert (scene["a"]["text"], scene["b"]["isDeleted"]) == ("second", False)
    await ben.post(f"/api/boards/{board}/revisions/999999/restore", status=404)
    expect(await cy.call("GET", f"/api/boards/{board}/revisions/999999"), 404)


async def test_while_people_work_revisions_are_made_once_in_a_while(
    app: Application, world: World, board: int, database: Database
) -> None:
    ben = Caller(app, world.ben)
    assert app.studio is not None
    boards = app.studio.boards
    await draw(ben, board, raw())
    await boards.stop()
    assert (await ben.get(f"/api/boards/{board}/revisions"))["revisions"] == []
    await database.connection.execute(
        "UPDATE boards SET revised_at = now() - interval '5 minutes' WHERE id = $1", board
    )
    boards._looked_at.clear()
    await draw(ben, board, raw(version=2))
    await asyncio.gather(*(boards.revise(board) for _ in range(5)))
    await boards.stop()
    listed = (await ben.get(f"/api/boards/{board}/revisions"))["revisions"]
    assert [(one["name"], one["version"]) for one in listed] == [(None, 2)]
    await asyncio.gather(*(boards.revise(board, every_s=0) for _ in range(3)))
    assert len((await ben.get(f"/api/boards/{board}/revisions"))["revisions"]) == 1, "nothing has changed"


# -- links -------------------------------------------------------------------------------------------------


async def test_a_link_lets_guests_look_or_edit_until_it_is_revoked(
    app: Application, world: World, board: int
) -> None:
    ben = Caller(app, world.ben)
    await draw(ben, board, raw())
    look = await ben.post(f"/api/boards/{board}/links", {})
    edit = await ben.post(f"/api/boards/{board}/links", {"may_edit": True, "expires_in_s": 3600})
    viewer = Caller(app, authorization=f"Share {look['token']}")
    editor = Caller(app, authorization=f"share {edit['token']}")
    assert (await viewer.get("/api/shared"))["may_edit"] is False
    opened = await editor.get("/api/shared")
    assert (opened["may_edit"], opened["board"]["id"]) == (True, board)
    assert (await viewer.get(f"/api/boards/{board}/scene"))["elements"] == [raw()]
    await draw(viewer, board, raw("b"), status=403)
    await draw(editor, board, raw("b"))
    listed = (await ben.get(f"/api/boards/{board}/links"))["links"]
    assert [one["may_edit"] for one in listed] == [False, True]
    assert look["token"] not in str(listed)
    await ben.delete(f"/api/boards/{board}/links/{edit['link']['id']}")
    await draw(editor, board, raw("c"), status=404)
    expect(await editor.call("GET", "/api/shared"), 404)
    await ben.delete(f"/api/boards/{board}/links/{edit['link']['id']}", status=404)


async def test_a_link_opens_its_board_only_and_nothing_when_it_has_expired(
    app: Application, world: World, board: int, database: Database
) -> None:
    ben = Caller(app, world.ben)
    other = await ben.post(f"/api/projects/{world.project}/boards", {"title": "Secret"})
    made = await ben.post(f"/api/boards/{board}/links", {"may_edit": True, "expires_in_s": 60})
    guest = Caller(app, authorization=f"Share {made['token']}")
    expect(await guest.call("GET", f"/api/boards/{other['id']}/scene"), 404)
    expect(await guest.call("GET", f"/api/projects/{world.project}/boards"), 401)
    await database.connection.execute("UPDATE board_links SET expires_at = now() WHERE board_id = $1", board)
    expect(await guest.call("GET", f"/api/boards/{board}/scene"), 404)
    await ben.post(f"/api/boards/{board}/links", {"expires_in_s": 5}, status=422)


@pytest.mark.parametrize("token", ["", "x", "a" * 43, "%C3%A4", "a" * 5000])
async def test_a_forged_link_opens_nothing(token: str, app: Application, board: int) -> None:
    guest = Caller(app, authorization=f"Share {token}")
    expect(await guest.call("GET", f"/api/boards/{board}/scene"), 404)
    expect(await guest.call("GET", "/api/shared"), 404)


# -- images ------------------------------------------------------------------------------------------------


async def test_an_image_is_stored_once_and_served_for_ever(
    app: Application, world: World, board: int, database: Database
) -> None:
    ben, content = Caller(app, world.ben), png(31, 17, f"#{world.project:06x}")
    stored = expect(await put_image(ben, board, "file1", content), 200).json()
    assert (stored["width"], stored["height"], stored["content_type"]) == (31, 17, "image/png")
    assert stored["size_bytes"] == len(content)
    expect(await put_image(ben, board, "file2", content), 200)
    expect(await put_image(ben, board, "file1", content), 200)
    digest = bytes.fromhex(stored["sha256"])
    assert await database.connection.fetchval("SELECT count(*) FROM blobs WHERE sha256 = $1", digest) == 1
    served = expect(await Caller(app, world.cy).call("GET", f"/api/boards/{board}/images/file1"), 200)
    assert served.content == content
    assert served.headers["content-type"] == "image/png"
    assert served.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "sandbox" in served.headers["content-security-policy"]
    again = await Caller(app, world.cy, **{"if-none-match": served.headers["etag"]}).call(
        "GET", f"/api/boards/{board}/images/file1"
    )
    assert (again.status_code, again.content) == (304, b"")
    expect(await Caller(app, world.dora).call("GET", f"/api/boards/{board}/images/file1"), 404)
    expect(await put_image(ben, board, "file1", png(5, 5)), 409)
    expect(await Caller(app, world.cy).call("GET", f"/api/boards/{board}/images/none"), 404)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415),
        (b"<html><script>alert(1)</script>", 415),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, 415),
        (b"GIF89a", 415),
        (b"x" * (limits.MAX_BYTES + 1), 413),
    ],
)
async def test_what_is_no_image_or_too_large_is_refused(
    content: bytes, status: int, app: Application, world: World, board: int
) -> None:
    expect(await put_image(Caller(app, world.ben), board, "f", content), status)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    expect(await put_image(Caller(app, world.ben), board, "f", chunks()), status)  # type: ignore[arg-type]


async def test_an_image_of_too_many_pixels_is_refused_unseen(
    app: Application, world: World, board: int
) -> None:
    bomb = bytearray(png(1, 1))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    problem = expect(await put_image(Caller(app, world.ben), board, "f", bytes(bomb)), 413)
    assert problem.json()["code"] == "too-many-pixels"


async def test_images_go_when_neither_element_nor_revision_names_them(
    app: Application, world: World, board: int, database: Database
) -> None:
    ben = Caller(app, world.ben)
    assert app.studio is not None
    images = app.studio.images
    for name, color in (("used", "red"), ("kept", "blue"), ("loose", "green")):
        expect(await put_image(ben, board, name, png(color=color)), 200)
    await draw(ben, board, raw("u", fileId="used", type="image"), raw("k", fileId="kept", type="image"))
    await ben.post(f"/api/boards/{board}/revisions", {"name": "With both"})
    await draw(ben, board, raw("k", 2, fileId="kept", type="image", isDeleted=True))
    await images.collect()
    for name in ("used", "kept", "loose"):
        expect(await ben.call("GET", f"/api/boards/{board}/images/{name}"), 200)
    for table in ("board_images", "blobs"):
        await database.connection.execute(f"UPDATE {table} SET created_at = now() - interval '2 days'")  # noqa: S608
    await images.collect()
    for name, status in (("used", 200), ("kept", 200), ("loose", 404)):
        expect(await ben.call("GET", f"/api/boards/{board}/images/{name}"), status)
    await ben.delete(f"/api/boards/{board}")
    await images.collect()
    left = await database.connection.fetchval(
        "SELECT count(*) FROM blobs b WHERE NOT EXISTS (SELECT FROM board_images WHERE sha256 = b.sha256)"
    )
    assert left == 0


async def test_an_image_survives_a_collection_that_runs_while_it_is_stored(
    app: Application, world: World, board: int, database: Database
) -> None:
    ben = Caller(app, world.ben)
    assert app.studio is not None
    images, content = app.studio.images, png(9, 9, "gold")
    for turn in range(15):
        name = f"turn{turn}"
        await asyncio.gather(
            put_image(ben, board, name, content), images.collect(older_s=0), images.collect(older_s=0)
        )
        if await database.connection.fetchval("SELECT true FROM board_images WHERE file_id = $1", name):
            served = expect(await ben.call("GET", f"/api/boards/{board}/images/{name}"), 200)
            assert served.content == content
        await images.collect(older_s=0)


# -- messages ----------------------------------------------------------------------------------------------


async def test_a_message_that_is_sent_again_is_posted_once(app: Application, world: World) -> None:
    path, ben = f"/api/projects/{world.project}/messages", Caller(app, world.ben)
    told: list[int] = []

    async def listen(project_id: int, _: bytes) -> None:
        told.append(project_id)

    assert app.studio is not None
    app.studio.messages.announce = listen
    form = {"body": "Once", "client_id": "6f1b8a4e-33a5-4a53-9f0c-4b8f9b6d2a10"}
    answers = await asyncio.gather(*(ben.post(path, form) for _ in range(20)))
    assert len({answer["id"] for answer in answers}) == 1
    assert told == [world.project]
    page = await ben.get(path)
    assert [message["body"] for message in page["messages"]].count("Once") == 1
    assert page["messages"][0]["client_id"] == form["client_id"]
    await ben.post(path, {**form, "body": "Twice"}, status=409)
    await Caller(app, world.ada).post(path, form)
    await ben.post(path, {**form, "client_id": "no"}, status=422)


async def test_images_outlive_the_worker_on_a_disk(
    shared_database_url: str, world: World, tmp_path: Any, database: Database
) -> None:
    settings = settings_for(shared_database_url, None, assets_url=(tmp_path / "assets").as_uri())
    async with running(settings) as one:
        ben = Caller(one, world.ben)
        made = await ben.post(f"/api/projects/{world.project}/boards", {"title": "Kept"})
        expect(await put_image(ben, made["id"], "f", png(7, 7, "navy")), 200)
    async with running(settings) as two:
        served = expect(await Caller(two, world.cy).call("GET", f"/api/boards/{made['id']}/images/f"), 200)
        assert served.content == png(7, 7, "navy")


async def test_what_was_posted_is_told_although_its_sender_hung_up(app: Application, world: World) -> None:
    told: list[int] = []

    async def listen(project_id: int, _: bytes) -> None:
        told.append(project_id)

    assert app.studio is not None
    writes = app.studio.writes
    app.studio.messages.announce = listen
    form = NewMessage.model_validate({"body": "Bye"})
    posting = asyncio.create_task(app.studio.messages.post(world.ben.id, world.project, form))
    await eventually(lambda: writes._running)
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)
    assert posting.cancelled()
    await writes.stop()
    assert told == [world.project]


async def test_a_message_that_is_sent_again_after_a_while_is_told_again(
    app: Application, world: World, database: Database
) -> None:
    """Its sender had no answer: the worker may have died after the commit, and before it told anybody."""
    path, ben = f"/api/projects/{world.project}/messages", Caller(app, world.ben)
    told: list[bytes] = []

    async def listen(_: int, body: bytes) -> None:
        told.append(body)

    assert app.studio is not None
    app.studio.messages.announce = listen
    form = {"body": "Still there?", "client_id": "6f1b8a4e-33a5-4a53-9f0c-4b8f9b6d2a11"}
    first = await ben.post(path, form)
    await database.connection.execute(
        "UPDATE messages SET created_at = created_at - interval '3 s' WHERE id = $1", first["id"]
    )
    again = await ben.post(path, form)
    assert again["id"] == first["id"]
    assert [json.loads(body)["id"] for body in told] == [first["id"], first["id"]]


async def test_a_change_that_is_sent_again_tells_others_which_version_there_is(
    app: Application, world: World, board: int
) -> None:
    told: list[BoardChanged] = []

    async def listen(change: BoardChanged) -> None:
        told.append(change)

    assert app.studio is not None
    app.studio.boards.announce = listen
    ben = Caller(app, world.ben)
    await draw(ben, board, raw("x"))
    assert (await draw(ben, board, raw("x")))["accepted"] == []
    assert [(change.version, len(change.elements)) for change in told] == [(1, 1), (1, 0)]


# -- folders -----------------------------------------------------------------------------------------------


async def test_a_board_is_in_a_folder_that_has_one_spelling(
    app: Application, world: World, board: int
) -> None:
    ben, path = Caller(app, world.ben), f"/api/boards/{board}"
    moved = await ben.patch(path, {"folder": " Campaign //Print  run/ "})
    assert (moved["title"], moved["folder"]) == ("Sketches", "Campaign/Print run")
    assert (await ben.patch(path, {"title": "Final"}))["folder"] == "Campaign/Print run"
    assert (await ben.patch(path, {"folder": ""}))["folder"] == ""
    for folder in ("a/b/c/d/e/f/g", "x" * 61, "a\x07b", "nul\0", None, 7):
        await ben.patch(path, {"folder": folder}, status=422)
    await ben.patch(path, {}, status=422)
