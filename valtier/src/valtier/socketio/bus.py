"""The bus: reliable messages between workers, over streams of Valkey; each worker gets each message once.

Messages come back to the worker that sent them too, so that every client sees the one order of the stream, which is what
makes a client's offset mean the same everywhere. While Valkey is away a worker serves its own clients after `patience_s`
by itself; when the stream is back, what they have had is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from zlib import crc32

from valtier.socketio.lane import Lane, LaneOptions, OutboxFullError
from valtier.socketio.messages import BusMessage, Pulse, Room, decode
from valtier.socketio.offsets import ZERO, EntryId, Position, entry_id, format_offset
from valtier.socketio.reader import Reader
from valtier.socketio.sequences import Sequences
from valtier.wire import Valkey

log = logging.getLogger("valtier")

_LOOK_S = 0.05
_DEAF_BEATS = 3  # so many intervals a pulse may take, and a worker may be silent
_GREETING, _FIRST = 0, 1  # numbers of beats: an answer to a worker's first, and the first

OnMessage = Callable[[BusMessage, str], None]
"""Told a message and who sent it; must not block."""


class _Track:
    """One stream: what goes in, what comes out."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.sequences = Sequences()
        self.reader: Reader
        self.ahead = 0  # of this worker's events that went to its own clients before the stream had them
        self.highest: EntryId = ZERO  # entry ever read


