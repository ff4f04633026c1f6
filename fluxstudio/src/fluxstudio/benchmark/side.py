"""One side of the comparison, once: a fresh copy of the database, an empty cache, the server, all loads."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fluxstudio.benchmark import database
from fluxstudio.benchmark.counters import Counters, difference
from fluxstudio.benchmark.loadgen import Job, LoadGenerator, Observed
from fluxstudio.benchmark.options import Load, Options
from fluxstudio.benchmark.progress import Display
from fluxstudio.benchmark.server import Server, serve
from valtier.embedded import EmbeddedValkey

WARMUP = "warmup"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What both sides have in common."""

    options: Options
    database_url: str
    tokens: Mapping[int, str]
    plans: Mapping[str, Path]
    """Request files by `Load.key`, and the one of the warm-up."""
    generator: LoadGenerator
    display: Display


def play_side(
    stage: Stage, *, name: str, use_redis: bool, folder: Path
) -> dict[str, tuple[Observed, Counters]]:
    """Serves, warms up and plays every load; returns what was seen, by `Load.key`."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        with stage.display.step(f"{name}: copying the database and starting the server"):
            database_url = stack.enter_context(_database_copy(stage))
            # A new directory: the cache begins empty.
            valkey = stack.enter_context(EmbeddedValkey(folder / "valkey")) if use_redis else None
            server = stack.enter_context(
                serve(
                    folder=folder,
                    database_url=database_url,
                    redis_url=None if valkey is None else valkey.url,
                    workers=stage.options.workers,
                )
            )
        _warm_up(stage, server, name=name, folder=folder)
        return _play_loads(stage, server, name=name, folder=folder)


def _play_loads(
    stage: Stage, server: Server, *, name: str, folder: Path
) -> dict[str, tuple[Observed, Counters]]:
    seen = {}
    earlier = server.settled_counters()
    for load in stage.options.loads:
        observed = _play(stage, server, load, name=name, folder=folder)
        later = server.settled_counters()
        counters, earlier = difference(later, earlier), later
        seen[load.key] = observed, counters
        stage.display.note(
            f"  {name}, {load.label}: {observed.answered / observed.window_s:,.0f} requests/s, "
            f"{counters.reads_per_1000():,.0f} reads per 1,000 requests, {sum(observed.errors().values()):,} errors"
        )
    return seen


@contextlib.contextmanager
def _database_copy(stage: Stage) -> Iterator[str]:
    try:
        yield database.make_copy(stage.database_url, stage.tokens)
    finally:
        database.drop_copy(stage.database_url)


def _warm_up(stage: Stage, server: Server, *, name: str, folder: Path) -> None:
    options = stage.options
    if options.warmup_requests <= 0:
        return
    job = Job(
        url=server.url,
        plan=str(stage.plans[WARMUP]),
        out=str(folder / "warmup.json"),
        clients=options.warmup_clients,
        requests_per_client_s=0,
        ramp_s=0,
        seconds=0,
        timeout_s=options.timeout_s,
        amount=options.warmup_requests,
    )
    with stage.display.load(f"{name}: warming up", total=options.warmup_requests) as show:
        observed = stage.generator.play(job, on_progress=lambda progress: show(progress, progress.sent))
    stage.display.note(f"  {name}, warm-up: {observed.sent:,} requests in {observed.window_s:.0f} s")


def _play(stage: Stage, server: Server, load: Load, *, name: str, folder: Path) -> Observed:
    options = stage.options
    job = Job(
        url=server.url,
        plan=str(stage.plans[load.key]),
        out=str(folder / f"{load.key}.json"),
        clients=load.clients,
        requests_per_client_s=load.requests_per_client_s,
        ramp_s=options.ramp_s,
        seconds=options.seconds,
        timeout_s=options.timeout_s,
    )
    with stage.display.load(f"{name}: {load.label}", total=options.ramp_s + options.seconds) as show:
        return stage.generator.play(job, on_progress=lambda progress: show(progress, progress.at_s))
