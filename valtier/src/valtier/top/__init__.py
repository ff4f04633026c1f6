"""Top: what a running deployment does right now, from its workers' reports and what Valkey tells of itself."""

from valtier.top.frame import Frame
from valtier.top.rates import Rates
from valtier.top.watch import Watch

__all__ = ["Frame", "Rates", "Watch"]
