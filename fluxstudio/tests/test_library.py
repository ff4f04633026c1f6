"""Libraries of shapes: kept with the account, on all devices; nobody's additions are lost, and what is removed stays so."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxstudio.app import Application
from fluxstudio.library import items as limits
from fluxstudio.library import service
from fluxstudio.library.items import MAX_CHANGE, MAX_CHANGE_BYTES, MAX_ITEM_BYTES, parse_items
from fluxstudio.library.schemas import LibraryChange
from fluxstudio.problems import Problem
from fluxstudio.testing import Caller, Database, Person, World, expect
from valtier.testing import eventually

PATH = "/api/me/library"


def shape(item_id: str = "a", **more: Any) -> dict[str, Any]:
    element = {"id": "e", "type": "rectangle", "version": 1, "versionNonce": 7, "width": 80.5}
    return {"id": item_id, "status": "unpublished", "created": 1, "elements": [element], **more}


class Device(Caller):
    """One of somebody's browsers: it tells the version that it knows."""

    def __init__(self, app: Application, person: Person) -> None:
        super().__init__(app, person)
        self._account = person.id
        self.since = 0

    async def change(
        self, *put: dict[str, Any], remove: tuple[str, ...] = (), since: int | None = None, status: int = 200
    ) -> Any:
        form = {"account": self._account, "since": self.since if since is None else since}
        told = await self.patch(PATH, {**form, "put": list(put), "remove": list(remove)}, status=status)
        if status == 200:
            self.since = told["version"]
        return told

    async def ids(self) -> list[str]:
        return [one["id"] for one in (await self.get(f"{PATH}?account={self._account}"))["items"]]


async def test_a_library_is_on_all_devices_and_nobody_elses(app: Application, world: World) -> None:
    laptop, tablet, ben = Device(app, world.ada), Device(app, world.ada), Device(app, world.ben)
    assert await laptop.get(PATH) == {"version": 0, "since": 0, "items": [], "removed": []}
    named = shape("b", name="Boat <script>", status="published")
    # The first is told all, its own included.
    assert (await laptop.change(shape("a")))["items"] == [shape("a")]
    assert await laptop.change(named, shape("c")) == {"version": 2, "since": 1, "items": [], "removed": []}
    whole = await tablet.get(PATH)
    assert (whole["version"], whole["items"]) == (2, [named, shape("c"), shape("a")])
    assert await tablet.get(f"{PATH}?since=1") == {**whole, "since": 1, "items": [named, shape("c")]}
    assert (await tablet.get(f"{PATH}?since=2"))["items"] == []
    assert await ben.ids() == []
    response = await laptop.call("GET", PATH)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"


async def test_devices_that_change_it_at_once_lose_nothing_of_each_other(
    app: Application, world: World
) -> None:
    devices = [Device(app, world.ada) for _ in range(8)]
    await asyncio.gather(
        *(device.change(shape(f"{n}-{m}")) for n, device in enumerate(devices) for m in range(3))
    )
    told = await devices[0].get(PATH)
    assert sorted(one["id"] for one in told["items"]) == sorted(
        f"{n}-{m}" for n in range(8) for m in range(3)
    )
    assert told["version"] == 24


async def test_a_change_tells_what_others_have_changed(app: Application, world: World) -> None:
    laptop, tablet = Device(app, world.ada), Device(app, world.ada)
    await laptop.change(shape("a"), shape("b"))
    await tablet.change(since=1)
    await laptop.change(shape("c"), remove=("a",))
    told = await tablet.change(shape("d"), since=1)
    assert told == {"version": 3, "since": 1, "items": [shape("c")], "removed": ["a"]}
    assert await laptop.ids() == ["d", "c", "b"]


async def test_sent_twice_it_is_carried_out_once(app: Application, world: World) -> None:
    laptop = Device(app, world.ada)
    await laptop.change(shape("a"))
    for _ in range(2):
        assert (await laptop.change(shape("b"), remove=("a",), since=1))["version"] == 2
    assert await laptop.ids() == ["b"]


