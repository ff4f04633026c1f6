"""How much to seed, and the fixed day on which the seeded studio stands still."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from fluxstudio.seed.errors import SeedError


@dataclass(frozen=True, slots=True)
class Size:
    users: int
    projects: int
    messages: int
    flatten: float  # how evenly the messages are spread over the projects; see `shapes.zipf_shares`
    demo_factor: int  # what the demo user's projects have, times this


SIZES: Final[dict[str, Size]] = {
    "small": Size(users=100, projects=50, messages=3_000, flatten=2, demo_factor=1),
    "medium": Size(users=10_000, projects=5_000, messages=300_000, flatten=10, demo_factor=4),
    "large": Size(users=100_000, projects=50_000, messages=3_000_000, flatten=100, demo_factor=8),
}

# The last moment that the data knows. A constant, so that a seed gives the same bytes on whatever day it runs: the
# price is that "yesterday's" messages grow old. It is a Friday evening, and everything happened before it.
NOW: Final = datetime(2026, 5, 15, 18, 0, tzinfo=UTC)
DAYS: Final = 1_000
START: Final = (NOW - timedelta(days=DAYS)).replace(hour=0)
DAY_MS: Final = 86_400_000
END_MS: Final = int((NOW - START) / timedelta(milliseconds=1))


def moment(ms: float) -> datetime:
    """The time that is `ms` milliseconds after the start of the seeded history."""
    return START + timedelta(milliseconds=ms)


def size_named(name: str) -> Size:
    """Raises SeedError, which lists the sizes, for a name that is none of them."""
    try:
        return SIZES[name]
    except KeyError:
        raise SeedError(f"There is no size {name!r}. Choose one of: {', '.join(SIZES)}.") from None
