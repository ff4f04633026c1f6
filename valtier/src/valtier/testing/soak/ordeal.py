"""The ordeal: callers at work while faults happen; then the faults end, and everything has to be right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from valtier.errors import ValkeyError
from valtier.testing.soak.journal import BrokenPromiseError
from valtier.testing.soak.plan import BLOB_SIZES, OWNERS, Op, blob, blob_key
from valtier.testing.soak.workload import Caller, Stalls
from valtier.wire import Valkey, WireOptions

_POLL_S = 0.01
_BREAKER_S = 0.5
_NOISE_S = 3.0  # of the machine


async def store_blobs(control: Valkey) -> None:
    """Stores what callers read. `control` reaches the server without faults, and patiently."""
    for owner in range(OWNERS):
        for size in range(len(BLOB_SIZES)):
            await control.call("SET", blob_key(owner, size), blob(owner, size))


async def begin(callers: Iterable[Caller], control: Valkey, epoch: int) -> None:
    """Gives each caller keys of its own that nobody has used yet."""
    for caller in callers:
        caller.journal.begin(epoch)
        await control.call("SET", caller.journal.key("counter"), caller.journal.base)


async def endure(
    workers: Sequence[tuple[Caller, Iterable[Op]]], faults: Callable[[], Awaitable[None]], stalls: Stalls
) -> None:
    """Lets callers work until `faults` has returned and each has ended what it was doing.

    Raises:
        BrokenPromiseError: a promise was broken; the first one that was.
    """
    over = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(stalls.watch())
            working = [group.create_task(caller.live(plan, over)) for caller, plan in workers]
            await faults()
            over.set()
            await asyncio.wait(working)
            watch.cancel()
    except* BrokenPromiseError as broken:
        raise first_of(broken) from None


def first_of(broken: BaseExceptionGroup[BrokenPromiseError]) -> BrokenPromiseError:
    """Returns a group's first error, on its own."""
    error: BaseException = broken
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return BrokenPromiseError(*error.args)


def recovery_s(options: WireOptions) -> float:
    """Returns the longest that a client may be unusable after the last fault, some noise of the machine included."""
    backoff = options.backoff
    tries = 2 * options.connect_timeout_s + 2 * max(backoff.cap_s, 1.25 * backoff.probe_s)
    return options.drop_after_s + _BREAKER_S + tries + 2 * options.deadline_s + _NOISE_S


async def recover(client: Valkey, options: WireOptions) -> float:
    """Waits until the client works again by itself. Returns how many seconds that took.

    Raises:
        BrokenPromiseError: it does not within `recovery_s`.
    """
    loop = asyncio.get_running_loop()
    began_at, error = loop.time(), "no try has ended"
    while loop.time() - began_at < recovery_s(options):
        try:
            async with asyncio.timeout(recovery_s(options)):
                await client.call("PING")
        except (ValkeyError, TimeoutError) as exc:
            error = repr(exc)
            await asyncio.sleep(_POLL_S)
        else:
            return loop.time() - began_at
    raise BrokenPromiseError(
        f"{recovery_s(options):.1f} s after the last fault the client is {client.status} and has not recovered: {error}"
    )


async def settle(callers: Iterable[Caller], control: Valkey) -> None:
    """Compares what callers know with what the server has, and removes it there.

    Raises:
        BrokenPromiseError: they differ.
    """
    for caller in callers:
        journal = caller.journal
        names = [journal.key(what) for what in ("counter", "marks", "register")]
        counter = int(await control.call("GET", names[0]))
        marks = await control.call("HGETALL", names[1])
        journal.settle(counter, {int(serial): int(times) for serial, times in marks.items()})
        await control.call("DEL", *names)
