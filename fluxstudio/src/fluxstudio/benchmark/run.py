"""One run of the bench: the same server without and with the cache, from the same database, under the same load."""

import contextlib
import datetime as dt
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from fluxstudio.accounts.planted import make_tokens
from fluxstudio.benchmark import database, loadgen, machine, mix, plan, plot, report, targets
from fluxstudio.benchmark.counters import Counters
from fluxstudio.benchmark.loadgen import Observed
from fluxstudio.benchmark.options import Load, Options
from fluxstudio.benchmark.progress import Display
from fluxstudio.benchmark.results import Report, Side, combine_rounds
from fluxstudio.benchmark.side import WARMUP, Stage, play_side
from fluxstudio.benchmark.world import World, cookie_headers
from fluxstudio.db.migrate import upgrade
from fluxstudio.seed import is_empty, seed
from valtier.embedded import EmbeddedPostgres

BEFORE, AFTER = "PostgreSQL alone", "with the cache"
_MOST_REQUESTS_PER_S = 8000
"""What a request file holds for each second that it is played: more than the server answers."""

Seen = dict[str, list[tuple[Observed, Counters]]]
"""What was seen in each round, by `Load.key`."""


def run(options: Options, console: Console) -> Report:
    """Runs the bench, prints its report and writes it under `options.out`.

    Raises BenchError when it cannot be run. All that it starts has ended when it returns or raises.
    """
    options = options.checked()
    machine.allow_open_files(max(options.warmup_clients, *(load.clients for load in options.loads)))
    with _ended_by_sigterm(), _seeded_postgres(options, console) as url:
        with tempfile.TemporaryDirectory(prefix="fluxstudio-bench-") as folder, Display(console) as display:
            stage = _prepare(options, display, url, Path(folder))
            seen = _play_rounds(stage, Path(folder))
        facts = machine.describe(postgresql=database.server_version(url), valkey=machine.valkey_version())
    result = _conclude(options, seen, facts)
    _write(result, options, console)
    return result


def _play_rounds(stage: Stage, folder: Path) -> Mapping[bool, Seen]:
    """Plays both sides in each round; what ran first in one runs last in the next."""
    seen: dict[bool, Seen] = {False: defaultdict(list), True: defaultdict(list)}
    for number in range(stage.options.rounds):
        for use_redis in (False, True) if number % 2 == 0 else (True, False):
            name = AFTER if use_redis else BEFORE
            stage.display.note(f"Round {number + 1} of {stage.options.rounds}, {name}")
            place = folder / f"round-{number + 1}-{'after' if use_redis else 'before'}"
            for key, result in play_side(stage, name=name, use_redis=use_redis, folder=place).items():
                seen[use_redis][key].append(result)
    return seen


@contextlib.contextmanager
def _seeded_postgres(options: Options, console: Console) -> Iterator[str]:
    """PostgreSQL with the data set; seeded when it is empty, and kept for the next run."""
    console.print(f"PostgreSQL with the {options.size} data set, in {options.data_dir} …", highlight=False)
    server = EmbeddedPostgres(options.data_dir / f"postgres-{options.size}", database="fluxstudio")
    with server:
        upgrade(server.url)
        if is_empty(server.url):
            seed(server.url, options.size, progress=True)
        yield server.url


def _prepare(options: Options, display: Display, url: str, folder: Path) -> Stage:
    with display.step("Installing the load generator"):
        generator = loadgen.install(options.data_dir)
    with display.step("Drawing the requests"):
        world = database.load_world(url)
        plans, tokens = _draw_plans(options, world, folder)
    return Stage(
        options=options, database_url=url, tokens=tokens, plans=plans, generator=generator, display=display
    )


def _draw_plans(options: Options, world: World, folder: Path) -> tuple[dict[str, Path], dict[int, str]]:
    """Draws a request file for the warm-up and for each load: no load repeats what an earlier one has asked."""
    online = plan.draw_online(world, count=options.online, seed=f"{options.seed}")
    wanted = {WARMUP: float(options.warmup_requests)}
    wanted |= {load.key: _requests_wanted(options, load) for load in options.loads}
    asked = {
        key: plan.draw(world, online, seed=f"{options.seed}-{key}", count=int(count))
        for key, count in wanted.items()
    }
    tokens = make_tokens(sorted({ask.user_id for asks in asked.values() for ask in asks}))
    paths = {key: folder / f"plan-{key}.json" for key in asked}
    for key, asks in asked.items():
        plan.write_plan(plan.bind(asks, cookie_headers(tokens)), paths[key])
    return paths, tokens


def _requests_wanted(options: Options, load: Load) -> float:
    seconds = options.ramp_s + options.seconds
    if load.requests_per_client_s:
        return load.clients * mix.VISIT * -(-seconds // mix.VISIT)
    return max(seconds * _MOST_REQUESTS_PER_S, load.clients * 2 * mix.VISIT)


def _conclude(options: Options, seen: Mapping[bool, Seen], facts: dict[str, str]) -> Report:
    before, after = (
        Side(
            name=AFTER if use_redis else BEFORE,
            use_redis=use_redis,
            loads={load.key: combine_rounds(load, seen[use_redis][load.key]) for load in options.loads},
        )
        for use_redis in (False, True)
    )
    return Report(
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=facts,
        parameters=_parameters(options),
        before=before,
        after=after,
        targets=targets.judge(before, after),
    )


def _parameters(options: Options) -> dict[str, object]:
    given = {
        name: value for name, value in asdict(options).items() if name not in ("data_dir", "out", "name")
    }
    return given | {
        "mix": mix.MIX,
        "zipf_s": mix.ZIPF_S,
        "online": options.online,
        "visit": mix.VISIT,
        "older_page": mix.OLDER_PAGE,
    }


def _write(result: Report, options: Options, console: Console) -> None:
    picture = options.out / f"{options.name}.png"
    plot.draw(result, picture)
    written = report.write_report(result, options.out, options.name, plot=picture.name)
    report.print_report(result, console)
    console.print(f"Written: {', '.join(str(path) for path in (*written, picture))}", highlight=False)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM an exception in the block, so that what was started is ended, as Ctrl-C does."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
