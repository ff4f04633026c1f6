"""Vitals: what each worker has counted, as one report; and the reports of all workers that live.

```python
tier.vitals.add("queue", queue.numbers, levels=("waiting",))  # a callable that returns a flat dict of numbers
tier.vitals.report()  # this worker, now: no round trip
await fleet(tier.valkey, "valtier")  # every worker's newest report: two round trips for each fifty workers
```
"""

from valtier.vitals.fleet import Fleet, fleet
from valtier.vitals.report import (
    FORMAT,
    Durations,
    LinkReport,
    Number,
    Timed,
    UnreadableReportError,
    WorkerReport,
)
from valtier.vitals.rights import COMMANDS, acl
from valtier.vitals.vitals import Vitals

__all__ = [
    "COMMANDS",
    "FORMAT",
    "Durations",
    "Fleet",
    "LinkReport",
    "Number",
    "Timed",
    "UnreadableReportError",
    "Vitals",
    "WorkerReport",
    "acl",
    "fleet",
]
