"""What sessions promise, wherever they live: each numbered requirement has a test that names it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import pytest
from sessions_world import PLACES, World

from valtier import (
    ConfigurationError,
    Session,
    SessionEndedError,
    Sessions,
    SessionTooLargeError,
    Tier,
)
from valtier.embedded import EmbeddedValkey
from valtier.sessions import token as tokens
from valtier.testing import eventually

HOUR = 3600.0


@pytest.fixture(params=PLACES)
async def world(request: pytest.FixtureRequest, valkey: EmbeddedValkey, shared_database_url: str) -> World:
    world = World(request.param, valkey, shared_database_url)
    await world.prepare()
    return world


async def load(sessions: Sessions[Any], token: str | bytes) -> Session[Any]:
    session = await sessions.load(token)
    assert session is not None
    return session


async def everything_stored(world: World) -> bytes:
    """All that Valkey and PostgreSQL hold of sessions."""
    found: list[Any] = []
    if world.uses_valkey:
        keys: Any = world.valkey.call("KEYS", "valtier:s:*")
        for key in sorted(keys):
            found += [key, world.valkey.call("DUMP", key.decode())]
            if world.valkey.call("TYPE", key.decode()) == b"hash":
                found.append(world.valkey.call("HGETALL", key.decode()))
    if world.durable:
        connection = await asyncpg.connect(world.database_url)
        found += [tuple(row) for row in await connection.fetch("SELECT * FROM valtier_sessions")]
        found += [tuple(row) for row in await connection.fetch("SELECT * FROM valtier_sessions_stale")]
        await connection.close()
    return pickle.dumps(found)


async def test_req01_only_a_hash_of_a_random_token_is_stored(world: World) -> None:
    """Requirement 1: at least 128 bits from a CSPRNG; neither Valkey nor PostgreSQL holds what could be used."""
    async with world.worker() as sessions:
        session = await sessions.create("ada", data={"a": 1})
        await load(sessions, session.token)
        stored = await everything_stored(world)
        secret = session.token[tokens.NAME_LENGTH :]
        assert len(secret) * 6 >= 128
        assert secret.encode() not in stored
        assert hashlib.sha256(session.token.encode()).digest() in stored
        others = {(await sessions.create("ada")).token for _ in range(50)}
        assert len(others) == len({token[tokens.NAME_LENGTH :] for token in others}) == 50


async def test_req02_an_unknown_id_is_never_adopted_and_is_counted(world: World) -> None:
    """Requirement 2: a planted id opens nothing, and signing in with it gives another one."""
    async with world.worker() as sessions:
        planted = tokens.new_token("ada")
        assert await sessions.load(planted) is None
        assert await sessions.load(planted.encode()) is None
        assert sessions.stats.unknown == 2
        session = await sessions.create("ada")
        assert session.token != planted
        assert await sessions.load(planted) is None
        forged = session.device_id + planted[tokens.NAME_LENGTH :]
        assert await sessions.load(forged) is None
        assert sessions.stats.forged == 1
        await load(sessions, session.token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a" * 63,
        "a" * 65,
        "ä" * 64,
        "a" * 63 + " ",
        "a" * 10_000,
        "a" * 63 + "\n",
        b"\xff" * 64,
        None,
    ],
)
async def test_req02_a_malformed_cookie_is_refused_without_a_lookup(world: World, token: Any) -> None:
    """Requirement 2: forged, truncated and oversized cookies cost no round trip where the form is wrong."""
    async with world.worker() as sessions:
        assert await sessions.load(token) is None
        assert sessions.peek(token) is None
        stats = sessions.stats
        assert stats.valkey_reads == stats.durable_reads == stats.unknown == 0
        assert stats.malformed == bool(token)


@pytest.mark.parametrize("how", ["rotate", "confirm", "sign in"])
async def test_req03_rotation_kills_the_old_id(world: World, how: str) -> None:
    """Requirement 3: after a sign-in, re-authentication or change of privileges the old id opens nothing, anywhere."""
    async with world.worker() as here, world.worker() as there:
        session = await here.create("ada" if how != "sign in" else None, data={"cart": [1]})
        old = session.token
        for worker in (here, there, here, there):
            await load(worker, old)
        if how == "rotate":
            await session.rotate()
        elif how == "confirm":
            await session.confirm()
        else:
            session = await here.create("ada", replaces=session)
        assert session.token != old
        assert await here.load(old) is None
        await eventually(lambda: _is_gone(there, old))
        await load(there, session.token)
        if how != "sign in":
            assert (await load(here, session.token)).data == {"cart": [1]}


async def _is_gone(sessions: Sessions[Any], token: str) -> bool:
    return await sessions.load(token) is None


async def test_req03_a_timed_renewal_maps_the_old_id_to_one_successor_for_some_seconds(world: World) -> None:
    """Requirement 3: parallel requests with the old id all get the same successor, until the grace is over."""
    async with (
        world.worker(renew="10m", grace="10s") as here,
        world.worker(renew="10m", grace="10s") as there,
    ):
        old = (await here.create("ada")).token
        assert not here.renewal_is_due(await load(here, old))
        await world.advance(601)
        held = [await load(worker, old) for worker in (here, there) * 10]
        assert all(here.renewal_is_due(session) for session in held)
        await asyncio.gather(
            *(worker.renew(session) for worker, session in zip((here, there) * 10, held, strict=True))
        )
        successors = {session.token for session in held}
        assert len(successors) == 1
        [successor] = successors
        assert successor != old
        await world.advance(5)
        late = [await load(worker, old) for worker in (here, there)]
        assert {session.token for session in late} == {successor}
        await world.advance(6)
        for worker in (here, there):
            assert await worker.load(old) is None
            await load(worker, successor)


async def test_req03_no_grace_reaches_across_a_sign_in(world: World) -> None:
    """Requirement 3: what a renewal has left alive dies with the next rotation."""
    async with world.worker(renew="10m") as sessions:
        session = await sessions.create("ada")
        oldest = session.token
        await world.advance(601)
        first = await load(sessions, oldest)
        await sessions.renew(session)
        await load(sessions, oldest)
        late = await load(sessions, oldest)
        await session.confirm()
        assert await sessions.load(oldest) is None
        for old in (first, late):
            with pytest.raises(SessionEndedError):
                await old.set(a=1)
        assert (await load(sessions, session.token)).data == {}


async def test_req03_a_renewal_in_parallel_does_not_spoil_a_confirmation(world: World) -> None:
    async with world.worker(renew="10m") as sessions:
        token = (await sessions.create("ada")).token
        await world.advance(601)
        one, two = await load(sessions, token), await load(sessions, token)
        await sessions.renew(one)
        await two.confirm()
        assert two.is_sudo
        await load(sessions, two.token)
        assert await sessions.load(one.token) is None


async def test_req04_a_request_in_flight_resurrects_nothing(world: World) -> None:
    """Requirement 4: after a logout no write, touch, rotation or renewal of a request in flight brings it back."""
    async with world.worker() as here, world.worker() as there:
        session = await here.create("ada", data={"a": 1})
        in_flight = [await load(worker, session.token) for worker in (here, there)]
        await world.advance(120)
        assert await here.destroy(session) is True
        assert await here.destroy(session) is False
        for worker, old in zip((here, there), in_flight, strict=True):
            with pytest.raises(SessionEndedError):
                await old.set(a=2)
            with pytest.raises(SessionEndedError):
                await old.confirm()
            with pytest.raises(SessionEndedError):
                await worker.renew(old)
            assert await worker.touch(old) is False
            assert await worker.load(session.token) is None
        if world.uses_valkey:
            await eventually(lambda: _nothing_left(world, session.device_id))


async def _nothing_left(world: World, name: str) -> bool:
    return name.encode() not in await everything_stored(world)


async def test_req05_parallel_requests_that_set_different_fields_all_survive(world: World) -> None:
    """Requirement 5: field-wise writes, from many requests of several workers at once."""
    async with world.worker() as here, world.worker() as there:
        session = await here.create("ada", data={"old": 1})
        held = [await load(worker, session.token) for worker in (here, there) * 20]
        await asyncio.gather(*(one.set(**{f"field{at}": at}) for at, one in enumerate(held)))
        await asyncio.gather(held[0].remove("field3"), held[1].set(field5="five"))
        expected = {"old": 1} | {f"field{at}": at for at in range(40) if at != 3} | {"field5": "five"}
        for worker in (here, there):
            await eventually(_has(worker, session.token, expected))


def _has(sessions: Sessions[Any], token: str, data: object) -> Callable[[], Awaitable[bool]]:
    async def has() -> bool:
        session = await sessions.load(token)
        return session is not None and session.data == data

    return has


async def test_req06_a_read_only_request_writes_nothing_and_a_touch_comes_once_per_interval(
    world: World,
) -> None:
    """Requirement 6: ten reads write nothing; use is noted once a minute, whoever notices it."""
    async with world.worker(local_bytes=0) as here, world.worker(local_bytes=0) as there:
        token = (await here.create("ada")).token
        await load(here, token)
        before = await everything_stored(world)
        for _ in range(10):
            session = await load(here, token)
            here.touch_soon(session)
            assert await here.touch(session) is False
        assert await everything_stored(world) == before
        await world.advance(61)
        held = [await load(worker, token) for worker in (here, there) * 5]
        touched = await asyncio.gather(
            *(worker.touch(one) for worker, one in zip((here, there) * 5, held, strict=True))
        )
        assert sorted(touched) == [False] * 9 + [True]
        seen = (await load(there, token)).last_seen
        assert seen.timestamp() == pytest.approx(world.now_ms / 1000, abs=0.01)


async def test_req07_idle_and_absolute_limits_are_enforced_by_the_server(world: World) -> None:
    """Requirement 7: by default 1 h idle and 24 h at most; what a client sends changes nothing."""
    async with world.worker() as sessions:
        idle, used = await sessions.create("ada"), await sessions.create("ada")
        for _ in range(46):
            await world.advance(HOUR / 2)
            session = await load(sessions, used.token)
            assert await sessions.touch(session)
        assert await sessions.load(idle.token) is None
        await world.advance(HOUR / 2)
        assert await sessions.touch(await load(sessions, used.token))
        await world.advance(HOUR / 2)  # 24 h
        assert await sessions.load(used.token) is None
        again = await sessions.create("ada")
        await world.advance(HOUR - 1)
        await load(sessions, again.token)
        await world.advance(1)
        assert await sessions.load(again.token) is None
        with pytest.raises(SessionEndedError):
            await again.set(a=1)


async def test_req07_remember_me_lasts_thirty_days_at_most(world: World) -> None:
    """Requirement 7: 30 days (63B 2.1.3), without an idle limit; more can't be configured."""
    async with world.worker() as sessions:
        session = await sessions.create("ada", remember=True)
        assert session.remembered
        await world.advance(29 * 24 * HOUR)
        again = await load(sessions, session.token)
        assert again.remembered
        await sessions.touch(again)
        await world.advance(23.9 * HOUR)
        await load(sessions, session.token)
        await world.advance(0.2 * HOUR)
        assert await sessions.load(session.token) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remember": "31d"}, "30 days"),
        ({"idle": "2d"}, "no longer than"),
        ({"touch": "31m"}, "half of idle"),
        ({"grace": "2m"}, "some seconds"),
        ({"renew": "15s"}, "twice grace"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"data": dict}, r"msgspec\.Struct"),
        ({"idle": "soon"}, "duration"),
        ({"durable": 5}, "URL"),
    ],
)
async def test_req07_limits_that_contradict_themselves_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Tier.from_url("redis://127.0.0.1:1").sessions(**options)


