"""What `valtier tune` prints: curves as tables with bars, and as a picture where matplotlib is present."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valtier.errors import ConfigurationError
from valtier.tuning.model import (
    FEWEST_LOADS,
    TTLS_S,
    Picture,
    Target,
    choose_ttl,
    hit_rate,
    stale_age_s,
    staleness,
)

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_WIDTH = 30
_UNITS = ((24 * 3600.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))


@dataclass(frozen=True, slots=True)
class Advice:
    """A namespace, the TTL it has, and the one that it should have."""

    space: str
    picture: Picture
    target: Target
    override_s: float | None
    chosen_s: float | None

    @property
    def now_s(self) -> float:
        """The TTL in force."""
        return self.picture.ttl_s if self.override_s is None else self.override_s


def advise(space: str, picture: Picture, target: Target, override_s: float | None = None) -> Advice:
    """Chooses a TTL."""
    return Advice(space, picture, target, override_s, choose_ttl(picture, target))


def bar(share: float, width: int = _WIDTH) -> str:
    """Returns a bar of block characters: of the width where the share is 1."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(width)


def duration(seconds: float | None) -> str:
    """Returns a duration in its own unit: `5 min`, `1.5 h`."""
    if seconds is None or seconds <= 0:
        return "–"
    unit_s, unit = next(((unit_s, unit) for unit_s, unit in _UNITS if seconds >= unit_s), _UNITS[-1])
    return f"{seconds / unit_s:.3g} {unit}"


def size(count: float) -> str:
    """Returns bytes in their own unit."""
    unit = "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.3g} {unit}"


def percent(share: float) -> str:
    """Returns a share in percent, with the digits that matter."""
    value = 100 * share
    return (
        f"{value:.0f} %"
        if value >= 99.95 or value == 0
        else f"{value:.1f} %"
        if value >= 0.1
        else f"{value:.2g} %"
    )


def ttls_for(advice: Advice) -> list[float]:
    """Returns the TTLs that a table shows: round ones, and those that matter here."""
    return sorted({*map(float, TTLS_S), *(ttl for ttl in (advice.now_s, advice.chosen_s) if ttl)})


def lines(advice: Advice) -> Iterator[str]:
    """Yields what there is to say of a namespace."""
    seen = advice.picture
    yield f"{advice.space}"
    changes = (
        "no change unannounced"
        if not seen.change_rate
        else f"a value changes every {duration(1 / seen.change_rate)}"
    )
    if seen.compared < FEWEST_LOADS:
        changes = f"too few loads to tell how often values change ({seen.compared:.0f} of {FEWEST_LOADS})"
    losses = (
        "none is lost before its TTL"
        if not seen.loss_rate
        else f"one entry in {duration(1 / seen.loss_rate)} is lost early"
    )
    yield (
        f"  {seen.accesses.total + seen.singles:,.0f} reads watched, {seen.loads:,.0f} loads of {duration(seen.load_s)}; "
        f"{changes}; {losses}"
    )
    middle, late = seen.ages.quantile(0.5), seen.ages.quantile(0.95)
    if middle is not None:
        yield f"  what is served is {duration(middle)} old (p50), {duration(late)} (p95)"
    yield f"  {'TTL':>9}  {'hit rate':<{_WIDTH + 8}}  {'outdated reads':>14}  {'outdated for':>12}"
    for ttl_s in ttls_for(advice):
        rate, notes = hit_rate(seen, ttl_s), []
        if ttl_s == advice.now_s:
            notes.append("now" if advice.override_s is None else "now, by an override")
        if ttl_s == advice.chosen_s:
            notes.append("chosen")
        outdated = percent(staleness(seen, ttl_s)) if seen.compared else "?"
        late_s = duration(stale_age_s(ttl_s, seen.change_rate)) if seen.change_rate else "–"
        yield (
            f"  {duration(ttl_s):>9}  {bar(rate)} {percent(rate):>7}  {outdated:>14}  {late_s:>12}"
            f"{'  ← ' + ', '.join(notes) if notes else ''}"
        ).rstrip()
    yield f"  {verdict(advice)}"


def verdict(advice: Advice) -> str:
    """Returns in a sentence which TTL it should be."""
    target = advice.target
    wish = f"{'at most' if target.kind == 'staleness' else 'at least'} {percent(target.share)} {target.kind}"
    if advice.chosen_s is not None:
        return f"For {wish}: {duration(advice.chosen_s)}"
    if advice.picture.accesses.total <= 0:
        return "No TTL is chosen: nothing is known of how often keys are read"
    if target.kind == "staleness" and advice.picture.compared < FEWEST_LOADS:
        return "No TTL is chosen: too few loads have been compared. Let it run for longer"
    return f"No TTL from a second to seven days gives {wish}"


def table(title: str, names: Sequence[str], rows: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yields hit rates by some size, one bar for the first column, numbers for the others."""
    yield title
    width = max(12, *(len(name) for name in names)) + 2
    yield f"  {'':>9}  {names[0]:<{_WIDTH + 8}}" + "".join(f"{name:>{width}}" for name in names[1:])
    for label, rates in rows.items():
        rest = "".join(f"{percent(rate):>{width}}" for rate in rates[1:])
        yield f"  {label:>9}  {bar(rates[0])} {percent(rates[0]):>7}{rest}"


def plot(
    path: Path, panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], unit: str
) -> None:
    """Draws hit rates, a panel for each entry, a line for each of its names.

    Raises:
        ConfigurationError: matplotlib is not installed, or the file can't be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigurationError("a picture needs matplotlib: pip install matplotlib") from None
    columns = min(3, max(1, len(panels)))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.6 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(max(1, rows), columns, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, curves) in zip(axes.flat, panels.items(), strict=False):
        for name, (xs, ys) in curves.items():
            axis.plot(xs, [100 * y for y in ys], label=name, linewidth=1.8)
        axis.set_xscale("log")
        axis.set_ylim(0, 101)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel(unit, fontsize=8)
        axis.set_ylabel("%", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, frameon=False)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"the picture can't be written to {path}: {exc}") from exc
