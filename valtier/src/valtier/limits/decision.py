"""What a limiter answers."""

from __future__ import annotations

from typing import Final

import msgspec

from valtier.errors import ValkeyError

VALKEY: Final = "valkey"
LOCAL: Final = "local"
INSURANCE: Final = "insurance"
OPEN: Final = "open"


class LimitUnavailableError(ValkeyError):
    """A limit that is closed in outages could not be asked. Answer 503 with `Retry-After`, never 429."""

    def __init__(self, name: str, retry_after_s: float = 1.0) -> None:
        super().__init__(
            f"the limit {name!r} can't be asked now and is closed in outages; answer 503 and try again"
        )
        self.name = name
        self.retry_after_s = retry_after_s


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Whether a hit passes, and what is left."""

    name: str
    """Of the limit."""
    allowed: bool
    limit: int
    """How many points there are when all are there."""
    remaining: int
    """How many points are left."""
    reset_after_s: float
    """Seconds until all points are back, if none is taken meanwhile."""
    retry_after_s: float = 0.0
    """Seconds until such a hit may pass; 0 if it has."""
    over_limit: bool = False
    """Whether it was over the limit. A limit in shadow mode allows it nevertheless."""
    source: str = VALKEY
    """Who decided: `"valkey"`; `"local"`, which is this process, because it knows that the key is blocked, or because
    there is no Valkey; in an outage `"insurance"` or `"open"`."""
