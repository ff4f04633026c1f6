"""What one caller knows of its own commands, and what follows from it for the server's counters."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

_APART = 1_000_000_000
"""The counters of two callers begin so far apart that a reply tells whose counter it is of."""


class BrokenPromiseError(AssertionError):
    """A promise of the wire was broken; the message says which, and by what."""


class Outcome(enum.StrEnum):
    """What became of a command, as its caller was told."""

    DONE = "done"
    UNSENT = "unsent"  # UnavailableError: it never left
    UNKNOWN = "unknown"  # OutcomeUnknownError: it may have run
    REFUSED = "refused"  # the server is loading its data
    GARBLED = "garbled"  # the reply holds the proxy's garbage
    GIVEN_UP = "given up"  # the caller cancelled it


@dataclass(slots=True)
class Journal:
    """One caller's sends and their outcomes. Guarded by the event loop.

    `successes ≤ counter ≤ sends - unsent` holds at any time for a counter that only this caller raises, whether or not
    commands are under way. *Marks* say the same of each single command: each raises a field of its own, once.
    """

    number: int
    epoch: int = 0
    sends: int = 0
    unsent: int = 0
    successes: int = 0
    last: int = 0
    marks: dict[int, Outcome] = field(default_factory=dict)
    registered: set[bytes] = field(default_factory=set)
    """Values that the register may hold."""
    has_registered: bool = False

    @property
    def base(self) -> int:
        """What the counter starts from."""
        return (self.number + 1) * _APART

    def key(self, what: str) -> str:
        return f"soak:{self.number}:{self.epoch}:{what}"

    def begin(self, epoch: int) -> None:
        """Begins anew, with keys that no earlier command knows."""
        self.epoch = epoch
        self.sends = self.unsent = self.successes = 0
        self.last = self.base
        self.marks.clear()
        self.registered.clear()
        self.has_registered = False

    def counted(self, value: int) -> None:
        """Notes that the counter's new value came as a reply.

        Raises:
            BrokenPromiseError: this can't be the reply to a command of this caller, or a command ran that it was told did not.
        """
        self.successes += 1
        least, most = self.base + self.successes, self.base + self.sends - self.unsent
        if not self.last < value or not least <= value <= most:
            raise BrokenPromiseError(
                f"caller {self.number} counts from {self.base}: a reply says {value} after {self.last}; "
                f"{self._sums()}, so it has to be {least} to {most}"
            )
        self.last = value

    def settle(self, counter: int, marks: Mapping[int, int]) -> None:
        """Compares with what the server has.

        Raises:
            BrokenPromiseError: a command ran twice, or ran although it was reported as unsent, or did not although it succeeded.
        """
        if not self.successes <= counter - self.base <= self.sends - self.unsent:
            raise BrokenPromiseError(
                f"the counter of caller {self.number} is {counter - self.base}: {self._sums()}"
            )
        for serial, outcome in self.marks.items():
            times = marks.get(serial, 0)
            if times > 1 or (times and outcome is Outcome.UNSENT) or (not times and outcome is Outcome.DONE):
                raise BrokenPromiseError(
                    f"command {serial} of caller {self.number} ran {times} times and is {outcome!r} to its caller"
                )

    def _sums(self) -> str:
        return f"{self.sends} sends, {self.unsent} reported as unsent, {self.successes} successes"
