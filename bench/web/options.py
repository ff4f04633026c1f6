"""What a run is asked to do, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.common.report import BaseReport
from bench.common.targets import Target


@dataclass(frozen=True, kw_only=True)
class Options:
    """The parameters of a run; all are written into its result."""

    visits: int = 20
    """Warm visits to Projects; cold ones are a quarter of that."""
    cursors: int = 50
    elements: int = 2_000
    hz: int = 30
    """How often each cursor moves in a second."""
    seconds: float = 15.0
    """For how long frames are counted."""
    moves: int = 300
    """Of a mouse, for the latency between two browsers."""
    out: Path = Path("bench/results")
    name: str = "web"


SHORT = Options(visits=8, seconds=5.0, moves=80, name="short-web")


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """How long a screen took, from the navigation to the frame that shows it, in ms."""

    what: str
    took_ms: list[float]


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """The JavaScript that a screen loads with an empty cache."""

    what: str
    files: int
    gzip_kb: float
    """As gzip -9 would send it, in kB of 1,000 bytes."""
    sent_kb: float
    """What came over the wire."""
    board: bool
    """The chunk of the board is among it."""


class Frames(msgspec.Struct, frozen=True, kw_only=True):
    """What was drawn while others moved."""

    what: str
    fps: float
    """Frames that the trace says were drawn, by second."""
    p50_ms: float
    """From one frame of the page to the next."""
    p95_ms: float
    longest_ms: float
    cursors_hz: float
    """Messages with cursors that reached the page, by second."""
    busy: float
    """Share of the time that the page's main thread worked."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """From a mouse that moves in one browser to the frame that follows its arrival in the other."""

    what: str
    sent: int
    seen: int
    took_ms: list[float]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the browser's side measured."""

    visits: list[Visit]
    weights: list[Weight]
    frames: list[Frames]
    latencies: list[Latency]
    chromium: str


class Report(BaseReport, frozen=True, kw_only=True):
    """All of one run."""

    found: Found
    targets: list[Target]
