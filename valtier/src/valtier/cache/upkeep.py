"""Upkeep: what a cache does at intervals besides. It counts what was read, tells Valkey, and learns what operators have set.

Nothing here is needed for any read: where Valkey can't be asked, it is told the next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import struct
from typing import TYPE_CHECKING

import msgspec

from valtier.cache.hot import HotKeys
from valtier.cache.local import Record
from valtier.cache.observing import Observations
from valtier.cache.overrides import fetch_overrides
from valtier.errors import ValkeyError
from valtier.wire import Valkey

if TYPE_CHECKING:
    from valtier.cache.engine import Engine

log = logging.getLogger("valtier")

INTERVAL_S = 30.0
_DRAIN_S = 0.5
_AT_ONCE = 4000
_MOST_GONE = 50_000
_LAST_S = 1.0
KEPT_MS = 24 * 3600 * 1000
"""How long Valkey keeps what a process has observed."""
_REPORTS = 256
_CREATED = struct.Struct(">Q")
_PARTS = 4
_CREATED_AT = 12  # where an entry's head tells when it was made, in ms since 1970


class Upkeep:
    """The regular work of one cache. Guarded by the event loop."""

    def __init__(self, engine: Engine, hot: HotKeys, observations: Observations) -> None:
        self.name = secrets.token_hex(6)
        """This process, as far as observations go."""
        self._engine = engine
        self._hot = hot
        self._observations = observations
        self._began = self._counted_at = engine.wall()
        self._gone: dict[str, int] = {}  # uses of records that are here no more
        self._task: asyncio.Task[None] | None = None
        engine.mirror.local.on_gone = self._note_gone

    def start(self) -> None:
        """Begins."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="valtier-upkeep")

    async def stop(self) -> None:
        """Ends, and tells Valkey what it does not know yet, within a second."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await self.publish()

    async def _run(self) -> None:
        monotonic = self._engine.clock.monotonic
        await self.obey()
        due = monotonic() + INTERVAL_S * random.uniform(0.5, 1.0)  # not all processes at once
        while True:
            await asyncio.sleep(_DRAIN_S)
            self._drain()
            if monotonic() >= due:
                await self.publish()
                await self.obey()
                due = monotonic() + INTERVAL_S

    # -- counting ------------------------------------------------------------------------------------------

    def _note_gone(self, record: Record, uses: int) -> None:
        if len(self._gone) < _MOST_GONE or record.key in self._gone:
            self._gone[record.key] = self._gone.get(record.key, 0) + uses
            self._note_age(record, uses, self._engine.wall())

    def _drain(self) -> None:
        self._observations.read(self._hot.drain().items())
        if self._gone:
            gone, self._gone = self._gone, {}
            self._hot.add(gone)
            self._observations.read(gone.items())

    async def _count_local(self) -> None:
        """Counts the hits on what this process keeps."""
        local = self._engine.mirror.local
        everybody = local.everybody()
        for start in range(0, len(everybody), _AT_ONCE):
            used = local.take_uses(everybody[start : start + _AT_ONCE])
            self._hot.add({record.key: uses for record, uses in used})
            self._observations.read((record.key, uses) for record, uses in used)
            now = self._engine.wall()
            for record, uses in used:
                self._note_age(record, uses, now)
            await asyncio.sleep(0)
        self._counted_at = self._engine.wall()

    def _note_age(self, record: Record, uses: int, now: float) -> None:
        """Notes of what age a record was when it was used: at any time since it was made, or was last asked."""
        head: bytes = getattr(record, "head", b"")
        if head:
            created = _CREATED.unpack_from(head, _CREATED_AT)[0] / 1000
            youngest, oldest = max(0.0, self._counted_at - created), max(0.0, now - created)
            space = record.key.partition(":")[0]
            for place in range(_PARTS):
                age_s = youngest + (oldest - youngest) * (place + 0.5) / _PARTS
                self._observations.hit(space, age_s, uses / _PARTS)

    # -- telling and learning ------------------------------------------------------------------------------

    async def publish(self) -> None:
        """Counts, and tells Valkey. Three round trips; where it fails, it is told the next time."""
        self._drain()
        await self._count_local()
        self._hot.age()
        engine = self._engine
        if engine.store is None or not engine.store.available:
            return
        try:
            await self._hot.publish(engine.store.valkey, engine.prefix)
            await self._tell(engine.store.valkey)
        except ValkeyError as exc:
            _log_failure(exc)

    async def _tell(self, valkey: Valkey) -> None:
        spaces = {name: seen.dump() for name, seen in self._observations.report().items()}
        if not spaces:
            return
        now = self._engine.wall()
        report = msgspec.json.encode({"from": self._began, "to": now, "spaces": spaces})
        index = index_name(self._engine.prefix)
        await asyncio.gather(
            valkey.call("SET", report_name(self._engine.prefix, self.name), report, "PX", KEPT_MS),
            valkey.call("ZADD", index, int(now * 1000), self.name),
            valkey.call("ZREMRANGEBYRANK", index, 0, -_REPORTS - 1),
            valkey.call("ZREMRANGEBYSCORE", index, "-inf", int(now * 1000) - KEPT_MS),
            valkey.call("PEXPIRE", index, KEPT_MS),
        )

    async def obey(self) -> None:
        """Learns which TTLs operators have set. One round trip; where it fails, those that were known go on."""
        engine = self._engine
        if engine.store is None or not engine.store.available:
            return
        try:
            engine.spaces.override(await fetch_overrides(engine.store.valkey, engine.prefix))
        except ValkeyError as exc:
            _log_failure(exc)


def index_name(prefix: str) -> str:
    """Returns where the processes stand that have told what they observed."""
    return f"{prefix}:{{tune}}"


def report_name(prefix: str, process: str) -> str:
    """Returns where a process tells what it has observed."""
    return f"{prefix}:{{tune}}{process}"


def _log_failure(exc: ValkeyError) -> None:
    log.debug("What was read most could not be told: %s", exc)
