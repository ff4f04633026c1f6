"""The targets of sessions, and whether a run met them."""

from __future__ import annotations

from bench.common import VALTIER
from bench.common.figures import Figure, find
from bench.common.targets import Target, times_faster
from bench.sessions.options import LOAD, PEER, Added

TIMES_PEER = 8.0
ADDED_US = 15.0


def judge(figures: list[Figure], added: list[Added]) -> list[Target]:
    """Each target against what was measured."""
    return [
        _against_peer(figures, VALTIER),
        *(
            Target(
                name=one.what,
                limit=f"< {ADDED_US:g} µs",
                measured=f"{one.us:.1f} µs",
                met=one.us < ADDED_US,
            )
            for one in added
        ),
    ]


def _against_peer(figures: list[Figure], subject: str) -> Target:
    ours, theirs = find(figures, LOAD, subject), find(figures, LOAD, PEER)
    return times_faster(f"{LOAD}: {subject}, against {PEER}", TIMES_PEER, ours, theirs)