async def test_without_valkey_sessions_need_a_database() -> None:
    with pytest.raises(ConfigurationError, match="durable"):
        Tier.from_url("redis://127.0.0.1:1", use_redis=False).sessions()


async def test_req08_a_user_lists_and_revokes_devices(world: World) -> None:
    """Requirement 8: one, all the others, or (by an administrator) all; nobody can revoke another's."""
    async with world.worker() as here, world.worker() as there:
        laptop = await here.create("ada", user_agent="Laptop", address="192.0.2.1")
        await world.advance(1)
        phone = await there.create("ada", user_agent="Phone\r\n\x00", address="2001:db8::1", remember=True)
        other = await here.create("bob", user_agent="Bob's")
        devices = await there.devices("ada", current=laptop)
        assert [
            (device.user_agent, device.address, device.current, device.remembered) for device in devices
        ] == [
            ("Phone???", "2001:db8::1", False, True),
            ("Laptop", "192.0.2.1", True, False),
        ]
        assert devices[0].created.timestamp() == pytest.approx(world.now_ms / 1000, abs=0.01)
        assert await here.revoke("bob", devices[0].id) is False
        assert await here.revoke("ada", "no such device") is False
        assert await here.revoke("ada", devices[0].id) is True
        assert await here.revoke("ada", devices[0].id) is False
        assert await here.load(phone.token) is None
        tablet = await here.create("ada")
        for worker in (here, there):
            await load(worker, tablet.token)
        assert await there.destroy_all("ada", except_=laptop) == 1
        await eventually(lambda: _is_gone(here, tablet.token))
        await load(there, laptop.token)
        assert await here.destroy_all("ada") == 1
        assert await here.devices("ada") == []
        assert [device.id for device in await here.devices("bob")] == [other.device_id]


