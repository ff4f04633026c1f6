"""Targets: what was promised, and what became of it. All are ratios within one run, or plain limits."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.common.figures import Figure


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A promise and what became of it."""

    name: str
    limit: str
    measured: str
    met: bool | None
    """None: this run did not measure it."""

    @property
    def verdict(self) -> str:
        return {True: "met", False: "FALLS SHORT", None: "not measured"}[self.met]


def not_measured(name: str, limit: str) -> Target:
    """A promise that this run says nothing about."""
    return Target(name=name, limit=limit, measured="–", met=None)


def times_faster(name: str, least: float, ours: Figure | None, theirs: Figure | None) -> Target:
    """`ours` takes the time of `theirs` divided by `least`, or less: by the medians, with the range of the rounds."""
    limit = f"≥ {least:g} ×"
    if ours is None or theirs is None:
        return not_measured(name, limit)
    ratio = theirs.us / ours.us
    by_round = [b / a for a, b in zip(ours.us_by_round, theirs.us_by_round, strict=True)]
    return Target(
        name=name,
        limit=limit,
        measured=f"{ratio:.1f} × ({min(by_round):.1f}–{max(by_round):.1f}): {ours.us:.2f} to {theirs.us:.1f} µs",
        met=ratio >= least,
    )


def spread(ratios: Sequence[float], places: int = 1) -> str:
    """The range of the repeats, in brackets; nothing where there was one."""
    return f" ({min(ratios):.{places}f}–{max(ratios):.{places}f})" if len(ratios) > 1 else ""
