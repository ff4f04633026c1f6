"""What data takes, in Valkey and in this process."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable

from valtier.embedded import EmbeddedValkey


def dataset_bytes(server: EmbeddedValkey) -> int:
    """The bytes of Valkey's data set, without what connections and buffers take."""
    info = server.call("INFO", "memory")
    text = info.decode() if isinstance(info, bytes) else str(info)
    return next(
        int(line.split(":")[1]) for line in text.splitlines() if line.startswith("used_memory_dataset:")
    )


async def traced_bytes(work: Callable[[], Awaitable[object]]) -> int:
    """By how many bytes Python's objects have grown when `work` has ended."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await work()
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return taken
