"""Callers that ask for what only they can be answered, in every way the client offers, and give up now and then."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from valtier.errors import OutcomeUnknownError, ReplyError, UnavailableError, ValkeyError
from valtier.testing.soak.journal import BrokenPromiseError, Journal, Outcome
from valtier.testing.soak.plan import BLOB_SIZES, OWNERS, Kind, Op, blob, blob_key
from valtier.wire import Argument, Reply, Script, Valkey

GARBAGE = b"\xff"
"""What the proxy puts into replies; nothing else here holds it."""
_UNSENT_PAUSE_S = 0.002
_COUNT = Script("return {ARGV[1], redis.call('INCR', KEYS[1]), redis.call('HINCRBY', KEYS[2], ARGV[2], 1)}")


@dataclass(slots=True)
class Tally:
    """What all callers together have seen."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    worst_wait_s: float = 0.0


class Stalls:
    """Counts the time for which this process itself did not run, so that nobody else is blamed for it."""

    _EVERY_S = 0.005

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._past_s = 0.0
        self._due = math.inf

    @property
    def total_s(self) -> float:
        return self._past_s + max(0.0, self._loop.time() - self._due)

    async def watch(self) -> None:
        while True:
            self._due = self._loop.time() + self._EVERY_S
            await asyncio.sleep(self._EVERY_S)
            self._past_s = self.total_s


@dataclass(frozen=True, slots=True)
class Limits:
    """What the client promised: the longest that a command may take, and some noise of the machine."""

    deadline_s: float
    slack_s: float = 0.25
    hangs_s: float = 5.0
    """Whoever waits so much longer waits for ever."""


