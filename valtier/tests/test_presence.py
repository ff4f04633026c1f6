"""Presence: requirements 32 to 36, over several workers on a real Valkey."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from server_time import ServerTime
from wires import open_url

from valtier import Clock, ConfigurationError, Tier, UnavailableError
from valtier.embedded import EmbeddedValkey
from valtier.presence import COMMANDS, Change, Device, Diff, Presence, Roster, Standing, Watch
from valtier.testing import FaultProxy, eventually

QUICK: dict[str, Any] = {"ttl": "1h", "lease": "600ms", "debounce": "1ms"}


@asynccontextmanager
async def worker(url: str, name: str | None = None, **options: Any) -> AsyncIterator[Presence]:
    async with (
        open_url(url, deadline="2s", connect_timeout="2s") as wire,
        Presence(wire, worker=name, **{**QUICK, **options}) as presence,
    ):
        yield presence


@pytest.fixture
async def workers(valkey: EmbeddedValkey) -> AsyncIterator[Callable[..., Any]]:
    """Opens workers, which are stopped after the test."""
    async with AsyncExitStack() as stack:

        async def opened(**options: Any) -> Presence:
            return await stack.enter_async_context(worker(valkey.url, **options))

        yield opened


@pytest.fixture
def server_time(valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> ServerTime:
    return ServerTime(valkey, monkeypatch)


async def until(watch: Watch, wanted: Callable[[Change], bool]) -> Change:
    async with asyncio.timeout(15):
        async for change in watch:
            if wanted(change):
                return change
    raise AssertionError("the watch has ended")


def users_of(roster: Change) -> dict[str, int]:
    assert isinstance(roster, Roster)
    assert roster.known
    return dict(roster.users)


async def drop_dead(presence: Presence) -> None:
    """Ends a worker as `kill -9` does: nothing is told."""
    assert presence._keeper is not None
    presence._keeper.cancel()
    await asyncio.gather(presence._keeper, return_exceptions=True)
    presence._closed = True


async def test_req32_a_user_is_online_while_any_device_lives(workers: Callable[..., Any]) -> None:
    """Requirement 32: users have devices; the first to come joins, the last to go leaves."""
    one, two = await workers(), await workers()
    async with one.watch("r") as watch:
        assert users_of(await anext(watch)) == {}
        laptop = await one.connect("ada", "laptop", rooms=["r"])
        phone = await two.connect("ada", "phone", rooms=["r"])
        assert await anext(watch) == Diff(frozenset({"ada"}), frozenset(), "r")
        assert users_of(await two.roster("r")) == {"ada": 2}
        await laptop.close()
        await eventually(lambda: _has(two, "r", {"ada": 1}))
        await phone.close()
        assert await anext(watch) == Diff(frozenset(), frozenset({"ada"}), "r")
        assert users_of(await one.roster("r")) == {}


async def _has(presence: Presence, room: str, users: dict[str, int]) -> bool:
    return users_of(await presence.roster(room)) == users


async def test_req32_hundreds_that_come_and_go_at_once_are_counted_exactly(
    workers: Callable[..., Any],
) -> None:
    """Requirement 32: of many parallel entries and leaves exactly one joins and one leaves, for each user."""
    one, two = await workers(), await workers()
    async with one.watch("r") as watch:
        await anext(watch)

        async def visit(presence: Presence, n: int) -> None:
            device = await presence.connect(f"u{n % 3}", rooms=["r"])
            await asyncio.gather(device.beat(), device.beat())
            await device.close(at_once=True)

        stay = [await one.connect(f"u{n}", "stays", rooms=["r"]) for n in range(3)]
        await asyncio.gather(*(visit(presence, n) for n in range(150) for presence in (one, two)))
        assert users_of(await two.roster("r")) == {"u0": 1, "u1": 1, "u2": 1}
        await asyncio.gather(*(device.close(at_once=True) for device in stay))
        seen: list[Change] = []
        async with asyncio.timeout(10):
            while sum(len(change.left) for change in seen if isinstance(change, Diff)) < 3:
                seen.append(await anext(watch))
        assert [len(change.joined) for change in seen if isinstance(change, Diff) and change.joined] == [
            1,
            1,
            1,
        ]


async def test_req33_a_device_without_a_beat_goes_after_two_missed_ones(
    valkey: EmbeddedValkey, server_time: ServerTime
) -> None:
    """Requirement 33: 30 s between beats, gone after 67.5 s by the server's clock."""
    async with worker(valkey.url, ttl="30s", lease="1h") as presence:
        assert presence.life_s == 67.5
        await presence.connect("ada", "a", rooms=["r"])
        server_time.go_on(67.499)
        assert users_of(await presence.roster("r")) == {"ada": 1}
        server_time.go_on(0.001)
        assert users_of(await presence.roster("r")) == {}


