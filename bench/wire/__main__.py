"""`python -m bench.wire`: the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.common import BenchError, command
from bench.wire.options import CLIENTS, QUICK, Operation, Options, parse_numbers, parse_operations
from bench.wire.report import print_report, write_report
from bench.wire.run import run
from valtier.embedded import EmbeddedServerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns the exit status: 0 also when targets were missed, 1 when it could not be run."""
    console = command.console()
    given = _parser().parse_args(arguments)
    try:
        options = _options(given).checked()
        with console.status("starting Valkey") as status:

            def tell(what: str) -> None:
                status.update(what)
                if not console.is_terminal:
                    console.print(what, highlight=False, markup=False)

            report = run(options, tell)
        written = write_report(report, options.out, options.name)
        print_report(report, console)
    except (BenchError, EmbeddedServerError) as exc:
        console.print(f"bench.wire: {exc}", style="bold red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; everything that the bench started has ended.")
        return 130
    console.print(f"Written: {', '.join(str(path) for path in written)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.wire",
        description="Compares valtier's wire with the other asyncio clients, against one Valkey, in one run.",
    )
    parser.add_argument("--quick", action="store_true", help="a look of less than a minute: wire-quick.*")
    parser.add_argument("--clients", metavar="NAMES", help=f"of {','.join(CLIENTS)}; all of them")
    parser.add_argument("--operations", metavar="NAMES", help=f"of {','.join(Operation)}; all of them")
    parser.add_argument("--in-flight", metavar="NUMBERS", help="1,10,100,1000")
    parser.add_argument("--repeat", type=int, metavar="N", help=f"{Options.repeats}")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each throughput")
    parser.add_argument("--paced-seconds", type=float, metavar="S", help="at 80 %% of the peak; 0: not")
    parser.add_argument("--memory-commands", type=int, metavar="N", help="1,000,000; 0: not")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="bench/results")
    parser.add_argument("--name", help="what the results are called there: wire")
    return parser


def _options(given: argparse.Namespace) -> Options:
    return command.changed(
        QUICK if given.quick else Options(),
        clients=given.clients and tuple(name.strip() for name in given.clients.split(",")),
        operations=given.operations and parse_operations(given.operations),
        in_flight=given.in_flight and parse_numbers(given.in_flight),
        repeats=given.repeat,
        seconds=given.seconds,
        paced_s=given.paced_seconds,
        memory_commands=given.memory_commands,
        peer_memory_commands=None if given.memory_commands is None else given.memory_commands // 10,
        out=given.out,
        name=given.name,
    )


if __name__ == "__main__":
    sys.exit(main())