class Caller:
    """One task's worth of commands on one client. Every reply is checked to be its own."""

    def __init__(self, client: Valkey, number: int, limits: Limits, stalls: Stalls, tally: Tally) -> None:
        self.client = client
        self.journal = Journal(number)
        self._limits = limits
        self._stalls = stalls
        self._tally = tally
        self._serial = 0
        self._unsent = False  # by the last command: then there is no hurry with the next

    async def live(self, plan: Iterable[Op], over: asyncio.Event) -> None:
        """Does one thing after the other until the plan ends or `over` is set.

        Raises:
            BrokenPromiseError: a promise was broken.
        """
        for op in plan:
            if over.is_set():
                return
            self._unsent = False
            await self._do(op)
            await asyncio.sleep(_UNSENT_PAUSE_S if self._unsent else 0)

    async def _do(self, op: Op) -> None:
        work, rounds = self._work(op)
        loop = asyncio.get_running_loop()
        began_at, stalled_s = loop.time(), self._stalls.total_s
        may_take_s = rounds * self._limits.deadline_s + self._limits.slack_s
        task = loop.create_task(_giving_up(work, op) if op.patience_s is not None else work)
        done, _ = await asyncio.wait([task], timeout=may_take_s + self._limits.hangs_s)
        if not done:
            task.cancel()
            raise BrokenPromiseError(
                f"{op} waits for ever: nothing came in {may_take_s + self._limits.hangs_s:.1f} s"
            )
        if task.result() is Outcome.GIVEN_UP:
            self._tally.outcomes[Outcome.GIVEN_UP] += 1
        waited_s = loop.time() - began_at - (self._stalls.total_s - stalled_s)
        self._tally.worst_wait_s = max(self._tally.worst_wait_s, waited_s / rounds)
        if waited_s > may_take_s:
            raise BrokenPromiseError(
                f"{op} took {waited_s:.3f} s; the deadline is {self._limits.deadline_s:g} s, rounds: {rounds}"
            )

    def _work(self, op: Op) -> tuple[Coroutine[Any, Any, None], int]:
        """Returns what is to be done, and how many round trips it may take."""
        match op.kind:
            case Kind.ECHO:
                return self._echo(BLOB_SIZES[op.size % len(BLOB_SIZES)]), 1
            case Kind.GET:
                return self._get(op.size), 1
            case Kind.COUNT:
                return self._count(), 1
            case Kind.MARK:
                return self._mark(), 2
            case Kind.MANY:
                return self._many(op.size + 1), 1
            case Kind.PIPELINE:
                return self._pipeline(op.size + 1), 1
            case Kind.REGISTER:
                return self._register(), 2

    # -- what callers do -----------------------------------------------------------------------------------

    async def _echo(self, size: int) -> None:
        payload = self._token(size)
        self._expect(payload, await self._ask("ECHO", payload))

    async def _get(self, size: int) -> None:
        owner, size = self._serial % OWNERS, size % len(BLOB_SIZES)
        self._serial += 1
        self._expect(
            blob(owner, size), await self._ask("GET", blob_key(owner, size), idempotent=bool(owner % 2))
        )

    async def _count(self) -> None:
        self.journal.sends += 1
        self._counted(await self._ask("INCR", self.journal.key("counter")))

    async def _mark(self) -> None:
        journal, token = self.journal, self._token()
        serial = self._serial
        journal.sends += 1
        journal.marks[serial] = Outcome.UNKNOWN
        reply = await self._answer(
            _COUNT.run(self.client, (journal.key("counter"), journal.key("marks")), (token, serial))
        )
        if isinstance(reply, Outcome):
            journal.marks[serial] = reply
            self._counted(reply)
        elif not _is_garbled(reply):
            if not isinstance(reply, list) or len(reply) != 3 or reply[0] != token or reply[2] != 1:
                raise BrokenPromiseError(
                    f"a script that ran as {token!r} for the first time was answered {reply!r}"
                )
            journal.marks[serial] = Outcome.DONE
            self._counted(reply[1])
        else:
            self._tally.outcomes[Outcome.GARBLED] += 1

    async def _many(self, count: int) -> None:
        commands, expected = self._mixed(count)
        self.journal.sends += sum(want is None for want in expected)
        try:
            replies = await self.client.call_many(commands)
        except ValkeyError as exc:
            replies = [exc] * count
        for want, reply in zip(expected, replies, strict=True):
            self._judge(want, reply)

    async def _pipeline(self, count: int) -> None:
        """Commands of one turn, of which some are given up before or after they are written."""
        commands, expected = self._mixed(count)
        futures: list[asyncio.Future[Reply]] = []
        for command, want in zip(commands, expected, strict=True):
            self.journal.sends += want is None
            try:
                futures.append(self.client.call(*command))
            except UnavailableError as exc:
                futures.append(_failed(exc))
        waiting = asyncio.gather(*futures, return_exceptions=True)
        for future in futures[self._serial % 3 :: 5]:
            future.cancel()
        await asyncio.sleep(0)
        for future in futures[self._serial % 4 :: 7]:
            future.cancel()
        replies = await waiting
        for want, reply in zip(expected, replies, strict=True):
            if isinstance(reply, asyncio.CancelledError):
                self._tally.outcomes[Outcome.GIVEN_UP] += 1
            else:
                self._judge(want, reply)

    async def _register(self) -> None:
        journal, token = self.journal, self._token()
        journal.registered.add(token)
        done = await self._ask("SET", journal.key("register"), token, idempotent=True)
        if done is Outcome.UNSENT:
            journal.registered.discard(token)
        elif not isinstance(done, Outcome):
            self._expect(b"OK", done)
            journal.has_registered = True
        value = await self._ask("GET", journal.key("register"), idempotent=True)
        if isinstance(value, Outcome) or _is_garbled(value):
            return
        if value not in journal.registered and (value is not None or journal.has_registered):
            raise BrokenPromiseError(
                f"the register of caller {journal.number} holds {value!r}, which was not sent to it"
            )

    # -- how replies are judged ----------------------------------------------------------------------------

    async def _ask(self, *command: Argument, idempotent: bool = False) -> Reply | Outcome:
        try:
            future = self.client.call(*command, idempotent=idempotent)
        except UnavailableError as exc:
            return self._note(exc)
        return await self._answer(future)

    async def _answer(self, coming: Any) -> Reply | Outcome:
        """Returns the reply, or what became of the command."""
        try:
            return await coming
        except ValkeyError as exc:
            return self._note(exc)

    def _note(self, error: BaseException) -> Outcome:
        outcome = _outcome(error)
        self._tally.outcomes[outcome] += 1
        self._unsent |= outcome in (Outcome.UNSENT, Outcome.REFUSED)
        return outcome

    def _judge(self, want: bytes | None, reply: Any) -> None:
        if isinstance(reply, BaseException):
            reply = self._note(reply)
        if want is None:
            self._counted(reply)
        else:
            self._expect(want, reply)

    def _counted(self, reply: Any) -> None:
        if reply is Outcome.UNSENT:
            self.journal.unsent += 1
        if isinstance(reply, Outcome):
            return
        if not isinstance(reply, int):
            raise BrokenPromiseError(f"an INCR of caller {self.journal.number} was answered {_short(reply)}")
        self.journal.counted(reply)
        self._tally.outcomes[Outcome.DONE] += 1

    def _expect(self, want: bytes, reply: Any) -> None:
        if isinstance(reply, Outcome):
            return
        garbled = _is_garbled(reply)
        if reply != want and not garbled:
            raise BrokenPromiseError(
                f"caller {self.journal.number} got {_short(reply)} instead of {_short(want)}"
            )
        self._tally.outcomes[Outcome.GARBLED if garbled else Outcome.DONE] += 1

    def _mixed(self, count: int) -> tuple[list[tuple[Argument, ...]], list[bytes | None]]:
        """Returns commands, and for each the reply that is due; `None` for one that counts."""
        commands: list[tuple[Argument, ...]] = []
        expected: list[bytes | None] = []
        for n in range(count):
            if n % 3 == 0:
                commands.append(("INCR", self.journal.key("counter")))
                expected.append(None)
            elif n % 3 == 1:
                payload = self._token()
                commands.append(("ECHO", payload))
                expected.append(payload)
            else:
                owner, size = self._serial % OWNERS, n % 3
                commands.append(("GET", blob_key(owner, size)))
                expected.append(blob(owner, size))
        return commands, expected

    def _token(self, size: int = 0) -> bytes:
        """Returns text that was never sent before, at least `size` long."""
        self._serial += 1
        token = b"c%dn%dx" % (self.journal.number, self._serial)
        return token * max(1, size // len(token))


async def _giving_up(work: Coroutine[Any, Any, None], op: Op) -> Outcome | None:
    if op.by_task:
        task = asyncio.get_running_loop().create_task(work)
        await asyncio.wait([task], timeout=op.patience_s)
        task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            return Outcome.GIVEN_UP
        task.result()
        return None
    try:
        async with asyncio.timeout(op.patience_s):
            await work
    except TimeoutError:
        return Outcome.GIVEN_UP
    return None


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, UnavailableError):
        return Outcome.UNSENT
    if isinstance(error, OutcomeUnknownError):
        return Outcome.UNKNOWN
    if isinstance(error, ReplyError) and error.code == "LOADING":
        return Outcome.REFUSED
    raise BrokenPromiseError(f"an error that nothing here can cause: {error!r}") from error


def _is_garbled(reply: Any) -> bool:
    if isinstance(reply, list):
        return any(_is_garbled(part) for part in reply)
    return isinstance(reply, bytes) and GARBAGE in reply


def _failed(error: Exception) -> asyncio.Future[Reply]:
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    future.exception()  # it may be given up before anybody asks
    return future


def _short(reply: Any) -> str:
    text = repr(reply)
    return text if len(text) < 80 else f"{text[:60]}… ({len(reply)} long)"
