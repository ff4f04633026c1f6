"""The targets of the studio in the browser, and whether a run met them."""

from __future__ import annotations

from bench.common.figures import quantile
from bench.common.targets import Target
from bench.web.options import Found

WARM_MS = 300.0
FIRST_KB = 150.0
FPS = 50.0
CURSOR_MS = 60.0

WARM = "Projects, warm"
FIRST = "Projects"
SIGN_IN = "the sign-in"


def judge(found: Found) -> list[Target]:
    """Each target against what was measured."""
    return [*_visits(found), *_weights(found), *_frames(found), *_latencies(found)]


def _visits(found: Found) -> list[Target]:
    return [
        Target(
            name="Projects on a warm visit shows its list, p50",
            limit=f"< {WARM_MS:g} ms",
            measured=f"{quantile(visit.took_ms, 0.5):.0f} ms",
            met=quantile(visit.took_ms, 0.5) < WARM_MS,
        )
        for visit in found.visits
        if visit.what == WARM
    ]


def _weights(found: Found) -> list[Target]:
    first = [weight for weight in found.weights if weight.what in {FIRST, SIGN_IN}]
    if not first:
        return []
    heaviest = max(weight.gzip_kb for weight in first)
    with_board = [weight.what for weight in first if weight.board]
    return [
        Target(
            name="JavaScript of the first screen, gzipped",
            limit=f"< {FIRST_KB:g} kB",
            measured=f"{heaviest:.0f} kB",
            met=heaviest < FIRST_KB,
        ),
        Target(
            name="The board's chunk is loaded only when a board opens",
            limit="not before",
            measured=f"with {', '.join(with_board)}" if with_board else "with the board",
            met=not with_board and any(weight.board for weight in found.weights),
        ),
    ]


def _frames(found: Found) -> list[Target]:
    return [
        Target(
            name=f"Frames a second: {frames.what}",
            limit=f"≥ {FPS:g}",
            measured=f"{frames.fps:.0f}",
            met=frames.fps >= FPS,
        )
        for frames in found.frames
    ]


def _latencies(found: Found) -> list[Target]:
    return [
        Target(
            name=f"{latency.what}, p95",
            limit=f"< {CURSOR_MS:g} ms",
            measured=f"{quantile(latency.took_ms, 0.95):.0f} ms",
            met=bool(latency.took_ms) and quantile(latency.took_ms, 0.95) < CURSOR_MS,
        )
        for latency in found.latencies
    ]
