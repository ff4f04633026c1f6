"""The soak: a short one keeps every promise, and its checks see each promise that is broken."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from valtier import UnavailableError
from valtier.testing.soak import BrokenPromiseError, Caller, Journal, Kind, Limits, Op, Outcome, Stalls, Tally
from valtier.testing.soak.faults import random_step
from valtier.testing.soak.vitals import Vitals, check_no_leak
from valtier.wire import Valkey

PATIENT = Limits(deadline_s=5.0)
QUICK = Limits(deadline_s=0.01, slack_s=0.02, hangs_s=0.1)

Call = Callable[..., Awaitable[Any]]


class Server:
    """Answers INCR and ECHO, and so does a client that is right."""

    def __init__(self, base: int) -> None:
        self.counter = base

    async def answer(self, *command: Any) -> Any:
        if command[0] == "INCR":
            self.counter += 1
            return self.counter
        return command[1]


async def live(call: Call, kinds: list[Kind], limits: Limits = PATIENT) -> Journal:
    """Lets a caller work on a client that has only `call`."""

    class Client:
        def call(self, *command: Any, idempotent: bool = False) -> asyncio.Future[Any]:
            return asyncio.ensure_future(call(*command))

    caller = Caller(cast("Valkey", Client()), 0, limits, Stalls(), Tally())
    caller.journal.begin(1)
    await caller.live([Op(kind) for kind in kinds], asyncio.Event())
    return caller.journal


def base() -> int:
    return Journal(0).base


async def test_a_client_that_keeps_its_promises_passes() -> None:
    server = Server(base())
    journal = await live(server.answer, [Kind.COUNT, Kind.ECHO, Kind.COUNT])
    journal.settle(server.counter, {})
    assert (journal.sends, journal.successes) == (2, 2)


async def test_a_reply_of_another_caller_is_seen() -> None:
    previous: list[Any] = [b"another's"]

    async def shifted(*command: Any) -> Any:
        previous.append(command[1])
        return previous.pop(0)

    with pytest.raises(BrokenPromiseError, match="instead of"):
        await live(shifted, [Kind.ECHO])
    with pytest.raises(BrokenPromiseError, match="counts from"):
        await live(Server(7_000).answer, [Kind.COUNT])


async def test_a_command_that_runs_twice_is_seen() -> None:
    server = Server(base())

    async def doubled(*command: Any) -> Any:
        await server.answer(*command)
        return await server.answer(*command)

    with pytest.raises(BrokenPromiseError, match="1 sends"):
        await live(doubled, [Kind.COUNT])


async def test_a_command_that_ran_and_was_reported_as_unsent_is_seen() -> None:
    server = Server(base())

    async def denied(*command: Any) -> Any:
        await server.answer(*command)
        raise UnavailableError("nothing was sent")

    journal = await live(denied, [Kind.COUNT])
    with pytest.raises(BrokenPromiseError, match="1 reported as unsent"):
        journal.settle(server.counter, {})


async def test_a_success_that_the_server_does_not_know_is_seen() -> None:
    server = Server(base())
    journal = await live(server.answer, [Kind.COUNT])
    with pytest.raises(BrokenPromiseError, match="1 successes"):
        journal.settle(base(), {})


@pytest.mark.parametrize(("outcome", "times"), [(Outcome.DONE, 0), (Outcome.UNSENT, 1), (Outcome.UNKNOWN, 2)])
def test_each_single_command_is_accounted_for(outcome: Outcome, times: int) -> None:
    journal = Journal(0)
    journal.begin(1)
    journal.marks[5] = outcome
    with pytest.raises(BrokenPromiseError, match="command 5"):
        journal.settle(journal.base, {5: times})


async def test_a_call_that_outlives_its_deadline_is_seen() -> None:
    async def late(*command: Any) -> Any:
        await asyncio.sleep(0.06)  # the slow peer
        return command[1]

    with pytest.raises(BrokenPromiseError, match="the deadline is"):
        await live(late, [Kind.ECHO], QUICK)


async def test_a_call_that_never_ends_is_seen() -> None:
    async def mute(*command: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(BrokenPromiseError, match="for ever"):
        await live(mute, [Kind.ECHO], QUICK)


async def test_an_error_that_no_fault_explains_is_seen() -> None:
    async def wrong(*command: Any) -> Any:
        raise RuntimeError("unforeseen")

    with pytest.raises(RuntimeError):
        await live(wrong, [Kind.ECHO])


async def test_a_task_that_is_left_behind_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valtier.testing.soak.vitals._SETTLES_S", 0.05)
    before = Vitals.now()
    await check_no_leak(before)
    task = asyncio.create_task(asyncio.Event().wait(), name="left behind")
    with pytest.raises(BrokenPromiseError, match="left behind"):
        await check_no_leak(before)
    task.cancel()


def test_a_seed_draws_the_same_faults_again_and_in_time_all_of_them() -> None:
    first, again = ([random_step(draw) for _ in range(200)] for draw in (random.Random(7), random.Random(7)))
    assert first == again
    assert len({step.fault for step in first}) == 9


def test_a_short_soak_as_a_command_keeps_every_promise() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "valtier.testing.soak", "--minutes", "0.15", "--seed", "3", "--clients", "2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every promise was kept" in done.stdout
    assert not done.stderr