async def test_req33_a_beat_prolongs_and_brings_back(valkey: EmbeddedValkey, server_time: ServerTime) -> None:
    """Requirement 33: a beat in time keeps, a late one brings back; readers filter by the server's time."""
    async with worker(valkey.url, ttl="30s", lease="1h") as presence:
        device = await presence.connect("ada", "a", rooms=["r"])
        server_time.go_on(60)
        await device.beat()
        server_time.go_on(60)
        assert users_of(await presence.roster("r")) == {"ada": 1}
        server_time.go_on(60)
        assert users_of(await presence.roster("r")) == {}
        await device.beat()
        assert users_of(await presence.roster("r")) == {"ada": 1}


async def test_req33_everybody_on_a_dead_worker_is_gone_within_its_lease(workers: Callable[..., Any]) -> None:
    """Requirement 33, and faster: the lease of a worker that was killed runs out, also where nobody asks."""
    dying, living = await workers(), await workers()
    async with living.watch("r") as watch:
        await anext(watch)
        for n in range(20):
            await dying.connect(f"u{n}", rooms=["r"])
        stays = await living.connect("u0", "other", rooms=["r"])
        await until(watch, lambda change: isinstance(change, Diff) and "u19" in change.joined)
        await drop_dead(dying)
        gone: set[str] = set()
        async with asyncio.timeout(10):
            while len(gone) < 19:
                change = await anext(watch)
                assert isinstance(change, Diff)
                gone |= change.left
        assert users_of(await living.roster("r")) == {"u0": 1}
        await stays.close()


def test_the_defaults_take_a_dead_workers_people_offline_within_ten_seconds() -> None:
    presence = Presence(None)
    assert presence.lease_s * 4 / 3 <= 10
    assert 60 <= presence.life_s <= 75


async def test_req34_a_reload_is_not_noticed(workers: Callable[..., Any]) -> None:
    """Requirement 34: who leaves and is back within the debounce has never left, on another worker too."""
    one, two = await workers(debounce="1h"), await workers(debounce="1h")
    async with one.watch("r") as watch:
        await anext(watch)
        device = await one.connect("ada", "laptop", rooms=["r"])
        await anext(watch)
        await device.close()
        back = await two.connect("ada", "laptop", rooms=["r"])
        await back.close(at_once=True)
        change = await anext(watch)
        assert change == Diff(frozenset(), frozenset({"ada"}), "r")


async def test_req34_who_stays_away_has_left_after_the_debounce(
    workers: Callable[..., Any], server_time: ServerTime
) -> None:
    """Requirement 34: three seconds by default, by the server's clock."""
    assert Presence(None).debounce_ms == 3000
    presence = await workers(debounce="3s", lease="1h")
    device = await presence.connect("ada", "a", rooms=["r"])
    await device.leave("r")
    assert users_of(await presence.roster("r")) == {"ada": 1}
    server_time.go_on(2.999)
    assert users_of(await presence.roster("r")) == {"ada": 1}
    server_time.go_on(0.001)
    assert users_of(await presence.roster("r")) == {}


async def test_req34_the_close_of_an_old_connection_does_not_take_the_new_one_along(
    workers: Callable[..., Any],
) -> None:
    """Requirement 34: a reload whose new connection comes before the old one's end, on the same worker and on another."""
    one, two = await workers(), await workers()
    old = await one.connect("ada", "laptop", rooms=["r"])
    new = await one.connect("ada", "laptop", rooms=["r"])
    await old.close(at_once=True)
    assert users_of(await two.roster("r")) == {"ada": 1}
    newer = await two.connect("ada", "laptop", rooms=["r"])
    await new.close(at_once=True)
    assert users_of(await two.roster("r")) == {"ada": 1}
    await newer.close(at_once=True)
    assert users_of(await two.roster("r")) == {}


