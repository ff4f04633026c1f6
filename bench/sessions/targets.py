"""The targets of sessions, and whether a run met them."""

from __future__ import annotations

from bench.cache.options import Figure
from bench.sessions.options import LOAD, PEER, VALTIER, Added, find
from bench.wire.results import Target

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
    name, limit = f"{LOAD}: {subject}, against {PEER}", f"≥ {TIMES_PEER:g} ×"
    ours, theirs = find(figures, LOAD, subject), find(figures, LOAD, PEER)
    if ours is None or theirs is None:
        return Target(name=name, limit=limit, measured="–", met=None)
    ratio = theirs.us / ours.us
    by_round = [b / a for a, b in zip(ours.us_by_round, theirs.us_by_round, strict=True)]
    return Target(
        name=name,
        limit=limit,
        measured=f"{ratio:.1f} × ({min(by_round):.1f}–{max(by_round):.1f}): {ours.us:.2f} to {theirs.us:.1f} µs",
        met=ratio >= TIMES_PEER,
    )
