"""The clocks: one that all processes share, one that never jumps. A test puts its own in their place."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """Two ways to tell the time, both in seconds."""

    wall: Callable[[], float] = time.time
    """Since 1970, the same for every process: for what is written down."""
    monotonic: Callable[[], float] = time.monotonic
    """Since any moment, never set: for how long something took, or may still take."""