@pytest.mark.parametrize("end", ["close", "at once", "stop", "hand over", "kill", "silence"])
async def test_req32_a_device_on_two_workers_stays_until_both_have_let_it_go(
    end: str, workers: Callable[..., Any], server_time: ServerTime
) -> None:
    """Requirements 32, 34: whichever of them came or beat last, the end of one takes nothing from the other."""
    options: dict[str, Any] = {"ttl": "40s", "lease": "60s", "debounce": "20s"}
    if end == "silence":
        options["clock"] = Clock(monotonic=lambda: server_time.now_s)
    for beats_last in ("ended", "other"):
        ended, other = await workers(name="ended", **options), await workers(name="other", **options)
        room = f"room {beats_last}"
        devices = {
            "ended": await ended.connect("ada", "laptop", rooms=[room]),
            "other": await other.connect("ada", "laptop", rooms=[room]),
        }
        async with other.watch(room) as watch:
            assert users_of(await anext(watch)) == {"ada": 1}
            await devices[beats_last].beat()
            if end == "stop" or end == "hand over":
                await ended.stop(hand_over=end == "hand over")
            elif end == "kill":
                await drop_dead(ended)
            elif end != "silence":
                await devices["ended"].close(at_once=end == "at once")
            assert users_of(await other.roster(room)) == {"ada": 1}
            server_time.go_on(50)
            await other._tick(other._rooms)
            server_time.go_on(15)
            assert users_of(await other.roster(room)) == {"ada": 1}
            await devices["other"].beat()
            server_time.go_on(50)
            if end == "silence":
                await ended._tick(ended._rooms)
            await devices["other"].close()
            server_time.go_on(19.999)
            assert users_of(await other.roster(room)) == {"ada": 1}
            server_time.go_on(0.001)
            assert users_of(await other.roster(room)) == {}
            assert await anext(watch) == Diff(frozenset(), frozenset({"ada"}), room)
        await ended.stop()
        await other.stop()


@pytest.mark.parametrize("first", ["old", "new"])
async def test_req32_a_device_with_two_connections_to_a_worker_stays_until_both_ended(
    first: str, workers: Callable[..., Any]
) -> None:
    """Requirements 32, 34: two tabs of one name, of which either may beat or end first, also in one of the rooms."""
    one, two = await workers(), await workers()
    async with two.watch("r") as watch:
        await anext(watch)
        pair = {name: await one.connect("ada", "laptop", rooms=["r", "s"]) for name in ("old", "new")}
        assert await anext(watch) == Diff(frozenset({"ada"}), frozenset(), "r")
        await pair["old"].beat()
        ending = pair.pop(first)
        await ending.leave("s")
        await ending.close(at_once=True)
        await ending.close(at_once=True)
        for room in "rs":
            assert users_of(await two.roster(room)) == {"ada": 1}
        assert one.stats().devices == 1
        (stays,) = pair.values()
        await stays.close(at_once=True)
        assert await anext(watch) == Diff(frozenset(), frozenset({"ada"}), "r")
        assert users_of(await two.roster("s")) == {}
        assert one.stats().devices == 0
        assert not one._doubles


async def test_req34_a_device_that_both_its_workers_closed_stays_until_the_debounce_ends(
    workers: Callable[..., Any], server_time: ServerTime
) -> None:
    """Requirement 34: also where their leases end before it: who leaves is on no worker."""
    options = {"ttl": "40s", "lease": "60s", "debounce": "20s"}
    one, two = await workers(**options), await workers(**options)
    old = await one.connect("ada", "laptop", rooms=["r"])
    new = await two.connect("ada", "laptop", rooms=["r"])
    await old.beat()
    server_time.go_on(45)
    await old.close()
    await new.close()
    server_time.go_on(15)
    assert users_of(await two.roster("r")) == {"ada": 1}
    server_time.go_on(4.999)
    assert users_of(await two.roster("r")) == {"ada": 1}
    server_time.go_on(0.001)
    assert users_of(await two.roster("r")) == {}