async def test_req08_recent_authentication_opens_sudo_mode_for_a_while(world: World) -> None:
    """Requirement 8: revoking and the like want a recent authentication; `confirm` is one."""
    async with world.worker() as sessions:
        session = await sessions.create("ada")
        assert (await load(sessions, session.token)).is_sudo
        await world.advance(601)
        session = await load(sessions, session.token)
        assert (session.is_sudo, session.sudo_until) == (False, None)
        await session.confirm()
        again = await load(sessions, session.token)
        assert again.sudo_until is not None
        assert again.sudo_until.timestamp() == pytest.approx(world.now_ms / 1000 + 600, abs=0.01)
        await again.rotate()
        assert (await load(sessions, again.token)).is_sudo
        assert not (await sessions.create(None)).is_sudo


async def test_req09_the_index_prunes_the_dead_follows_rotation_and_expires(world: World) -> None:
    """Requirement 9: no keyspace events, no dead ids, nothing left behind."""
    async with world.worker() as sessions:
        idle = await sessions.create("ada")
        kept = await sessions.create("ada", remember=True)
        await kept.rotate()
        assert {device.id for device in await sessions.devices("ada")} == {idle.device_id, kept.device_id}
        await world.advance(HOUR + 1)
        assert [device.id for device in await sessions.devices("ada")] == [kept.device_id]
        assert await sessions.destroy_all("ada") == 1
        if world.place == "valkey":
            keys: Any = world.valkey.call("KEYS", "valtier:s:*")
            assert not [key for key in keys if b":u:" in key]
            await sessions.create("ada")
            [index] = [key for key in world.valkey.call("KEYS", "valtier:s:*") if b":u:" in key]
            assert 0 < world.valkey.call("PTTL", index.decode()) <= 24 * HOUR * 1000