class Bus:
    """Sends to and hears from all workers. Guarded by the event loop."""

    def __init__(
        self,
        valkey: Valkey,
        *,
        prefix: str,
        host: str,
        streams: int,
        options: LaneOptions,
        patience_s: float,
        beat_s: float,
        on_message: OnMessage,
        on_gap: Callable[[int], None] | None = None,
    ) -> None:
        self.host = host
        self.lag_s: float | None = None
        """How long the last pulse took to come back."""
        self.deaf = 0
        """How often this worker's own pulse did not come back in time."""
        self.received = 0
        self.locally = 0
        """Messages that this worker's clients got before the stream had them."""
        self.workers: dict[str, int] = {}  # for how many beats each has been silent
        """When each worker was heard last, by this process's clock."""
        self._valkey = valkey
        self._on_message = on_message
        self._on_gap = on_gap
        self._patience_s = patience_s
        self._beat_s = beat_s
        self._tracks = [_Track(Lane(valkey, f"{prefix}:sio:{{b{i}}}", host, options)) for i in range(streams)]
        for track in self._tracks:
            track.reader = Reader(valkey, track.lane.stream, self._hearer(track))
        self._beats: list[tuple[int, float] | None] = [None] * streams  # not yet heard
        self._tasks: list[asyncio.Task[None]] = []

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self._tasks:
            return
        loop = asyncio.get_running_loop()
        for track in self._tracks:
            track.reader.start(track.sequences.prime)
        self._tasks = [
            loop.create_task(self._watch(), name="valtier-socketio-watch"),
            loop.create_task(self._pulse(), name="valtier-socketio-pulse"),
        ]

    async def wait_ready(self, patience_s: float) -> bool:
        """Returns whether every stream's end is known, so that nothing is missed from now on."""
        found = [await track.reader.wait_primed(patience_s) for track in self._tracks]
        return all(found)

    async def stop(self, patience_s: float) -> None:
        """Says goodbye, and ends; what waits to be sent is given so long."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._tasks:
            for track in self._tracks:
                with contextlib.suppress(Exception):
                    track.lane.put(Pulse(0, leaving=True))
        for track in self._tracks:
            await track.lane.stop(patience_s if self._valkey.available else 0.0)
            await track.reader.stop()

    # -- sending -------------------------------------------------------------------------------------------

    def place(self, room: Room | None) -> int:
        """Returns which stream carries what is for a room; the first carries what is for all."""
        if room is None or len(self._tracks) == 1:
            return 0
        return crc32(str(room).encode(errors="surrogatepass")) % len(self._tracks)

    def send(self, message: BusMessage, room: Room | None = None) -> None:
        """Queues a message for every worker, this one included. Costs no round trip.

        Raises:
            OutboxFullError: as many as may wait are waiting; the message was not sent.
        """
        track = self._tracks[self.place(room)]
        track.lane.put(message)
        since = track.reader.failing_since
        if since is not None and time.monotonic() - since >= self._patience_s:
            self._serve_locally(track, time.monotonic())

    async def flush(self, patience_s: float) -> bool:
        """Returns whether Valkey has taken all that was sent before; waits so long at most, and not while it is away."""
        waiting = [track.lane.flushed() for track in self._tracks if track.lane.waiting]
        if waiting:
            await asyncio.wait(waiting, timeout=patience_s)
        return all(one.done() and one.result() for one in waiting)

    # -- hearing -------------------------------------------------------------------------------------------

    def _hearer(self, track: _Track) -> Callable[[EntryId, str, int, bytes, str], None]:
        def hear(entry: EntryId, host: str, number: int, payload: bytes, was: str) -> None:
            self.received += 1
            place, track.highest = track.highest, max(track.highest, entry)
            if host == self.host:
                self._hear_own(track, entry, number, payload)
            elif not track.sequences.last(host) and (entry_id(was) if was else entry) <= place:
                track.sequences.prime(host, number)  # of a time before this worker's
            else:
                before = track.sequences.gaps
                if track.sequences.accept(host, number):
                    self._tell(track, host, decode(payload))
                if track.sequences.gaps > before:
                    self._tell_gap(track.sequences.gaps - before)

        return hear

    def _hear_own(self, track: _Track, entry: EntryId, number: int, payload: bytes) -> None:
        if number >= track.ahead:
            track.ahead = 0
        come = track.lane.seen(number, f"{entry[0]}-{entry[1]}")
        for mine, message in come:  # those that were trimmed before they were read, too
            if track.sequences.accept(self.host, mine):
                self._tell(track, self.host, message)
        if not come and isinstance(pulse := decode(payload), Pulse):
            self._hear_pulse(track, self.host, pulse)  # it was late, and is a proof all the same

    def _tell_gap(self, count: int) -> None:
        log.warning(
            "%d Socket.IO events of another process were trimmed or lost before this one read them", count
        )
        if self._on_gap is not None:
            self._on_gap(count)

    def _tell(self, track: _Track, host: str, message: BusMessage) -> None:
        self.workers[host] = 0
        if isinstance(message, Pulse):
            self._hear_pulse(track, host, message)
        else:
            self._on_message(message, host)

    def _hear_pulse(self, track: _Track, host: str, pulse: Pulse) -> None:
        if pulse.leaving:
            self.workers.pop(host, None)
            return
        index = self._tracks.index(track)
        if host == self.host:
            if pulse.beat and not index:
                self._count_silence()
            beat = self._beats[index]
            if beat is not None and beat[0] <= pulse.beat:
                self.lag_s = time.monotonic() - beat[1]
                self._beats[index] = None
        elif pulse.beat == _FIRST and not index:  # who comes anew learns at once who is here
            with contextlib.suppress(OutboxFullError):  # the next beat tells it
                track.lane.put(Pulse(_GREETING))

    def _count_silence(self) -> None:
        """A beat of this worker has come back, and with it all that others had sent to the stream before.

        Silence is counted in beats that were heard, not by the clock: a worker that stalls, or has lost Valkey, does not
        take the others for dead.
        """
        for host, silent in list(self.workers.items()):
            if host == self.host or silent < _DEAF_BEATS:
                self.workers[host] = silent + 1
            else:
                del self.workers[host]

    def _serve_locally(self, track: _Track, older_than: float) -> None:
        """Tells this worker's own messages that were sent before a moment and have not come back, in order."""
        unseen = track.lane.unseen
        while unseen and unseen[0].at <= older_than:
            event = unseen.popleft()
            if not track.sequences.accept(self.host, event.number):
                continue
            track.ahead = event.number
            if not isinstance(event.message, Pulse):
                self.locally += 1
                self._on_message(event.message, self.host)

    # -- where everybody stands ----------------------------------------------------------------------------

    def positions(self) -> list[Position]:
        """Returns how far this worker's clients have been served."""
        return [
            Position(track.reader.position, self.host, track.ahead)
            if track.ahead
            else Position(track.reader.position)
            for track in self._tracks
        ]

    def offset(self) -> str:
        """Returns the same as a text for clients."""
        if len(self._tracks) == 1 and not self._tracks[0].ahead:
            entry = self._tracks[0].reader.position
            return f"{entry[0]}-{entry[1]}"
        return format_offset(self.positions())

    @property
    def streams(self) -> list[str]:
        return [track.lane.stream for track in self._tracks]

    @property
    def known(self) -> bool:
        """Whether every position is one in a stream."""
        return all(track.reader.position != ZERO for track in self._tracks)

    def live_workers(self) -> set[str]:
        """Returns who was heard of lately, this worker included."""
        return {self.host, *self.workers}

    # -- watching ------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Serves locally what does not come back, and notes when it has."""
        while True:
            await asyncio.sleep(_LOOK_S)
            before = time.monotonic() - self._patience_s
            for track in self._tracks:
                try:
                    self._serve_locally(track, before)
                except Exception:  # whatever a message brings about, the next has no part in it
                    log.exception("A Socket.IO event could not be handled")

    async def _pulse(self) -> None:
        """The canary: each beat goes through every stream, and has to come back."""
        for track in self._tracks:
            await track.reader.wait_primed(None)
            track.lane.start()  # not before: what this worker sends has to come back
        beat = _FIRST
        while True:
            told = False
            now = time.monotonic()
            for index, track in enumerate(self._tracks):
                lane, open_beat = track.lane, self._beats[index]
                if lane.failure is not None or track.reader.failing_since is not None:
                    self._beats[index] = None  # no news: that it is away is known without
                elif open_beat is None:
                    with contextlib.suppress(OutboxFullError):
                        lane.put(Pulse(beat))
                        self._beats[index] = (beat, now)
                        told = True
                elif now - open_beat[1] >= _DEAF_BEATS * self._beat_s:
                    self.deaf += 1
                    self._beats[index] = None
                    log.error(
                        "This process does not hear its own Socket.IO events: it reads on a new connection"
                    )
                    await track.reader.reconnect()
            beat += told
            await asyncio.sleep(self._beat_s)

    # -- numbers -------------------------------------------------------------------------------------------

    def totals(self) -> dict[str, int]:
        """Returns the sums over the streams."""
        tracks = self._tracks
        return {
            "outbox": sum(track.lane.waiting for track in tracks),
            "outbox_bytes": sum(track.lane.waiting_bytes for track in tracks),
            "sent": sum(track.lane.appended for track in tracks),
            "resent": sum(track.lane.resent for track in tracks),
            "gaps": sum(track.sequences.gaps - track.sequences.late for track in tracks),
            "duplicates": sum(track.sequences.duplicates for track in tracks),
            "read_failures": sum(track.reader.failures for track in tracks),
            "rewinds": sum(track.reader.rewinds for track in tracks),
        }
