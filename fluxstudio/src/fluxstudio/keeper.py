"""What `fluxstudio up` does while all runs: it brings a dead Valkey back, and shows the application's log."""

import signal
from pathlib import Path

from fluxstudio.screen import Screen
from valtier.embedded import EmbeddedServerError, EmbeddedValkey

_FIRST_DELAY_S = 0.5
_LAST_DELAY_S = 30.0
_SETTLED_S = 60.0
"""A Valkey that has run for so long has settled: its next death is a new one."""


class ValkeyKeeper:
    """Starts Valkey again when it has died, later each time that it dies soon. Nothing happens without one."""

    def __init__(self, valkey: EmbeddedValkey | None, screen: Screen) -> None:
        self._valkey = valkey
        self._screen = screen
        self._delay_s = _FIRST_DELAY_S
        self._due: float | None = None  # when it is started again; None while it runs
        self._started = 0.0

    def look(self, now: float) -> None:
        """Does what is due at `now`, the monotonic time."""
        valkey = self._valkey
        if valkey is None or (valkey.is_running and self._due is None):
            return
        if self._due is None:
            self._plan(
                now, f"Valkey ended ({how_it_ended(valkey.exit_code)}); FluxStudio goes on without cache."
            )
        elif now >= self._due:
            self._start(valkey, now)

    def _plan(self, now: float, what: str) -> None:
        if now - self._started > _SETTLED_S:
            self._delay_s = _FIRST_DELAY_S
        self._due = now + self._delay_s
        self._screen.line(f"{what} Starting Valkey again in {self._delay_s:g} s …")
        self._delay_s = min(self._delay_s * 2, _LAST_DELAY_S)

    def _start(self, valkey: EmbeddedValkey, now: float) -> None:
        self._started = now
        try:
            valkey.start()
        except EmbeddedServerError as exc:
            self._plan(now, str(exc))
            return
        self._due = None
        self._screen.line(f"Valkey runs again (pid {valkey.pid}).")


class LogFollower:
    """Shows what is appended to a log file, in whole lines."""

    def __init__(self, path: Path, start: int, screen: Screen) -> None:
        self._path = path
        self._offset = start
        self._screen = screen

    def show_new(self) -> None:
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            text = stream.read()
        end = text.rfind(b"\n") + 1
        if end:
            self._offset += end
            self._screen.line(text[: end - 1].decode(errors="replace"))


def how_it_ended(exit_code: int | None) -> str:
    """Says in words what an exit code tells."""
    if exit_code is None:
        return "no exit code"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"by signal {-exit_code}"
