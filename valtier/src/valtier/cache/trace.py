"""Traces: every read and load of a cache, written down to be replayed by `valtier tune --trace`.

The format is lines of text; the first is `# valtier trace 1`. Then, separated by spaces::

    <ms> r <namespace> <key>            a read, so many milliseconds after the trace began
    <ms> l <namespace> <key> <bytes>    a load, and how many bytes the value takes

A key is 16 hexadecimal digits: a hash under a secret that is forgotten when the trace ends, so that it tells whether two
lines are of one key, and not of which. Nothing is written of values.

While nothing is recorded this costs nothing. Recording costs about 1.5 µs for each read.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEADER = "# valtier trace 1"
MOST_EVENTS = 10_000_000
_BUFFER = 2**18


class Recording:
    """A trace that is being written. Guarded by the event loop. `stop` it, or the cache does at its end."""

    def __init__(
        self, path: Path, monotonic: Callable[[], float], most: int, on_stop: Callable[[], None]
    ) -> None:
        self.path = path
        self.events = 0
        """How many lines were written."""
        self._most = most
        self._monotonic = monotonic
        self._began = monotonic()
        self._secret = secrets.token_bytes(16)
        self._lines = io.StringIO()
        self._file = path.open("w", encoding="ascii", errors="backslashreplace")
        self._file.write(HEADER + "\n")
        self._writer: threading.Thread | None = None
        self._on_stop = on_stop

    def read(self, key: str) -> None:
        """Notes a read."""
        self._note("r", key, "")

    def loaded(self, key: str, size: int) -> None:
        """Notes a load."""
        self._note("l", key, f" {size}")

    def _note(self, what: str, key: str, more: str) -> None:
        name = hashlib.blake2b(
            key.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=8
        ).hexdigest()
        at_ms = int((self._monotonic() - self._began) * 1000)
        self._lines.write(f"{at_ms} {what} {key.partition(':')[0]} {name}{more}\n")
        self.events += 1
        if self.events >= self._most:
            self.stop()
        elif self._lines.tell() > _BUFFER:
            self._flush()

    def _flush(self) -> None:
        """Writes in a thread what was noted: a disk may be slow."""
        if self._writer is not None:
            self._writer.join()  # of a quarter of a megabyte before
        text, self._lines = self._lines.getvalue(), io.StringIO()
        self._writer = threading.Thread(target=self._file.write, args=(text,), name="valtier-trace")
        self._writer.start()

    def stop(self) -> None:
        """Ends the trace."""
        if self._file.closed:
            return
        self._flush()
        if self._writer is not None:
            self._writer.join()
        self._file.close()
        self._on_stop()


class Traced(dict[str, Any]):
    """What stands in for the records of a cache while a trace is recorded: each look is a read."""

    def __init__(self, records: dict[str, Any], recording: Recording) -> None:
        super().__init__()
        self._records = records
        self._read = recording.read

    def get(self, key: str, default: Any = None) -> Any:
        self._read(key)
        return self._records.get(key, default)

    def __bool__(self) -> bool:
        return bool(self._records)
