"""Vitals: each worker's report, and the reports of all who live."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import msgspec
import pytest

from valtier import ConfigurationError, Tier
from valtier.cache.slow import SlowLoads
from valtier.embedded import EmbeddedValkey
from valtier.testing import FaultProxy, eventually
from valtier.vitals import Durations, Timed, UnreadableReportError, Vitals, WorkerReport, acl, fleet
from valtier.vitals.fleet import index_key, report_key


def quiet(url: str, prefix: str, **options: object) -> Tier:
    """A tier that publishes when a test says so."""
    return Tier.from_url(url, prefix=prefix, deadline=5, **{"vitals_every": 0, **options})  # type: ignore[arg-type]


async def test_a_report_tells_what_was_counted_and_asks_nobody(valkey: EmbeddedValkey) -> None:
    async with quiet(valkey.url, "vr1") as tier:

        async def load() -> str:
            return "Ada"

        for _ in range(3):
            await tier.cache.get_or_set("user:1", 60, load)
        await tier.limiter("api", points=1, duration=60).hit("x")
        await tier.limiter("api", points=1, duration=60).hit("x")
        commands = tier.telemetry.total().commands
        report = tier.vitals.report()
        assert tier.telemetry.total().commands == commands
        user = report.cache["user"]
        assert user["local_hits"] + user.get("valkey_hits", 0) == 2
        assert (user["misses"], user["loads"]) == (1, 1)
        assert user["load_s"] > 0
        assert [key for key, _ in report.slow] == ["user:1"]
        assert report.sections["limits"]["api.allowed"] == 1
        assert report.sections["limits"]["api.denied"] == 1
        assert report.local["entries"] == 1
        assert 0 < report.local["bytes"] < report.local["max_bytes"]
        assert report.status == "ready"
        commands_link = next(link for link in report.wire if link.purpose == "commands")
        assert commands_link.histogram().count == sum(commands_link.latency_counts) > 0
        assert commands_link.counters["connects"] == 1


async def test_a_report_survives_the_journey(valkey: EmbeddedValkey) -> None:
    async with quiet(valkey.url, "vr2") as tier:
        tier.vitals.add(
            "queue", lambda: {"waiting": 3, "name": "mail", "open": True, "none": None}, levels=["waiting"]
        )
        tier.vitals.add_durations("http", lambda: Durations(["route"], [0.1], [Timed(["/"], [2, 1], 0.5)]))
        report = tier.vitals.report()
        back = WorkerReport.decode(report.encode())
    assert back == report
    assert back.sections["queue"] == {"waiting": 3, "name": "mail", "open": 1}
    assert back.levels["queue"] == ["waiting"]
    assert back.durations["http"].series[0].counts == [2, 1]


async def test_every_worker_is_in_the_fleet_until_it_ends(valkey: EmbeddedValkey) -> None:
    one = Tier.from_url(valkey.url, prefix="vr3", client_name="one", vitals_every=0.05)
    two = Tier.from_url(valkey.url, prefix="vr3", client_name="two", vitals_every=0.05)
    async with two:
        async with one:

            async def names() -> list[str]:
                return [report.name for report in await fleet(two.valkey, "vr3")]

            async def both() -> bool:
                return await names() == ["one", "two"]

            await eventually(both)
        assert await names() == ["two"]
        [report] = await fleet(two.valkey, "vr3")
        assert report.worker == two.vitals.worker


async def test_a_worker_that_was_killed_leaves_the_fleet_when_its_reports_stop(
    valkey: EmbeddedValkey,
) -> None:
    async with quiet(valkey.url, "vr4") as tier:
        await tier.vitals.publish()
        await tier.vitals.publish()
        key, index = report_key("vr4", tier.vitals.worker), index_key("vr4")
        assert 0 < await tier.valkey.call("PTTL", key) <= 1000
        assert 0 < await tier.valkey.call("PTTL", index) <= 1000
        await tier.valkey.call("ZADD", index, 1, "long-dead")
        assert len(await fleet(tier.valkey, "vr4")) == 1  # a name without a report is nobody
        await tier.vitals.publish()
        assert await tier.valkey.call("ZRANGE", index, 0, -1) == [tier.vitals.worker.encode()]


async def test_while_valkey_is_away_nothing_is_published_and_that_is_counted(valkey: EmbeddedValkey) -> None:
    async with (
        FaultProxy(valkey.port) as proxy,
        Tier.from_url(proxy.url(valkey.url), prefix="vr5", vitals_every=0.02) as tier,
    ):
        await eventually(lambda: tier.vitals.published > 0)
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: tier.vitals.unpublished > 1)
        assert float(tier.vitals.report().sections["vitals"]["unpublished"]) > 1
        proxy.heal()
        before = tier.vitals.published
        await eventually(lambda: tier.vitals.published > before)


async def test_reports_that_can_not_be_read_are_passed_over(valkey: EmbeddedValkey) -> None:
    async with quiet(valkey.url, "vr6") as tier:
        await tier.vitals.publish()
        foreign = msgspec.structs.replace(tier.vitals.report(), format=99)
        for name, data in (("junk", b"{"), ("foreign", foreign.encode())):
            await tier.valkey.call("SET", report_key("vr6", name), data)
            await tier.valkey.call("ZADD", index_key("vr6"), 9e15, name)
        found = await fleet(tier.valkey, "vr6")
        assert (len(found), found.skipped) == (1, 2)
        with pytest.raises(UnreadableReportError, match="format 99"):
            WorkerReport.decode(foreign.encode())


async def test_a_fleet_of_many_is_read_in_parts(valkey: EmbeddedValkey) -> None:
    async with quiet(valkey.url, "vr7") as tier:
        report = tier.vitals.report()
        for number in range(120):
            name = f"{number:03}"
            data = msgspec.structs.replace(report, worker=name).encode()
            await tier.valkey.call_many(
                [("SET", report_key("vr7", name), data), ("ZADD", index_key("vr7"), 9e15, name)]
            )
        assert [one.worker for one in await fleet(tier.valkey, "vr7")] == [f"{n:03}" for n in range(120)]


async def test_a_source_that_fails_takes_nothing_else_with_it(caplog: pytest.LogCaptureFixture) -> None:
    vitals = Vitals(None)

    def broken() -> dict[str, int]:
        raise RuntimeError("not now")

    remove = vitals.add("broken", broken)
    vitals.add("sound", lambda: {"one": 1})
    vitals.cache = broken  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR, "valtier"):
        assert "broken" not in vitals.report().sections
        report = vitals.report()
    assert report.sections["sound"] == {"one": 1}
    assert report.cache == {}
    assert float(vitals.report().sections["vitals"]["source_errors"]) > 0
    assert len(caplog.records) == 2, "each is told once"
    remove()
    errors = vitals._sources.errors
    vitals.cache = dict
    vitals.report()
    assert vitals._sources.errors == errors


def test_being_counted_keeps_nobody_alive() -> None:
    class Queue:
        def numbers(self) -> dict[str, int]:
            return {"waiting": 1, "done": 10}

    vitals = Vitals(None)
    queues = [Queue(), Queue()]
    alive = [weakref.ref(queue) for queue in queues]
    removes = [vitals.add("queue", queue.numbers, levels=("waiting",)) for queue in queues]
    assert vitals.report().sections["queue"] == {"waiting": 2, "done": 20}
    del queues[0]
    gc.collect()
    removes[0]()
    assert vitals.report().sections["queue"] == {"waiting": 1, "done": 20}
    queues.clear()
    gc.collect()
    assert [reference() for reference in alive] == [None, None]
    for _ in range(3):
        assert vitals.report().sections["queue"] == {"done": 20}, "what was counted stays"


def test_counters_stay_while_their_source_fails_and_when_it_is_removed() -> None:
    vitals, fails = Vitals(None), False

    def numbers() -> dict[str, int]:
        if fails:
            raise RuntimeError("not now")
        return {"waiting": 1, "done": 10}

    remove = vitals.add("queue", numbers, levels=("waiting",))
    assert vitals.report().sections["queue"] == {"waiting": 1, "done": 10}
    fails = True
    assert vitals.report().sections["queue"] == {"done": 10}
    fails = False
    remove()
    remove()
    assert vitals.report().sections["queue"] == {"done": 10}


def test_thousands_of_namespaces_are_summed_up_so_that_each_only_grows() -> None:
    vitals = Vitals(None)
    spaces = {f"n{number}": {"misses": 1.0, "loads": number} for number in range(1000)}
    vitals.cache = lambda: dict(spaces)
    first = vitals.report().cache
    assert len(first) == 200
    assert sum(counters["misses"] for counters in first.values()) == 1000
    spaces["n999"]["misses"] = 500.0
    later = vitals.report().cache
    assert later.keys() == first.keys()
    assert all(later[name]["misses"] >= first[name]["misses"] for name in first)


@pytest.mark.parametrize("name", ["", "two words", "a.b", "ü"])
def test_a_section_that_can_not_be_named_so_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        Vitals(None).add(name, dict)


def test_an_interval_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="vitals_every"):
        Tier.from_url("redis://127.0.0.1:1", vitals_every=-1)


async def test_without_valkey_there_is_a_report_and_nothing_is_published() -> None:
    async with Tier.from_url("redis://127.0.0.1:1", use_redis=False) as tier:
        assert not await tier.vitals.publish()
        report = tier.vitals.report()
        assert (report.status, report.wire) == ("disabled", [])


async def test_a_user_with_the_rights_that_are_named_publishes_and_reads(own_valkey: EmbeddedValkey) -> None:
    rules = [*acl("vr8"), "+ping", "+info", "+client|setinfo"]
    own_valkey.call("ACL", "SETUSER", "reporter", "reset", "on", ">secret", "-@all", *rules)
    own_valkey.call("ACL", "LOG", "RESET")
    url = own_valkey.url.replace(f":{own_valkey.password}@", "reporter:secret@")
    tier = Tier.from_url(url, prefix="vr8", local_bytes=0, vitals_every=0.02)
    await tier.valkey.start()
    tier.vitals.start()
    await eventually(lambda: tier.vitals.published > 1)
    assert len(await fleet(tier.valkey, "vr8")) == 1
    await tier.vitals.stop()
    assert await fleet(tier.valkey, "vr8") == []
    await tier.close()
    refused = [entry for entry in own_valkey.call("ACL", "LOG") if b"vitals" in str(entry).encode()]
    assert refused == []


async def test_a_user_without_the_rights_is_told_once(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    own_valkey.call("ACL", "SETUSER", "mute", "reset", "on", ">secret", "+@all", "-evalsha", "~*", "&*")
    url = own_valkey.url.replace(f":{own_valkey.password}@", "mute:secret@")
    async with Tier.from_url(url, prefix="vr9", vitals_every=0.02) as tier:
        await eventually(lambda: tier.vitals.unpublished > 3)
    assert sum("refuses this worker's report" in record.message for record in caplog.records) == 1


async def test_the_fleet_is_the_same_on_every_server(every_url: str) -> None:
    async with Tier.from_url(every_url, prefix="vr10", vitals_every=0, deadline=5) as tier:
        assert await tier.vitals.publish()
        assert [report.worker for report in await fleet(tier.valkey, "vr10")] == [tier.vitals.worker]
        tier.vitals._every_s = 3600  # so that closing it withdraws what was published
        tier.vitals.start()
        await tier.vitals.stop()
        assert await fleet(tier.valkey, "vr10") == []


async def test_closing_twice_and_in_the_middle_of_a_publication_is_harmless(valkey: EmbeddedValkey) -> None:
    tier = Tier.from_url(valkey.url, prefix="vr11", vitals_every=0.001)
    await tier.start()
    for _ in range(20):
        await asyncio.sleep(0)
    await tier.close()
    await tier.close()


async def test_the_canary_measures_how_late_messages_come(valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(valkey.url, prefix="vr12", canary=0.2, vitals_every=0) as tier:
        await eventually(lambda: tier.cache.invalidation_lag_s is not None)
        lag_s = tier.vitals.report().local["invalidation_lag_s"]
        assert 0 < lag_s < 5


def test_slow_loads_are_bounded_and_forgotten() -> None:
    slow = SlowLoads()
    for number in range(100):
        slow.note(f"k{number}", number / 100, at=float(number))
    found = slow.slowest(100.0)
    assert [key for key, _ in found] == [f"k{number}" for number in range(99, 79, -1)]
    slow.note("k99", 5.0, at=160.0)
    assert slow.slowest(160.0)[0] == ("k99", 5.0)
    assert ("k98", 0.98) in slow.slowest(160.0)
    assert slow.slowest(320.0) == [("k99", 5.0)]
    assert slow.slowest(10_000.0) == []