async def test_req34_a_hand_over_lasts_its_lease_where_nobody_else_is(
    workers: Callable[..., Any], server_time: ServerTime
) -> None:
    """Requirement 34, 35: also where the worker's own lease ends before; then all have left, and are told of as seen."""
    options = {"ttl": "1h", "lease": "60s"}
    moving, other = await workers(**options), await workers(**options)
    async with other.watch("r") as watch:
        assert users_of(await anext(watch)) == {}
        await moving.connect("ada", "laptop", rooms=["r"])
        assert await anext(watch) == Diff(frozenset({"ada"}), frozenset(), "r")
        server_time.go_on(40)
        await moving.stop(hand_over=True)
        server_time.go_on(20)
        for _ in range(2):
            assert users_of(await other.roster("r")) == {"ada": 1}
            assert await other.standing("ada") == Standing("online", 1)
        server_time.go_on(39.999)
        assert users_of(await other.roster("r")) == {"ada": 1}
        server_time.go_on(0.001)
        assert users_of(await other.roster("r")) == {}
        assert await anext(watch) == Diff(frozenset(), frozenset({"ada"}), "r")
    assert await other.standing("ada", viewer="ada") == Standing("offline", 0, server_time.now_s)


async def test_req34_shutdown_leaves_now_or_hands_over(valkey: EmbeddedValkey) -> None:
    """Requirement 34."""
    async with worker(valkey.url) as stays:
        async with worker(valkey.url, debounce="1h") as leaving:
            await leaving.connect("ada", rooms=["r"])
        assert users_of(await stays.roster("r")) == {}
        async with worker(valkey.url, lease="1h") as moving:
            await moving.connect("ada", "laptop", rooms=["r"])
            await moving.stop(hand_over=True)
        assert users_of(await stays.roster("r")) == {"ada": 1}
        await stays.connect("ada", "laptop", rooms=["r"])
        assert users_of(await stays.roster("r")) == {"ada": 1}


async def test_req35_last_seen_outlives_the_presence_and_is_for_those_who_may_see_it(
    valkey: EmbeddedValkey,
) -> None:
    """Requirement 35: who may see it is asked at each read."""
    friends = {"ben"}

    async def may_see(viewer: str | None, user: str) -> bool:
        return user == "ada" and viewer in friends

    async with worker(valkey.url, may_see=may_see) as presence:
        assert await presence.standing("ada", viewer="ben") == Standing("offline")
        device = await presence.connect("ada")
        assert await presence.standing("ada", viewer="ben") == Standing("online", 1)
        await device.close(at_once=True)
        seconds, micros = valkey.call("TIME")
        now = int(seconds) + int(micros) / 1e6
        told = await presence.standing("ada", viewer="ben")
        assert told.state == "offline"
        assert told.last_seen == pytest.approx(now, abs=5)
        assert (await presence.standing("ada", viewer="ada")).last_seen == told.last_seen
        assert await presence.standing("ada", viewer="cy") == Standing("offline")
        assert await presence.standing("ada") == Standing("offline")
        friends.clear()
        assert await presence.standing("ada", viewer="ben") == Standing("offline")
    async with worker(valkey.url) as presence:
        assert await presence.standing("ada", viewer="ben") == Standing("offline")


async def test_req36_without_valkey_nothing_is_known_and_nobody_is_called_offline(
    own_valkey: EmbeddedValkey,
) -> None:
    """Requirement 36: killed, and back empty: unknown meanwhile, then everybody who is here is here again."""
    async with worker(own_valkey.url) as presence, presence.watch("r") as watch:
        assert users_of(await anext(watch)) == {}
        device = await presence.connect("ada", rooms=["r"])
        gone = await presence.connect("ben", rooms=["r"])
        await anext(watch)
        own_valkey.kill()
        await eventually(lambda: _unknown(presence))
        assert await presence.standing("ada") == Standing("unknown")
        assert not (await presence.online()).known
        await device.beat()
        await gone.close()
        late = await presence.connect("cy", rooms=["r"])
        assert presence.stats().deferred >= 2
        own_valkey.start()
        await eventually(lambda: _has_when_known(presence, "r", {"ada": 1, "cy": 1}))
        assert users_of(await presence.online()) == {"ada": 1, "cy": 1}
        found = await until(watch, lambda change: isinstance(change, Roster) and "cy" in change.users)
        assert isinstance(found, Roster)
        assert dict(found.users) == {"ada": 1, "cy": 1}
        await late.close()


