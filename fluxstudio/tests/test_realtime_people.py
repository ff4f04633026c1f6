"""Who connects to a worker: names of all alphabets, connects that fail half-way, floods of them, gaps; one process."""

from __future__ import annotations

from typing import Any

import pytest

from fluxstudio.app import Application
from fluxstudio.boards.access import Actor
from fluxstudio.realtime.people import Person, _pack, _shown
from fluxstudio.testing import Caller, World, running, settings_for
from valtier.embedded import EmbeddedValkey
from valtier.presence import Roster


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "Александра Константиновна Верещагина-Рождественская",
        "寿限無寿限無" * 12,
        "👩\u200d🚀" * 20,
        "|/*" * 30,
    ],
)
async def test_people_of_any_name_can_be_present(name: str, app: Application, world: World) -> None:
    assert app.studio is not None
    person = Person("s", Actor(7), "u7", name)
    people = app.studio.realtime.people
    await people.come(person)
    told = await people.enter(person, f"project:{world.project}")
    if told["known"]:
        [shown] = told["people"]
        assert (shown["key"], shown["devices"]) == ("u7", 1)
        assert name.startswith(shown["name"])
        assert len(shown["name"]) >= min(len(name), 10)
    await people.go(person)


def test_somebody_with_a_new_name_on_one_of_two_devices_is_one_person() -> None:
    old, new = (Person("s", Actor(7), "u7", name) for name in ("Ben", "Benjamin"))
    shown = _shown(Roster(known=True, users={_pack(old): 1, _pack(new): 2}))
    assert shown["people"] == [{"key": "u7", "name": "Benjamin", "guest": False, "devices": 3}]


async def test_who_connects_half_way_is_not_here(
    app: Application, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database fails while a client comes back: it is refused, and nobody beats for it for ever."""
    assert app.studio is not None
    realtime = app.studio.realtime
    connect = realtime.sio.handlers["/"]["connect"]

    class LostError(Exception):
        pass

    async def fail(*_: Any) -> None:
        raise LostError

    monkeypatch.setattr(realtime.sio, "recovered", lambda sid: True)
    monkeypatch.setattr(realtime.sio, "rooms", lambda sid: [f"project:{world.project}"])
    monkeypatch.setattr(realtime._access, "come_back", fail)
    headers = [(b"cookie", f"flux={world.ada.token}".encode())]
    scope = {"type": "websocket", "path": "/socket.io/", "headers": headers, "client": ("127.0.0.1", 1)}
    monkeypatch.setattr(realtime.sio, "enter_room", fail_not)
    with pytest.raises(LostError):
        await connect("half", {"asgi.scope": scope})
    assert not realtime.people._here
    if realtime._presence is not None:
        assert realtime._presence.stats().devices == 0


async def fail_not(*_: Any) -> None:
    return


async def test_one_address_opens_so_many_connections_a_minute(
    shared_database_url: str, valkey: EmbeddedValkey
) -> None:
    path = "/socket.io/?EIO=4&transport=polling"
    async with running(settings_for(shared_database_url, valkey.url, api_limit="100/minute")) as app:
        caller = Caller(app)
        opened = 0
        while (answer := await caller.call("GET", path)).status_code == 200:
            opened += 1
            assert opened < 2000
        assert answer.status_code == 429
        assert opened >= 300
        assert (await Caller(app).call("GET", "/api/ready")).status_code == 200


async def test_who_may_have_missed_something_is_told_to_read_anew(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.studio is not None
    realtime = app.studio.realtime
    sent: list[tuple[str, Any]] = []

    async def emit(event: str, _: Any, **options: Any) -> None:
        sent.append((event, options["ignore_queue"]))

    monkeypatch.setattr(realtime.sio, "emit", emit)
    realtime._gap(3)
    while realtime._manager._jobs:
        await next(iter(realtime._manager._jobs))
    assert sent == [("resync", True)]
