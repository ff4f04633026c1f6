"""`python -m bench.staleness`: the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.common import VALTIER, BenchError, command
from bench.staleness.options import SHORT, Options
from bench.staleness.peers import SUBJECTS
from bench.staleness.report import print_report, write_report
from bench.staleness.run import run
from valtier.embedded import EmbeddedServerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the checker and returns the exit status: 0, or 1 when valtier violated a rule or it could not be run."""
    console = command.console()
    given = _parser().parse_args(arguments)
    try:
        options = _options(given).checked()
        with console.status("starting PostgreSQL and Valkey") as status:
            report = run(options, status.update)
        print_report(report, console)
        written = write_report(report, options.out, options.name)
    except (BenchError, EmbeddedServerError) as exc:
        console.print(f"bench.staleness: {exc}", style="bold red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; everything that the checker started has ended.")
        return 130
    console.print(f"Written: {', '.join(map(str, written))}")
    ours = report.outcome(VALTIER)
    if ours is None:
        return 0
    if ours.violated:
        console.print(f"FALLS SHORT: valtier violated a rule {ours.violated:,} times.", style="bold red")
        return 1
    console.print(
        f"No violation in {ours.operations:,} operations of valtier (seed {options.seed}).", style="green"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.staleness",
        description="Puts caches to the test under random faults, and checks that nobody ever saw anything stale.",
    )
    parser.add_argument(
        "--short", action="store_true", help="valtier and a naive cache, about 20 s: short-staleness.*"
    )
    parser.add_argument("--only", metavar="NAMES", help=f"of {','.join(SUBJECTS)}; all of them")
    parser.add_argument("--ops", type=int, metavar="N", help=f"of valtier: {Options.operations:,}")
    parser.add_argument(
        "--peer-ops", type=int, metavar="N", help=f"of the others: {Options.peer_operations:,}"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help=f"the longest that valtier's load may take: {Options.seconds:g}",
    )
    parser.add_argument(
        "--peer-seconds", type=float, metavar="S", help=f"the same of the others: {Options.peer_seconds:g}"
    )
    parser.add_argument("--processes", type=int, metavar="N", help=f"{Options.processes}")
    parser.add_argument("--tasks", type=int, metavar="N", help=f"in each process: {Options.tasks}")
    parser.add_argument("--keys", type=int, metavar="N", help=f"{Options.keys}")
    parser.add_argument("--tags", type=int, metavar="N", help=f"{Options.tags}")
    parser.add_argument("--seed", type=int, metavar="N", help=f"of the faults: {Options.seed}")
    parser.add_argument("--pause", type=float, metavar="S", help=f"between two faults: {Options.pause_s}")
    parser.add_argument("--no-faults", action="store_true", help="nobody is killed, nothing is cut")
    parser.add_argument("--local-lag", type=int, metavar="MS", help=f"allowance: {Options.local_lag_ms}")
    parser.add_argument("--harmed-lag", type=int, metavar="MS", help=f"allowance: {Options.harmed_lag_ms}")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="bench/results")
    parser.add_argument("--name", help="what the results are called there: staleness")
    return parser


def _options(given: argparse.Namespace) -> Options:
    return command.changed(
        SHORT if given.short else Options(),
        subjects=given.only and tuple(name.strip() for name in given.only.split(",")),
        operations=given.ops,
        peer_operations=given.peer_ops,
        seconds=given.seconds,
        peer_seconds=given.peer_seconds,
        processes=given.processes,
        tasks=given.tasks,
        keys=given.keys,
        tags=given.tags,
        seed=given.seed,
        pause_s=given.pause,
        faults=False if given.no_faults else None,
        local_lag_ms=given.local_lag,
        harmed_lag_ms=given.harmed_lag,
        out=given.out,
        name=given.name,
    )


if __name__ == "__main__":
    sys.exit(main())