async def _unknown(presence: Presence) -> bool:
    return not (await presence.roster("r")).known


async def _has_when_known(presence: Presence, room: str, users: dict[str, int]) -> bool:
    roster = await presence.roster(room)
    return roster.known and dict(roster.users) == users


async def test_a_frozen_valkey_costs_no_caller_more_than_its_deadline(own_valkey: EmbeddedValkey) -> None:
    async with open_url(own_valkey.url, deadline="100ms") as wire, Presence(wire, **QUICK) as presence:
        own_valkey.freeze()
        async with asyncio.timeout(5):
            assert not (await presence.roster("r")).known
            await presence.connect("ada", rooms=["r"])
        own_valkey.thaw()
        await eventually(lambda: _has_when_known(presence, "r", {"ada": 1}))


async def test_a_flush_is_mended_by_every_worker_and_a_watcher_is_told_the_truth(
    workers: Callable[..., Any], valkey: EmbeddedValkey
) -> None:
    one, two = await workers(), await workers()
    await one.connect("ada", rooms=["r"])
    await two.connect("ben", rooms=["r"])
    dying = await workers()
    await dying.connect("cy", rooms=["r"])
    async with one.watch("r") as watch:
        assert users_of(await anext(watch)) == {"ada": 1, "ben": 1, "cy": 1}
        await drop_dead(dying)
        valkey.call("FLUSHALL")
        state = {"ada", "ben", "cy"}
        async with asyncio.timeout(15):
            while state != {"ada", "ben"}:
                change = await anext(watch)
                state = (
                    set(change.users) if isinstance(change, Roster) else (state - change.left) | change.joined
                )
    assert one.stats().reentered >= 1


@pytest.mark.parametrize("key", ["d", "o", "w", "u", "s", "v"])
async def test_whatever_key_of_a_room_is_evicted_the_room_mends(
    key: str, workers: Callable[..., Any], valkey: EmbeddedValkey
) -> None:
    one, two = await workers(), await workers()
    device = await one.connect("ada", rooms=["r"])
    await two.connect("ben", rooms=["r"])
    async with two.watch("r") as watch:
        await anext(watch)
        valkey.call("DEL", f"valtier:p:{{r}}:{key}")
        await device.close(at_once=True)
        await eventually(lambda: _has(two, "r", {"ben": 1}))
        state: set[str] = {"ada", "ben"}
        async with asyncio.timeout(10):
            while state != {"ben"}:
                change = await anext(watch)
                state = (
                    set(change.users) if isinstance(change, Roster) else (state - change.left) | change.joined
                )


async def test_a_user_who_is_in_several_rooms_is_online_overall_once(workers: Callable[..., Any]) -> None:
    one, two = await workers(), await workers()
    device = await one.connect("ada", "laptop", rooms=["a", "b"])
    await two.connect("ada", "phone")
    await two.connect("ben")
    assert users_of(await one.online()) == {"ada": 2, "ben": 1}
    assert users_of(await two.roster("a")) == {"ada": 1}
    await device.leave("a")
    await eventually(lambda: _has(two, "a", {}))
    assert users_of(await two.roster("b")) == {"ada": 1}
    await device.close(at_once=True)
    assert users_of(await two.online()) == {"ada": 1, "ben": 1}


async def test_watching_nobody_in_particular_is_watching_everybody(workers: Callable[..., Any]) -> None:
    one, two = await workers(), await workers()
    async with one.watch() as watch:
        device = await two.connect("ada")
        await until(
            watch, lambda change: "ada" in (change.users if isinstance(change, Roster) else change.joined)
        )
        await device.close(at_once=True)
        await until(watch, lambda change: isinstance(change, Diff) and change.left == {"ada"})


