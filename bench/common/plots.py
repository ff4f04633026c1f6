"""Pictures of reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common import BenchError
from bench.common.figures import Figure, scenarios
from bench.common.tables import digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

OURS, THEIRS = "#0072B2", "#B0B0B0"


def picture(width: float, height: float, dpi: int = 120) -> Picture:
    """An empty picture, in inches, that needs no screen. Raises BenchError when matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Picture
    except ImportError as exc:
        raise BenchError("The plot needs matplotlib: pip install matplotlib (`make setup` does).") from exc
    made = Picture(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(made)
    return made


def bars_by_scenario(
    figures: Sequence[Figure],
    path: Path,
    *,
    title: str,
    ours: Callable[[str], bool],
    panels: tuple[int, int],
    size: tuple[float, float],
    label: Callable[[str], str] = str,
    label_size: int = 8,
    minor_labels: bool = True,
) -> Path:
    """Draws a panel for each scenario, with microseconds per operation of each subject, the fastest on top."""
    from matplotlib.ticker import NullFormatter

    shown = scenarios(figures)
    made = picture(*size)
    grid: Any = made.subplots(*panels)
    for axes, scenario in zip(grid.flat, shown, strict=False):
        found = sorted((f for f in figures if f.scenario == scenario), key=lambda f: -f.us)
        colours = [OURS if ours(f.subject) else THEIRS for f in found]
        bars = axes.barh([label(f.subject) for f in found], [f.us for f in found], color=colours)
        axes.bar_label(bars, [digits(f.us) for f in found], fontsize=8, padding=2)
        axes.set_xscale("log")
        if not minor_labels:
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.25)
        axes.set_title(f"{scenario}, µs", fontsize=10, loc="left")
        axes.tick_params(labelsize=label_size)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    made.suptitle(title, fontsize=14, x=0.01, ha="left")
    return save(made, path)


def save(made: Picture, path: Path) -> Path:
    made.savefig(path)
    return path
