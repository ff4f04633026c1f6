"""What the tasks of one process do, at random: read, write, invalidate, and give up."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from bench.staleness.adapters import Adapter
from bench.staleness.driving import drive
from bench.staleness.history import Kind, Recorder, Via
from bench.staleness.keys import Key, unpack
from bench.staleness.origin import LoadFailedError, Origin

_WRITES = 0.045
_TAG_WRITES = 0.012
_INVALIDATIONS = 0.003
_MANY_READS = 0.03
_MANY = 6
_GIVING_UP = 0.02
_PATIENCE_S = 0.008
_HANGS_AFTER_S = 10.0
_NOBODY = 0
"""Stands for a task where none of the tasks acts."""
_TRIES = 50
_TRY_AGAIN_S = 0.1

now = time.monotonic_ns


class _Load:
    """A loader that remembers whether it ran."""

    __slots__ = ("_key", "_origin", "_reader", "_recorder", "ran")

    def __init__(self, origin: Origin, recorder: Recorder, key: int, reader: int) -> None:
        self._origin = origin
        self._recorder = recorder
        self._key = key
        self._reader = reader
        self.ran = False

    async def __call__(self) -> int:
        self.ran = True
        begin = now()
        value = await self._origin.load(self._key)
        version = unpack(self._key, value)
        self._recorder.add(
            Kind.LOADED, self._key, begin=begin, end=now(), version=version, reader=self._reader
        )
        return value


class Tasks:
    """The tasks of one process. Guarded by its event loop."""

    def __init__(
        self, adapter: Adapter, origin: Origin, keys: Sequence[Key], recorder: Recorder, draw: random.Random
    ) -> None:
        self._adapter = adapter
        self._origin = origin
        self._keys = keys
        self._by_tag = {
            tag: [key for key in keys if tag in key.tags]
            for tag in sorted({t for key in keys for t in key.tags})
        }
        self._tags = list(self._by_tag)
        self._recorder = recorder
        self._draw = draw
        self._many = adapter.read_many
        self.errors: Counter[str] = Counter()
        self.over = False
        """Tells the tasks to end what they are doing, and no more."""
        self.crash = False
        """Kills this process after the next COMMIT, before its invalidation."""
        self.owes = False
        """Whether acknowledged invalidations wait for delivery."""

    async def live(self, reader: int) -> None:
        """One task: one operation after another until it is over."""
        while not self.over:
            operation = self._choose()(reader)
            if self._draw.random() < _GIVING_UP:
                await self._endure(self._give_up(operation, reader), reader)
            else:
                await self._endure(operation, reader)

    def _choose(self) -> Callable[[int], Coroutine[Any, Any, None]]:
        luck = self._draw.random()
        if luck < _WRITES:
            return self._write
        if luck < _WRITES + _TAG_WRITES:
            return self._write_tag
        if luck < _WRITES + _TAG_WRITES + _INVALIDATIONS:
            return self._invalidate
        if self._many is not None and luck > 1 - _MANY_READS:
            return self._read_many
        return self._read

    # -- what happens to an operation ------------------------------------------------------------------------

    async def _endure(self, operation: Coroutine[Any, Any, None], reader: int) -> None:
        """Lets it fail as it may: a failure is noted, and does not end the task."""
        begin = now()
        try:
            async with asyncio.timeout(_HANGS_AFTER_S):
                await operation
        except LoadFailedError:
            self._recorder.add(Kind.LOAD_FAILED, begin=begin, end=now(), reader=reader)
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._note_error(
                exc, begin, reader
            )  # somebody else's cancellation, which is none of the caller's
        except Exception as exc:  # noqa: BLE001 - whatever a cache raises is counted by its name
            self._note_error(exc, begin, reader)

    def _note_error(self, exc: BaseException, begin: int, reader: int) -> None:
        self.errors[type(exc).__name__] += 1
        self._recorder.add(Kind.ERROR, begin=begin, end=now(), reader=reader)

    async def _give_up(self, operation: Coroutine[Any, Any, None], reader: int) -> None:
        """Cancels it after some milliseconds if it has not ended by then."""
        begin = now()
        task = asyncio.create_task(operation)
        timer = asyncio.get_running_loop().call_later(self._draw.random() * _PATIENCE_S, task.cancel)
        try:
            await asyncio.wait([task])
        finally:
            timer.cancel()
            task.cancel()
        if task.cancelling() and (task.cancelled() or task.exception() is not None):
            self._recorder.add(Kind.CANCELLED, begin=begin, end=now(), reader=reader)
        else:
            task.result()

    # -- reading ---------------------------------------------------------------------------------------------

    def _pick(self, keys: Sequence[Key]) -> Key:
        return keys[int(self._draw.random() * self._draw.random() * len(keys))]  # some are hotter than others

    def _loader(self, key: Key, reader: int) -> _Load:
        return _Load(self._origin, self._recorder, key.number, reader)

    async def _read(self, reader: int) -> None:
        key = self._pick(self._keys)
        load = self._loader(key, reader)
        begin = now()
        value, waited = await drive(self._adapter.read(key, load))
        end = now()
        self._recorder.add(
            Kind.READ,
            key.number,
            begin=begin,
            end=end,
            version=unpack(key.number, value),
            reader=reader,
            via=Via.LOADER if load.ran else Via.CACHE if waited else Via.LOCAL,
        )
        if not waited:
            await asyncio.sleep(0)  # others want to run too

    async def _read_many(self, reader: int) -> None:
        if self._many is None:
            return
        first = self._pick(self._keys)
        same_class = self._keys[first.number % 2 :: 2]
        keys = {key.name: key for key in (first, *(self._pick(same_class) for _ in range(_MANY - 1)))}
        loaded: set[str] = set()

        async def load(missing: list[str]) -> dict[str, int]:
            loaded.update(missing)
            values = await self._origin.load_many([keys[name].number for name in missing])
            return {name: values[keys[name].number] for name in missing}

        begin = now()
        values = await self._many(list(keys.values()), load)
        end = now()
        for at, (name, key) in enumerate(keys.items()):
            self._recorder.add(
                Kind.READ_MORE if at else Kind.READ,
                key.number,
                begin=begin,
                end=end,
                version=unpack(key.number, values[name]),
                reader=reader,
                via=Via.LOADER if name in loaded else Via.UNKNOWN,
            )
        await asyncio.sleep(0)

    async def read_all(self) -> None:
        """Reads every key once, patiently: what is seen when everything has come to rest."""
        for key in self._keys:
            await self._read_finally(key)
        self._recorder.flush()

    async def _read_finally(self, key: Key) -> None:
        for patience in reversed(range(_TRIES)):
            begin = now()
            try:
                async with asyncio.timeout(_HANGS_AFTER_S):
                    value = await self._adapter.read(key, self._loader(key, _NOBODY))
            except Exception:
                if not patience:
                    raise
                await asyncio.sleep(
                    _TRY_AGAIN_S
                )  # a loader fails on purpose, a peer has dead connections left
            else:
                version = unpack(key.number, value)
                self._recorder.add(Kind.FINAL, key.number, begin=begin, end=now(), version=version)
                return

    # -- writing and invalidating ----------------------------------------------------------------------------

    async def _write(self, reader: int) -> None:
        key = self._pick(self._keys)
        begin = now()
        version = await self._origin.write(key.number)
        self._recorder.add(Kind.WRITE, key.number, begin=begin, end=now(), version=version, reader=reader)
        self._crash_if_told()
        await self._origin.pause()
        await self._acknowledge(self._adapter.invalidate(key), [(key.number, version)], reader)

    async def _write_tag(self, reader: int) -> None:
        tag = self._draw.choice(self._tags)
        begin = now()
        rows = await self._origin.write_tag(tag)
        end = now()
        for at, (number, version) in enumerate(rows):
            kind = Kind.WRITE_MORE if at else Kind.WRITE
            self._recorder.add(kind, number, begin=begin, end=end, version=version, reader=reader)
        self._crash_if_told()
        await self._origin.pause()
        await self._acknowledge(self._adapter.invalidate_tag(tag, self._by_tag[tag]), rows, reader)

    async def _invalidate(self, reader: int) -> None:
        key = self._pick(self._keys)
        begin = now()
        version = await self._origin.version(key.number)
        await self._acknowledge(self._adapter.invalidate(key), [(key.number, version)], reader)
        self._recorder.add(Kind.INVALIDATE, key.number, begin=begin, end=now(), reader=reader)

    async def invalidate_all(self, numbers: Iterable[int]) -> None:
        """Does what the dead have left undone."""
        for number in numbers:
            for patience in reversed(range(_TRIES)):
                try:
                    version = await self._origin.version(number)
                    await self._acknowledge(
                        self._adapter.invalidate(self._keys[number]), [(number, version)], _NOBODY
                    )
                except Exception:
                    if not patience:
                        raise
                    await asyncio.sleep(_TRY_AGAIN_S)
                else:
                    break

    async def _acknowledge(
        self, invalidation: Coroutine[Any, Any, None], ended: Iterable[tuple[int, int]], reader: int
    ) -> None:
        """Waits for an invalidation and notes what it has ended: keys and the versions that are seen from now on."""
        begin = now()
        owed = self._adapter.undelivered
        await invalidation
        kind = Kind.ACKNOWLEDGED
        if owed or self._adapter.undelivered:
            kind, self.owes = Kind.ACKNOWLEDGED_HERE, True
        end = now()
        for number, version in ended:
            self._recorder.add(kind, number, begin=begin, end=end, version=version, reader=reader)

    def note_delivery(self) -> None:
        """Notes that what was owed is delivered, if so."""
        if self.owes and not self._adapter.undelivered:
            self.owes = False
            self._recorder.add(Kind.DELIVERED, begin=now(), end=now())

    def _crash_if_told(self) -> None:
        if self.crash:
            self._recorder.flush()  # the commit, not its invalidation
            os.kill(os.getpid(), signal.SIGKILL)