async def test_req09_an_evicted_session_disappears_from_the_list(valkey: EmbeddedValkey) -> None:
    """Requirement 9: in Valkey alone what was evicted is pruned from the index when it is read."""
    world = World("valkey", valkey, "")
    await world.prepare()
    async with world.worker() as sessions:
        one, two = await sessions.create("ada"), await sessions.create("ada")
        [key] = [key for key in valkey.call("KEYS", "*") if one.device_id.encode() in key]
        valkey.call("DEL", key.decode())
        assert [device.id for device in await sessions.devices("ada")] == [two.device_id]
        [index] = [key for key in valkey.call("KEYS", "*") if b":u:" in key]
        assert valkey.call("ZRANGE", index.decode(), 0, -1) == [two.device_id.encode()]


async def test_req10_logs_and_reprs_carry_only_a_salted_hash(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirement 10: neither token nor name of a session is in a log line, a repr or an error."""
    caplog.set_level(logging.DEBUG, "valtier")
    async with world.worker() as sessions:
        session = await sessions.create("ada", data={"secret": "sesame"})
        text = repr(session) + str(session)
        for _ in range(2):
            await sessions.load(session.token)
        await sessions.destroy(session)
        with pytest.raises(SessionEndedError) as raised:
            await session.set(a=1)
        text += str(raised.value) + caplog.text
        for part in (session.token, session.token[tokens.NAME_LENGTH :], session.device_id, "sesame"):
            assert part not in text


class Basket(msgspec.Struct, frozen=True):
    """Typed data."""

    items: list[int] = msgspec.field(default_factory=list)
    theme: str = "light"
    currency: str | None = None


async def test_req11_data_is_typed_msgpack_and_size_capped(world: World) -> None:
    """Requirement 11: never pickle; too much is refused, and nothing of it is written."""
    async with world.worker(data=Basket, max_bytes=1000) as sessions:
        session = await sessions.create("ada")
        assert session.data == Basket()
        await session.set(items=[1, 2], theme="dark")
        assert session.data == (await load(sessions, session.token)).data == Basket([1, 2], "dark")
        with pytest.raises(SessionTooLargeError):
            await session.set(theme="x" * 990)
        with pytest.raises(SessionTooLargeError):
            await sessions.create("ada", data={"theme": "x" * 1000})
        await session.set(theme="x" * 900)
        with pytest.raises(SessionTooLargeError):
            await session.set(items=list(range(200)))
        await session.remove("theme")
        await session.set(items=list(range(200)))
        assert (await load(sessions, session.token)).data == Basket(list(range(200)), "light")
        with pytest.raises(ConfigurationError, match="no session field"):
            await session.set(them="x")
        with pytest.raises(ConfigurationError, match="theme"):
            await session.set(theme=5)
        with pytest.raises(ConfigurationError, match="at once"):
            await sessions.write(session, {"theme": "x"}, removes=["theme"])
        assert b"pickle" not in await everything_stored(world)


async def test_req11_what_another_version_wrote_is_as_good_as_not_set(world: World) -> None:
    async with world.worker() as old, world.worker(data=Basket) as new:
        session = await old.create("ada", data={"theme": 5, "gone": 1, "currency": "EUR"})
        assert (await load(new, session.token)).data == Basket(currency="EUR")


@pytest.mark.parametrize("value", [object(), {1, 2j}, lambda: 0, 2**70])
async def test_req11_what_msgpack_does_not_know_is_refused(world: World, value: Any) -> None:
    async with world.worker() as sessions:
        session = await sessions.create("ada")
        with pytest.raises(ConfigurationError, match="can't hold"):
            await session.set(field=value)


@pytest.mark.parametrize("subject", ["", "x" * 257, "a\nb", True, 1.5, b"ada", ["ada"]])
async def test_a_subject_that_can_be_none_is_refused(world: World, subject: Any) -> None:
    async with world.worker() as sessions:
        with pytest.raises(ConfigurationError, match="subject"):
            await sessions.create(subject)


async def test_req44_subjects_that_look_alike_are_different_ones(world: World) -> None:
    """Requirement 44: user input inside keys is hashed; unicode, braces and globs can't reach another user's sessions."""
    subjects = ["ada", "Ada", "ada ", "{ada}", "a*", "ａda", "ada:u:", "7", "ädä", "😀" * 200]
    async with world.worker() as sessions:
        made = {subject: await sessions.create(subject) for subject in subjects}
        for subject, session in made.items():
            assert [device.id for device in await sessions.devices(subject)] == [session.device_id]
            assert (await load(sessions, session.token)).subject == subject
        assert await sessions.destroy_all("a*") == 1
        assert [device.id for device in await sessions.devices("ada")] == [made["ada"].device_id]
        assert [device.id for device in await sessions.devices(7)] == [made["7"].device_id]
        keys: Any = world.valkey.call("KEYS", "valtier:*") if world.uses_valkey else []
        assert all(len(key) < 100 and key.isascii() for key in keys)


async def test_a_visitors_session_becomes_a_users(world: World) -> None:
    async with world.worker() as sessions:
        visitor = await sessions.create(None, data={"cart": [1]})
        assert (await load(sessions, visitor.token)).subject is None
        user = await sessions.create("ada", replaces=visitor, data=visitor.data)
        assert (await load(sessions, user.token)).data == {"cart": [1]}
        assert await sessions.load(visitor.token) is None
        assert visitor.ended


async def test_req10_no_repr_tells_of_an_id_or_a_secret(world: World) -> None:
    """Requirement 10: tracebacks and logs show objects as their repr."""
    async with world.worker() as sessions:
        session = await sessions.create("ada@example", data={"card": "4711-42"}, address="192.0.2.7")
        for shown in (repr(session), repr(session.state), f"{session.state}"):
            for secret in (
                session.token,
                session.device_id,
                "4711-42",
                "ada@example",
                "192.0.2.7",
                repr(session.token_hash),
            ):
                assert secret not in shown


async def test_req04_so_many_names_to_remove_that_no_script_takes_them_write_nothing(world: World) -> None:
    async with world.worker() as sessions:
        session = await sessions.create("ada", data={"a": 1})
        with pytest.raises(ConfigurationError):
            await sessions.write(session, {"b": 2}, removes=[f"n{at}" for at in range(9000)])
        assert (await load(sessions, session.token)).data == {"a": 1}
