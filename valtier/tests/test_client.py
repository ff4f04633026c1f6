"""The client keeps a connection open where it can, and answers at once where it can't."""

import asyncio
import contextlib
import gc
import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest
from wires import QUICK, open_wire

from valtier import (
    ConfigurationError,
    DeadlineError,
    OutcomeUnknownError,
    OverloadedError,
    RejectedError,
    ReplyError,
    UnavailableError,
    ValkeyError,
)
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually
from valtier.wire import Address, Backoff, Script, Status, Valkey


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that accepts and says nothing."""
    try:
        with contextlib.suppress(ConnectionError):
            await reader.read()
    finally:
        writer.close()


async def test_it_signs_in_and_knows_the_server(valkey: EmbeddedValkey) -> None:
    async with open_wire(valkey.url) as wire:
        assert wire.available
        assert wire.server.name == "valkey"
        assert wire.server.version >= (9,)
        assert wire.server.run_id
        assert wire.server.protocol == 3
        name = await wire.call("CLIENT", "GETNAME")
        assert name == b"valtier"


async def test_many_callers_get_their_own_replies(valkey: EmbeddedValkey) -> None:
    async with open_wire(valkey.url, replace(QUICK, deadline_s=5.0)) as wire:

        async def own(n: int) -> bool:
            await wire.call("SET", f"k{n}", n)
            return await wire.call("GET", f"k{n}") == str(n).encode()  # type: ignore[no-any-return]

        assert all(await asyncio.gather(*(own(n) for n in range(5000))))


async def test_cancelled_callers_shift_nobodys_reply(valkey: EmbeddedValkey) -> None:
    async with open_wire(valkey.url) as wire:
        await wire.call("MSET", *(word for n in range(500) for word in (f"k{n}", str(n))))
        for round_ in range(20):
            futures = [wire.call("GET", f"k{n}") for n in range(500)]
            for future in futures[round_ % 3 :: 3]:
                future.cancel()
            for n, future in enumerate(futures):
                if not future.cancelled():
                    assert await future == str(n).encode()


async def test_several_commands_go_together_and_a_failed_one_keeps_its_place(valkey: EmbeddedValkey) -> None:
    async with open_wire(valkey.url) as wire:
        replies = await wire.call_many([("SET", "k", "v"), ("INCR", "k"), ("GET", "k")])
        assert (replies[0], replies[2]) == (b"OK", b"v")
        assert isinstance(replies[1], ReplyError)


async def test_a_script_that_the_server_forgot_is_sent_again(valkey: EmbeddedValkey) -> None:
    script = Script("return {KEYS[1], ARGV[1]}")
    async with open_wire(valkey.url) as wire:
        assert await script.run(wire, ("k",), ("a",)) == [b"k", b"a"]
        await wire.call("SCRIPT", "FLUSH")
        assert await script.run(wire, ("k",), ("b",)) == [b"k", b"b"]


async def test_a_database_number_is_selected(valkey: EmbeddedValkey) -> None:
    async with open_wire(valkey.url.rpartition("/")[0] + "/3") as three, open_wire(valkey.url) as zero:
        await three.call("SET", "k", "three")
        assert await zero.call("GET", "k") is None
        assert await three.call("GET", "k") == b"three"


async def test_nobody_there_means_no_error_at_start_and_none_waits(caplog: pytest.LogCaptureFixture) -> None:
    """With Valkey missing at the start, calls fail at once, without touching a socket."""
    async with open_wire("redis://:hunter2@127.0.0.1:1/0") as wire:
        assert wire.status is Status.DOWN
        before = time.perf_counter()
        for _ in range(1000):
            with pytest.raises(UnavailableError, match="nothing was sent"):
                wire.call("GET", "k")
        assert time.perf_counter() - before < 0.5
    assert "Continuing without cache" in caplog.text
    assert "retry in" in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_server_that_accepts_and_says_nothing_does_not_hold_up_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    before = time.perf_counter()
    async with open_wire(f"redis://127.0.0.1:{port}") as wire:
        assert time.perf_counter() - before < 1.5
        assert not wire.available
    server.close()
    await server.wait_closed()
    assert "Redis connection timeout (retry in" in caplog.text


async def test_a_wrong_password_says_what_to_check_and_is_not_shown(
    valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_wire(f"redis://:hunter2@127.0.0.1:{valkey.port}") as wire:
        assert not wire.available
    assert "Redis connection refused by the server" in caplog.text
    assert "WRONGPASS" in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_database_that_does_not_exist_is_a_refusal(
    valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_wire(valkey.url.rpartition("/")[0] + "/9999"):
        pass
    assert "refused by the server" in caplog.text
    assert issubclass(RejectedError, ReplyError)


async def test_it_gives_up_loudly_and_yet_comes_back(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    options = replace(QUICK, backoff=Backoff(base_s=0.001, cap_s=0.002, max_retries=3, probe_s=0.05))
    own_valkey.kill()
    async with open_wire(own_valkey.url, options) as wire:
        await eventually(lambda: "Redis max retries reached, giving up" in caplog.text)
        own_valkey.start()
        await eventually(lambda: wire.available)
        assert await wire.call("PING") == b"PONG"
    assert caplog.text.count("giving up") == 1


async def test_an_unforeseen_error_while_connecting_is_logged_and_tried_again(
    valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    made = Valkey.open(Address.parse(valkey.url), QUICK)
    tries = 0

    async def stumble(_: Valkey) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ZeroDivisionError

    made.on_ready(stumble)
    await made.start()
    assert not made.available
    await eventually(lambda: made.available)
    assert await made.call("PING") == b"PONG"
    await made.close()
    assert "An unforeseen error" in caplog.text


async def test_a_killed_server_fails_its_callers_and_is_found_again(own_valkey: EmbeddedValkey) -> None:
    async with open_wire(own_valkey.url) as wire:
        first = wire.server.run_id
        own_valkey.kill()
        await eventually(lambda: not wire.available)
        with pytest.raises(UnavailableError):
            wire.call("GET", "k")
        own_valkey.start()
        await eventually(lambda: wire.available)
        assert await wire.call("SET", "k", "v") == b"OK"
        assert wire.reconnects == 1
        assert wire.server.run_id != first


async def test_a_frozen_server_costs_a_caller_its_deadline_and_the_next_ones_nothing(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_wire(own_valkey.url, replace(QUICK, drop_after_s=30.0)) as wire:
        own_valkey.freeze()
        before = time.perf_counter()
        with pytest.raises(DeadlineError):
            await wire.call("GET", "k")
        assert time.perf_counter() - before < 0.4
        assert wire.status is Status.SLOW
        before = time.perf_counter()
        with pytest.raises(UnavailableError):
            wire.call("GET", "k")
        assert time.perf_counter() - before < 0.05
        own_valkey.thaw()
        await eventually(lambda: wire.available)
        assert wire.reconnects == 0  # the same connection goes on
        assert await wire.call("PING") == b"PONG"
    assert "Redis connection timeout" in caplog.text
    assert "Redis answers again" in caplog.text


async def test_a_connection_that_stays_mute_is_dropped_and_made_anew(own_valkey: EmbeddedValkey) -> None:
    async with open_wire(own_valkey.url, replace(QUICK, drop_after_s=0.6)) as wire:
        own_valkey.freeze()
        with pytest.raises(OutcomeUnknownError):
            await wire.call("GET", "k")
        await eventually(lambda: wire.status is Status.DOWN)
        own_valkey.thaw()
        await eventually(lambda: wire.available)
        assert await wire.call("PING") == b"PONG"
        assert wire.reconnects == 1


async def test_nothing_counts_twice_when_connections_are_cut(valkey: EmbeddedValkey) -> None:
    """INCRs through 20 cuts: never more than were sent, never fewer than were acknowledged."""
    async with open_wire(valkey.url) as wire, open_wire(valkey.url) as killer:
        sent = acknowledged = 0
        cutting = True

        async def count() -> None:
            nonlocal sent, acknowledged
            while cutting:
                try:
                    future = wire.call("INCR", "n")
                except UnavailableError:
                    await asyncio.sleep(0.001)
                    continue
                sent += 1
                try:
                    await future
                    acknowledged += 1
                except UnavailableError:
                    sent -= 1  # it says that nothing was sent
                except OutcomeUnknownError:
                    pass

        async def cut() -> None:
            nonlocal cutting
            own = await killer.call("CLIENT", "ID")
            for cuts in range(20):
                for line in (await killer.call("CLIENT", "LIST", "TYPE", "NORMAL")).decode().splitlines():
                    other = line.split()[0].removeprefix("id=")
                    if int(other) != own:
                        await killer.call("CLIENT", "KILL", "ID", other)
                await eventually(lambda cuts=cuts: wire.reconnects > cuts and wire.available)  # type: ignore[misc]
            cutting = False

        await asyncio.gather(cut(), *(count() for _ in range(20)))
        await eventually(lambda: wire.available)
        counted = int(await killer.call("GET", "n"))
        assert acknowledged <= counted <= sent
        assert wire.reconnects >= 20


async def test_a_steadily_slow_server_is_left_alone_but_for_probes(valkey: EmbeddedValkey) -> None:
    """Late replies don't close the breaker: else a third of all reads would wait out their deadline."""
    delay_s = 0.0

    async def slow_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", valkey.port)

        async def forward() -> None:
            while data := await reader.read(1 << 16):
                to_server.write(data)

        async def back() -> None:
            while data := await from_server.read(1 << 16):
                asyncio.get_running_loop().call_later(delay_s, writer.write, data)

        tasks = [asyncio.create_task(forward()), asyncio.create_task(back())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            to_server.close()
            writer.close()

    server = await asyncio.start_server(slow_line, "127.0.0.1", 0)
    url = valkey.url.replace(f":{valkey.port}/", f":{server.sockets[0].getsockname()[1]}/")
    async with open_wire(url, replace(QUICK, deadline_s=0.1, drop_after_s=30.0)) as wire:
        delay_s = 0.2
        waited = refused = 0
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            try:
                await wire.call("GET", "k")
            except OutcomeUnknownError:
                waited += 1
            except UnavailableError:
                refused += 1
                await asyncio.sleep(0.001)
        assert refused > 100
        assert waited == 1
        delay_s = 0.0
        await eventually(lambda: wire.available)
    server.close()
    await server.wait_closed()


async def test_a_server_that_greets_and_hangs_up_is_asked_with_patience() -> None:
    connections = 0

    async def fickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            await reader.read(10)
            writer.write(b"+OK\r\n" * 4)
            await asyncio.sleep(0.02)
        finally:
            writer.close()

    server = await asyncio.start_server(fickle, "127.0.0.1", 0)
    asked: list[int] = []

    class Recorded(Backoff):
        def delay_s(self, failures: int, random: float) -> float:
            asked.append(failures)
            return 0.0

    options = replace(QUICK, backoff=Recorded())
    async with open_wire(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", options):
        await eventually(lambda: len(asked) >= 3)
    server.close()
    await server.wait_closed()
    assert asked[:3] == [1, 2, 3]  # each wait longer: a connection that did not last is no success
    assert connections >= 3


async def test_closing_while_it_starts_ends_the_start() -> None:
    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    made = Valkey.open(
        Address.parse(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"),
        replace(QUICK, connect_timeout_s=30.0),
    )
    starting = asyncio.create_task(made.start())
    await asyncio.sleep(0.01)
    await made.close()
    async with asyncio.timeout(5):
        await starting
    with pytest.raises(ConfigurationError, match="closed"):
        await made.start()
    server.close()
    await server.wait_closed()


async def test_a_start_that_is_cancelled_leaves_nothing_behind() -> None:
    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    address = Address.parse(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    made = Valkey.open(address, replace(QUICK, connect_timeout_s=30.0))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await made.start()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("valtier-")]
    server.close()
    await server.wait_closed()


async def test_past_the_limit_the_commands_that_went_are_told_from_those_that_did_not(
    valkey: EmbeddedValkey,
) -> None:
    async with open_wire(valkey.url, replace(QUICK, max_in_flight=3)) as wire:
        replies = await wire.call_many([("INCR", "n")] * 5)
        assert replies[:3] == [1, 2, 3]
        assert [type(reply) for reply in replies[3:]] == [OverloadedError] * 2
        assert await wire.call("GET", "n") == b"3"


async def test_a_mute_connection_is_dropped_also_when_no_probe_fits(own_valkey: EmbeddedValkey) -> None:
    async with open_wire(own_valkey.url, replace(QUICK, max_in_flight=2, drop_after_s=0.6)) as wire:
        own_valkey.freeze()
        await asyncio.gather(wire.call("GET", "a"), wire.call("GET", "b"), return_exceptions=True)
        await eventually(lambda: wire.status is Status.DOWN)
        own_valkey.thaw()
        await eventually(lambda: wire.available)


async def test_ten_thousand_connections_opened_and_closed_leak_nothing(valkey: EmbeddedValkey) -> None:
    """Neither tasks, nor file descriptors, nor objects, nor connections at the server."""
    address = Address.parse(valkey.url)

    async def cycles(count: int) -> None:
        for _ in range(count):
            wire = Valkey.open(address, QUICK)
            await wire.start()
            await wire.call("PING")
            await wire.close()

    def held() -> tuple[int, int, int]:
        gc.collect()
        return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir())), len(gc.get_objects())

    await cycles(200)  # what is made once and kept has been made by then
    tasks, files, objects = held()
    await asyncio.gather(*(cycles(2_500) for _ in range(4)))
    tasks_after, files_after, objects_after = held()
    assert (tasks_after, files_after) == (tasks, files)
    assert objects_after < objects + 2_000
    async with open_wire(valkey.url) as wire:
        await eventually(lambda: _is_alone(wire))


async def _is_alone(wire: Valkey) -> bool:
    return len((await wire.call("CLIENT", "LIST")).splitlines()) == 1


async def test_a_unix_socket_serves_as_well(tmp_path: object) -> None:
    with EmbeddedValkey(
        __import__("pathlib").Path(str(tmp_path)),
        password="pw",
        settings={"save": "", "unixsocket": f"{tmp_path}/s"},
    ):
        made = Valkey.open(replace(Address.parse(f"unix://{tmp_path}/s"), password="pw"), QUICK)
        await made.start()
        assert await made.call("PING") == b"PONG"
        await made.close()


async def test_closing_fails_whoever_waits(own_valkey: EmbeddedValkey) -> None:
    made = Valkey.open(Address.parse(own_valkey.url), QUICK)
    await made.start()
    own_valkey.freeze()
    future = made.call("GET", "k")
    await asyncio.sleep(0)
    await made.close()
    with pytest.raises(ValkeyError):
        await future
    with pytest.raises(UnavailableError, match="closed"):
        made.call("GET", "k")
    own_valkey.thaw()