async def test_what_was_removed_is_not_added_again_by_who_did_not_know(
    app: Application, world: World
) -> None:
    """The answer to an addition is lost, another device removes the shape, and the first sends it again."""
    laptop, tablet = Device(app, world.ada), Device(app, world.ada)
    await laptop.change(shape("x"))
    await laptop.change(shape("a"))
    await tablet.change(remove=("a",), since=2)
    told = await laptop.change(shape("a"), since=1)
    assert told["removed"] == ["a"]
    assert await laptop.ids() == ["x"]
    await laptop.change(shape("a", name="Again"))  # it knows now: this is somebody's wish
    assert await tablet.ids() == ["a", "x"]


async def test_an_addition_that_comes_after_its_own_removal_adds_nothing(
    app: Application, world: World
) -> None:
    """Even of a shape that was removed once before, and of one that never was there."""
    laptop = Device(app, world.ada)
    await laptop.change(shape("x"), shape("a"))
    await laptop.change(remove=("a",))
    known = laptop.since
    await laptop.change(remove=("a", "never"), since=known)
    await laptop.change(shape("a"), shape("never"), since=known)  # sent first, and slower
    assert await laptop.ids() == ["x"]


async def test_who_knows_more_than_there_is_or_is_remembered_is_told_all(
    app: Application, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup was put back; or so much was removed since that not all of it is remembered."""
    monkeypatch.setattr(service, "KEEP_REMOVED", 2)
    laptop = Device(app, world.ada)
    await laptop.change(*(shape(name) for name in "abcdef"))
    told = await laptop.get(f"{PATH}?since=900")
    assert (told["since"], len(told["items"])) == (0, 6)
    for name in "abcd":
        await laptop.change(remove=(name,))
    assert sorted((await laptop.get(f"{PATH}?since=3"))["removed"]) == ["c", "d"]
    told = await laptop.get(f"{PATH}?since=2")
    assert (told["since"], [one["id"] for one in told["items"]], sorted(told["removed"])) == (
        0,
        ["e", "f"],
        ["c", "d"],
    )
    told = await laptop.change(shape("g"), since=900)
    assert (told["since"], [one["id"] for one in told["items"]]) == (0, ["g", "e", "f"])


async def test_it_is_for_the_account_that_the_browser_means(app: Application, world: World) -> None:
    """In another tab somebody else has signed in, and the cookie is theirs now."""
    mistaken = Device(app, world.ada)
    mistaken._account = world.ben.id
    assert (await mistaken.change(shape("a"), status=409))["code"] == "another-account"
    response = await mistaken.call("GET", f"{PATH}?account={world.ben.id}")
    assert expect(response, 409).json()["code"] == "another-account"
    assert await Device(app, world.ada).ids() == await Device(app, world.ben).ids() == []


async def test_a_library_has_bounds_which_are_told(
    app: Application, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = Device(app, world.ada)
    monkeypatch.setattr(service, "MAX_ITEMS", 3)
    await laptop.change(shape("a"), shape("b"), shape("c"))
    refused = await laptop.change(shape("d"), status=409)
    assert refused["code"] == "library-full"
    assert "remove some" in refused["detail"]
    assert (await laptop.get(PATH))["version"] == 1
    await laptop.change(shape("d"), remove=("a",))
    assert await laptop.ids() == ["d", "b", "c"]
    monkeypatch.setattr(service, "MAX_BYTES", 1000)
    assert (await laptop.change(shape("b", name="x" * 200), status=200))["version"] == 3
    large = shape("c", elements=[{"type": "text", "text": "x" * 800}])
    assert (await laptop.change(large, status=409))["code"] == "library-full"


async def test_a_large_change_is_taken_up_to_its_bound(app: Application, world: World) -> None:
    laptop = Device(app, world.ada)
    large = shape("a", elements=[{"type": "text", "text": "x" * (MAX_ITEM_BYTES - 150)}])
    await laptop.change(large)
    assert await laptop.ids() == ["a"]
    assert (await laptop.change(large, shape("b"), shape("c", name="y" * 100), status=413))["code"]
    expect(await laptop.call("PATCH", PATH, {"put": "x" * 800_000}), 413)
    many = await laptop.change(*(shape(str(n)) for n in range(MAX_CHANGE + 1)), status=422)
    assert many["errors"][0]["field"] == "body.put"


deep: Any = 1
for _ in range(30):
    deep = [deep]


def with_element(**more: Any) -> dict[str, Any]:
    return shape(elements=[{"type": "rectangle", **more}])


@pytest.mark.parametrize(
    "one",
    [
        {},
        shape(""),
        shape("x" * 101),
        shape("a\nb"),
        shape(7),  # type: ignore[arg-type]
        shape(status="public"),
        shape(status=["published"]),
        shape(name=7),
        shape(name="x" * 201),
        shape(name="a\0"),
        shape(created=-1),
        shape(created=2**60),
        shape(created=True),
        shape(created=None),
        shape(created=float("nan")),
        shape(elements=[]),
        shape(elements={}),
        shape(elements="x"),
        shape(elements=[1]),
        shape(elements=[[]]),
        with_element(type="script"),
        with_element(type=None),
        with_element(link="javascript:alert(1)"),
        with_element(text="\ud800"),
        with_element(x=float("inf")),
        with_element(customData=deep),
        with_element(text="x" * MAX_ITEM_BYTES),
    ],
)
def test_what_can_not_be_kept_is_refused(one: dict[str, Any]) -> None:
    with pytest.raises(Problem) as caught:
        parse_items([one])
    assert caught.value.status == 422
    assert caught.value.errors[0].field == "body.put.0"


def test_a_shape_that_is_there_twice_or_too_large_together_is_refused() -> None:
    for put, status in (
        ([shape("a"), shape("a")], 422),
        ([shape(str(n), elements=[{"type": "text", "text": "x" * 300_000}]) for n in range(2)], 413),
    ):
        with pytest.raises(Problem) as caught:
            parse_items(put)
        assert caught.value.status == status
    assert MAX_CHANGE_BYTES < limits.MAX_BYTES


def test_only_what_belongs_to_a_shape_is_kept() -> None:
    [item] = parse_items([shape(error="x", onload="alert(1)")])
    assert json.loads(item.data) == shape()


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_no_input_raises_anything_but_a_problem(value: Any) -> None:
    for one in ({**shape(), key: value} for key in ("id", "status", "name", "created", "elements")):
        try:
            for item in parse_items([one, shape("b", elements=[{"type": "text", "more": value}])]):
                json.loads(item.data)
        except Problem as exc:
            assert exc.status in {413, 422}  # noqa: PT017 - every other exception fails the test


async def test_it_ends_with_the_account(app: Application, database: Database) -> None:
    gus = await database.person("Gus", password="correct horse", sudo_s=600)
    await Device(app, gus).change(shape("a"))
    await Caller(app, gus).delete("/api/me")
    for table in ("libraries", "library_items"):
        left = f"SELECT count(*) FROM {table} WHERE user_id = $1"  # noqa: S608 - names from above
        assert await database.connection.fetchval(left, gus.id) == 0


async def waits(database: Database) -> bool:
    """Whether somebody waits for a lock that this connection has."""
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    return bool(await database.connection.fetchval(blocked))


async def test_a_change_that_meets_the_end_of_the_account_leaves_nothing(
    app: Application, database: Database
) -> None:
    """It waits for the account's row, and finds that there is no account any more."""
    gus = await database.person("Gus", password="correct horse", sudo_s=600)
    assert app.studio is not None
    form = LibraryChange(account=gus.id, since=0, put=[shape("a")])
    async with database.connection.transaction():
        await database.connection.execute("SELECT 1 FROM users WHERE id = $1 FOR UPDATE", gus.id)
        change = asyncio.create_task(app.studio.libraries.change(gus.id, form))
        await eventually(lambda: waits(database))
        await database.connection.execute("UPDATE users SET deleted_at = now() WHERE id = $1", gus.id)
    with pytest.raises(Problem) as caught:
        await change
    assert caught.value.status == 404
    left = "SELECT count(*) FROM libraries WHERE user_id = $1"
    assert await database.connection.fetchval(left, gus.id) == 0
