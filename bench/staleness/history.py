"""The history: what each process has done, in fixed-size records in a file of its own that survives `kill -9`.

Times are of CLOCK_MONOTONIC, which all processes of a machine share, in nanoseconds. A record is made when what it tells
has ended, so a file is in the order of `end`.
"""

from __future__ import annotations

import enum
import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_LAYOUT = struct.Struct("<BBHHHIqq")
_BATCH_BYTES = 64 * _LAYOUT.size
_SUFFIX = ".history"


class Kind(enum.IntEnum):
    """What a record tells."""

    READ = 1
    """A caller got this version."""
    READ_MORE = 2
    """One more key of the same call."""
    CANCELLED = 3
    """An operation whose caller gave up."""
    LOAD_FAILED = 4
    """A read whose loader failed, on purpose."""
    ERROR = 5
    """An operation that failed and should not have: the caller got an error."""
    WRITE = 6
    """A version was committed, from the statement's begin to the end of COMMIT."""
    WRITE_MORE = 7
    """One more row of the same transaction."""
    INVALIDATE = 8
    """An invalidation without a write, which ends what was committed at its begin."""
    ACKNOWLEDGED = 9
    """An invalidation returned; from `end` on nobody may see less than this version."""
    ACKNOWLEDGED_HERE = 10
    """As before, but it waits for delivery: so far it is a promise of this process only."""
    DELIVERED = 11
    """All that was waiting in this process has been delivered."""
    FINAL = 12
    """A read after everything had come to rest."""
    LOADED = 13
    """A loader returned this version, for whomever: no rule asks for it, but who looks for a cause does."""


OPERATIONS = (
    Kind.READ,
    Kind.CANCELLED,
    Kind.LOAD_FAILED,
    Kind.ERROR,
    Kind.WRITE,
    Kind.INVALIDATE,
)
"""Each operation of a caller makes exactly one record of these kinds."""


class Via(enum.IntEnum):
    """Where a read got its version from."""

    UNKNOWN = 0
    LOCAL = 1
    """It was answered without waiting for anything: from the process's own memory."""
    CACHE = 2
    """From the cache, or from another read's load."""
    LOADER = 3
    """Its own loader ran."""


class Record(NamedTuple):
    """One entry of the history. What a kind has no use for is 0."""

    kind: int
    via: int
    key: int
    reader: int
    """The task in its process."""
    process: int
    version: int
    begin: int
    end: int


class Recorder:
    """Appends records to the file of one process, in batches; what a killed process had not yet written is lost."""

    def __init__(self, folder: Path, process: int) -> None:
        self._process = process
        self._batch = bytearray()
        self._file = os.open(
            folder / f"{process:05}{_SUFFIX}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode=0o600
        )

    def add(
        self,
        kind: Kind,
        key: int = 0,
        *,
        begin: int,
        end: int,
        version: int = 0,
        reader: int = 0,
        via: Via = Via.UNKNOWN,
    ) -> None:
        self._batch += _LAYOUT.pack(kind, via, key, reader, self._process, version, begin, end)
        if len(self._batch) >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._batch:
            os.write(self._file, self._batch)
            self._batch.clear()

    def close(self) -> None:
        self.flush()
        os.close(self._file)


class History:
    """The records of one process, read from its file anew for each iteration."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __iter__(self) -> Iterator[Record]:
        data = self._file.read_bytes()
        whole = len(data) - len(data) % _LAYOUT.size  # a kill may have cut the last one short
        return map(Record._make, _LAYOUT.iter_unpack(memoryview(data)[:whole]))


def histories(folder: Path) -> list[History]:
    """Returns the history of each process, in the order in which they were started."""
    return [History(file) for file in sorted(folder.glob(f"*{_SUFFIX}"))]


class Progress:
    """Counts the operations in a folder's histories while they grow, without parsing them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counted: Counter[Path] = Counter()
        self.operations = 0

    def update(self) -> int:
        """Reads what has come since the last time. Returns the operations so far."""
        for file in self._folder.glob(f"*{_SUFFIX}"):
            with file.open("rb") as opened:
                opened.seek(self._counted[file])
                data = opened.read()
            whole = len(data) - len(data) % _LAYOUT.size
            kinds = data[: whole : _LAYOUT.size]
            self.operations += sum(kinds.count(kind) for kind in OPERATIONS)
            self._counted[file] += whole
        return self.operations
