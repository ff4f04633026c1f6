"""What a run of the bench does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.common import BenchError as BenchError

BARE, LOCAL, REMOTE, NOT_MODIFIED, SIGNED_IN = (
    "bare",
    "valtier, this process",
    "valtier, Valkey",
    "valtier, 304",
    "valtier, signed in and limited",
)
SDK, HISHEL, CASHEWS, CACHEX, LITESTAR, NGINX = (
    "fastapi-redis-sdk",
    "hishel",
    "cashews",
    "fastapi-cachex",
    "litestar",
    "nginx",
)
SAME_FIELDS = "bare, with a hit's fields"
"""The bare server where the application sends the fields that a cache adds too: `Date`, `Age`, `Cache-Status`."""
SUBJECTS = (
    *(BARE, SAME_FIELDS, LOCAL, REMOTE, NOT_MODIFIED, SIGNED_IN),
    *(HISHEL, SDK, CASHEWS, CACHEX, LITESTAR, NGINX),
)
PACKAGES = ("granian", "hishel", "fastapi-redis-sdk", "cashews", "fastapi-cachex", "litestar", "fastapi")


@dataclass(frozen=True, kw_only=True)
class Options:
    """A run's parameters."""

    subjects: tuple[str, ...] = SUBJECTS
    sizes: tuple[int, ...] = (1_000, 50_000)
    """Bytes of the JSON that is served."""
    connections: int = 64
    seconds: float = 5.0
    warm_up_s: float = 2.0
    repeats: int = 3
    out: Path = Path("bench/results")
    name: str = "http"

    def checked(self) -> Options:
        """Returns itself. Raises BenchError when it can't be run."""
        unknown = set(self.subjects) - set(SUBJECTS)
        if unknown:
            raise BenchError(
                f"no such subject: {', '.join(sorted(unknown))}. There are: {', '.join(SUBJECTS)}"
            )
        if self.connections < 1 or self.seconds <= 0 or self.repeats < 1 or not self.sizes:
            raise BenchError("connections, seconds, repeats and sizes are above zero")
        return self


QUICK = Options(seconds=1.5, warm_up_s=0.5, repeats=1, name="http-quick")