async def test_a_link_that_was_cut_shows_as_a_new_roster(valkey: EmbeddedValkey) -> None:
    async with (
        FaultProxy(valkey.port) as proxy,
        worker(valkey.url) as there,
        worker(proxy.url(valkey.url)) as here,
        here.watch("r") as watch,
    ):
        await anext(watch)
        proxy.refuse()
        proxy.cut()
        await there.connect("ada", rooms=["r"])
        proxy.heal()
        found = await until(watch, lambda change: isinstance(change, Roster) and change.known)
        assert isinstance(found, Roster)
        assert dict(found.users) == {"ada": 1}


async def test_a_worker_that_slept_through_its_lease_enters_its_devices_anew(
    workers: Callable[..., Any],
) -> None:
    sleepy, awake = await workers(), await workers()
    await sleepy.connect("ada", rooms=["r"])
    assert sleepy._keeper is not None
    sleepy._keeper.cancel()
    await eventually(lambda: _has(awake, "r", {}))
    sleepy._keeper = None
    await sleepy.start()
    await eventually(lambda: _has(awake, "r", {"ada": 1}))


async def test_a_device_that_fell_silent_does_not_come_back_with_its_workers_list(
    valkey: EmbeddedValkey,
) -> None:
    async with worker(valkey.url, ttl="100ms") as presence:
        await presence.connect("ada", rooms=["r"])
        await eventually(lambda: presence.stats().devices == 0)
        valkey.call("FLUSHALL")
        assert users_of(await presence.roster("r")) == {}


async def test_an_empty_room_leaves_nothing_but_who_was_seen(valkey: EmbeddedValkey) -> None:
    async with worker(valkey.url) as presence:
        device = await presence.connect("ada", rooms=["r"])
        await device.close(at_once=True)
        assert await eventually_keys(valkey, "*{r}*") == {b"valtier:p:{r}:s", b"valtier:p:{r}:v"}
        left = valkey.call("PTTL", "valtier:p:{r}:s")
        assert isinstance(left, int)
        assert 0 < left <= 90 * 24 * 3600 * 1000


async def eventually_keys(valkey: EmbeddedValkey, pattern: str) -> set[bytes]:
    found = valkey.call("KEYS", pattern)
    assert isinstance(found, list)
    return set(found)


async def test_without_use_redis_everything_is_unknown() -> None:
    async with Presence(None) as presence:
        device = await presence.connect("ada", rooms=["r"])
        await device.beat()
        await device.join("s")
        await device.close()
        assert await presence.standing("ada") == Standing("unknown")
        assert not (await presence.roster("r")).known
        with pytest.raises(ConfigurationError, match="USE_REDIS"):
            presence.watch("r")


async def test_names_of_any_characters_are_told_apart(workers: Callable[..., Any]) -> None:
    presence = await workers()
    names = ["a b", "a/b", "a%20b", "{x}", "ä", "a\nb", "\ud800", "*0"]
    async with presence.watch("{}/ \n") as watch:
        await anext(watch)
        for name in names:
            await presence.connect(name, "d/ \n", rooms=["{}/ \n"])
        joined: set[str] = set()
        async with asyncio.timeout(10):
            while len(joined) < len(names):
                change = await anext(watch)
                assert isinstance(change, Diff)
                joined |= change.joined
    assert joined == set(names)
    assert set((await presence.roster("{}/ \n")).users) == set(names)


@pytest.mark.parametrize("name", ["", "x" * 201, "ä" * 40, None, 7])
async def test_a_name_that_is_empty_or_too_long_is_refused(name: Any, workers: Callable[..., Any]) -> None:
    presence = await workers()
    with pytest.raises(ConfigurationError):
        await presence.connect(name)
    with pytest.raises(ConfigurationError):
        await presence.roster(name)


async def test_it_has_to_be_started_and_is_started_once(workers: Callable[..., Any]) -> None:
    presence = await workers()
    await presence.start()
    idle = Presence(presence._rooms.valkey)
    with pytest.raises(ConfigurationError, match="start"):
        await idle.connect("ada")
    await presence.stop()
    with pytest.raises(ConfigurationError):
        await presence.connect("ada")
    with pytest.raises(ConfigurationError):
        await presence.start()


@pytest.mark.parametrize(
    "options", [{"ttl": 0}, {"missed": 0}, {"lease": -1}, {"debounce": "x"}, {"prefix": "x" * 400}]
)
def test_what_can_never_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Presence(object() if "prefix" in options else None, **options)  # type: ignore[arg-type]


