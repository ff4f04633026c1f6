"""The server's time as presence's scripts read it, moved by hand: a machine that stalls makes nobody older."""

from __future__ import annotations

import pytest

from valtier.embedded import EmbeddedValkey
from valtier.presence import room
from valtier.wire import Script

_SCRIPTS = ("_ENTER", "_LEAVE", "_RENEW", "_ROSTER", "_STANDING")
_KEY = "test:server-time"
_BEGIN_MS = 1_800_000_000_000


class ServerTime:
    """Stands still unless it is told to go on. For one Valkey that is no cluster."""

    def __init__(self, valkey: EmbeddedValkey, patch: pytest.MonkeyPatch) -> None:
        self._valkey = valkey
        self.passed_ms = 0
        self._tell()
        theirs, ours = "redis.call('TIME')", f"{{redis.call('GET', '{_KEY}') / 1000, 0}}"
        for name in _SCRIPTS:
            source = getattr(room, name).source
            assert source.count(theirs) == 1
            patch.setattr(room, name, Script(source.replace(theirs, ours)))

    @property
    def now_s(self) -> float:
        """Unix time in seconds."""
        return (_BEGIN_MS + self.passed_ms) / 1000

    def go_on(self, seconds: float) -> None:
        self.passed_ms += round(seconds * 1000)
        self._tell()

    def flush(self) -> None:
        """Empties the server, whose clock goes on."""
        self._valkey.call("FLUSHALL")
        self._tell()

    def _tell(self) -> None:
        self._valkey.call("SET", _KEY, _BEGIN_MS + self.passed_ms)
