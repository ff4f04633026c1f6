"""What a bench run is asked to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SIZES = ("small", "medium", "large")


class BenchError(Exception):
    """The bench could not be run; the message says what to do. A missed target is a result, not an error."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One way of asking: this many clients at once, as fast as they get answers or at a pace of their own."""

    clients: int
    requests_per_client_s: int = 0
    """0: closed loop, each client sends its next request the moment that it has the last answer."""

    @property
    def label(self) -> str:
        if self.requests_per_client_s:
            return f"{self.clients:,} paced users"
        return f"{self.clients:,} client{'' if self.clients == 1 else 's'}"

    @property
    def key(self) -> str:
        return f"{self.clients}-{'paced' if self.requests_per_client_s else 'closed'}"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The parameters of one run; all of them are written into its result."""

    size: str = "medium"
    clients: tuple[int, ...] = (1, 100, 1000)
    paced: int = 1000
    """Users who each send one request a second, as a load of its own; 0 leaves it out."""
    seconds: float = 8.0
    """What is measured of each load, in each round."""
    ramp_s: float = 2.0
    """What each load plays before it is measured: its connections, its slow first answers."""
    warmup_requests: int = 200_000
    """Played after each server start, the same on both sides, with `warmup_clients` clients."""
    warmup_clients: int = 100
    rounds: int = 2
    """How often the pair is run; the order alternates (before, after, after, before)."""
    online: int = 0
    """How many people, drawn by Zipf's law, all visits are made by; 0: each visit draws anew from all users."""
    workers: int = 2
    seed: int = 20
    timeout_s: float = 10.0
    data_dir: Path = Path(".data/bench")
    out: Path = Path("bench/results")
    name: str = "first-light"
    """What the results are called in `out`."""

    @property
    def loads(self) -> tuple[Load, ...]:
        closed = tuple(Load(clients=clients) for clients in self.clients)
        return (*closed, Load(clients=self.paced, requests_per_client_s=1)) if self.paced else closed

    def checked(self) -> "Options":
        """These options, or BenchError with the one that cannot be."""
        if self.size not in SIZES:
            raise BenchError(f"--size is {self.size!r}; it is one of {', '.join(SIZES)}.")
        if not self.clients or min(self.clients) < 1:
            raise BenchError("--clients takes numbers from 1 up, with commas between: --clients 1,100,1000")
        if self.seconds <= 0 or self.rounds < 1 or min(self.paced, self.online) < 0:
            raise BenchError("--seconds and --rounds must be above 0, and --paced and --online not below.")
        return self


def short(options: Options) -> Options:
    """The quick run that the tests do: the small data set, 1 and 20 clients, two seconds each, one round."""
    return Options(
        size="small",
        clients=(1, 20),
        paced=0,
        seconds=2.0,
        ramp_s=0.3,
        warmup_requests=2000,
        warmup_clients=20,
        rounds=1,
        data_dir=options.data_dir,
        out=options.out,
        name="short",  # so that a quick look never replaces a published result
    )


def parse_clients(text: str) -> tuple[int, ...]:
    """`"1,100,1000"` as numbers. Raises BenchError when it is not that."""
    try:
        return tuple(int(part) for part in _parts(text))
    except ValueError as exc:
        raise BenchError(
            f"--clients is {text!r}; it takes numbers with commas: --clients 1,100,1000"
        ) from exc


def _parts(text: str) -> Sequence[str]:
    return [part.strip() for part in text.split(",")]