async def test_req43_a_restricted_user_runs_it(own_valkey: EmbeddedValkey) -> None:
    """Requirement 43: only its commands, only its keys and channels."""
    commands = [f"+{name}" for name in (*COMMANDS, "hello", "client", "info", "ping", "command", "select")]
    where = ["resetkeys", "resetchannels", "~valtier:p:*", "&valtier:p:*"]
    own_valkey.call("ACL", "SETUSER", "app", "on", ">secret", *where, "-@all", *commands)
    url = f"redis://app:secret@127.0.0.1:{own_valkey.port}"
    async with worker(url) as presence, presence.watch("r") as watch:
        await anext(watch)
        device = await presence.connect("ada", rooms=["r"])
        assert isinstance(await anext(watch), Diff)
        await device.beat()
        await device.close(at_once=True)
        await anext(watch)
        assert (await presence.standing("ada", viewer="ada")).last_seen is not None
        assert (await presence.online()).known


async def test_a_large_room_is_entered_and_left(workers: Callable[..., Any]) -> None:
    one, two = await workers(), await workers()
    devices: list[Device] = await asyncio.gather(*(one.connect(f"u{n}", rooms=["r"]) for n in range(1200)))
    assert len((await two.roster("r")).users) == 1200
    await one.stop()
    assert users_of(await two.roster("r")) == {}
    assert len(devices) == 1200


async def test_unavailable_is_not_raised(own_valkey: EmbeddedValkey) -> None:
    own_valkey.kill()
    try:
        async with worker(own_valkey.url) as presence:
            device = await presence.connect("ada", rooms=["r"])
            await device.leave("r")
            await device.close()
    except UnavailableError:
        pytest.fail("presence raised what it should count")
    finally:
        own_valkey.start()


async def test_req33_everybody_in_a_process_that_was_killed_is_gone(valkey: EmbeddedValkey) -> None:
    """Requirement 33: SIGKILL of a real worker; its people go within its lease and a third, nobody else does."""
    script = Path(__file__).with_name("presence_victim.py")
    async with worker(valkey.url, lease="900ms") as presence, presence.watch("r") as watch:
        await anext(watch)
        await presence.connect("survivor", rooms=["r"])
        victim = await asyncio.create_subprocess_exec(
            sys.executable, str(script), valkey.url, "5", stdout=asyncio.subprocess.PIPE
        )
        assert victim.stdout is not None
        assert await victim.stdout.readline() == b"ready\n"
        assert len((await presence.roster("r")).users) == 6
        victim.kill()
        await victim.wait()
        gone: set[str] = set()
        async with asyncio.timeout(10):
            while len(gone) < 5:
                change = await anext(watch)
                assert isinstance(change, Diff)
                gone |= change.left
        assert gone == {f"victim{n}" for n in range(5)}
        assert users_of(await presence.roster("r")) == {"survivor": 1}


async def test_it_is_the_same_on_every_server(every_url: str) -> None:
    async with worker(every_url) as one, worker(every_url) as two:
        for node in one._rooms.valkey.nodes():  # type: ignore[union-attr]
            await node.send("FLUSHALL")
        async with two.watch("r") as watch:
            assert users_of(await anext(watch)) == {}
            device = await one.connect("ada", rooms=["r"])
            assert await anext(watch) == Diff(frozenset({"ada"}), frozenset(), "r")
            assert users_of(await two.online()) == {"ada": 1}
            await device.close(at_once=True)
            assert await anext(watch) == Diff(frozenset(), frozenset({"ada"}), "r")
            told = await two.standing("ada", viewer="ada")
            assert told.state == "offline"
            assert told.last_seen is not None


async def test_the_tier_hands_it_out(valkey: EmbeddedValkey) -> None:
    async with (
        Tier.from_url(valkey.url, prefix="app") as tier,
        tier.presence(ttl="30s") as presence,
    ):
        await presence.connect("ada", rooms=["r"])
        assert users_of(await presence.roster("r")) == {"ada": 1}
        assert valkey.call("EXISTS", "app:p:{r}:d") == 1
    off = Tier.from_url(valkey.url, use_redis=False)
    assert await off.presence().standing("ada") == Standing("unknown")
