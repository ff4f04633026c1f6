"""The soak: a real Valkey behind a FaultProxy, random faults, and callers that check every promise of the wire.

`python -m valtier.testing.soak --minutes 10` runs it. The property test (tests/test_wire_faults.py) puts the same
callers through schedules that Hypothesis draws and shrinks.
"""

from valtier.testing.soak.faults import Step
from valtier.testing.soak.journal import BrokenPromiseError, Journal, Outcome
from valtier.testing.soak.plan import Kind, Op
from valtier.testing.soak.workload import Caller, Limits, Stalls, Tally

__all__ = [
    "BrokenPromiseError",
    "Caller",
    "Journal",
    "Kind",
    "Limits",
    "Op",
    "Outcome",
    "Stalls",
    "Step",
    "Tally",
]
