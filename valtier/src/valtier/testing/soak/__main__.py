"""`python -m valtier.testing.soak --minutes 10`: the wire under random faults. Exits with 1 at a broken promise."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from valtier.testing.soak.journal import BrokenPromiseError
from valtier.testing.soak.run import Findings, SoakOptions, soak
from valtier.testing.soak.vitals import Vitals

_MEGABYTE = 1024 * 1024


def main(arguments: list[str] | None = None) -> int:
    """Runs a soak as the command line says. Returns the exit code."""
    given = _parse(arguments)
    options = SoakOptions(
        seconds=given.minutes * 60,
        seed=random.randrange(1_000_000) if given.seed is None else given.seed,
        clients=given.clients,
        callers=given.callers,
    )
    logging.getLogger("valtier").setLevel(logging.CRITICAL)  # losing connections is what this is about
    console, findings = Console(highlight=False), Findings()
    console.print(
        f"A soak of {options.seconds / 60:g} min, seed {options.seed}: {options.clients} clients "
        f"of {options.callers} callers each"
    )
    try:
        with asyncio.Runner(loop_factory=_uvloop if given.uvloop else None) as runner:
            runner.run(soak(options, findings, lambda: console.print(_progress(findings), soft_wrap=True)))
    except BrokenPromiseError as broken:
        console.print(_summary(findings))
        console.print(
            f"[bold red]A promise is broken after {findings.elapsed_s:.0f} s.[/] {escape(str(broken))}"
        )
        console.print("The last faults:", *findings.last_faults, sep="\n  ", markup=False, soft_wrap=True)
        console.print(
            f"Run it again with --seed {options.seed}. When it fails again, write these faults down as an example "
            "in valtier/tests/test_wire_faults.py, where Hypothesis makes it smaller."
        )
        return 1
    console.print(_summary(findings))
    console.print("[bold green]Every promise was kept.[/]")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m valtier.testing.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument(
        "--seed", type=int, default=None, help="what the faults are drawn from (default: another)"
    )
    parser.add_argument("--clients", type=int, default=4, help="connections to Valkey (default: 4)")
    parser.add_argument(
        "--callers", type=int, default=8, help="concurrent callers for each client (default: 8)"
    )
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop instead of asyncio's own loop")
    given = parser.parse_args(arguments)
    if given.minutes <= 0 or given.clients < 1 or given.callers < 1:
        parser.error("--minutes, --clients and --callers have to be more than 0")
    return given


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop  # which the soak alone can do without

    return uvloop.new_event_loop()


def _progress(findings: Findings) -> str:
    return (
        f"{findings.elapsed_s:6.0f} s  {findings.operations:>10,} operations  "
        f"{findings.faults.total():>5,} faults  {findings.reconnects:>5,} reconnects  "
        f"worst wait {findings.tally.worst_wait_s * 1000:.0f} ms  {_vitals(findings.last)}"
    )


def _summary(findings: Findings) -> Table:
    tally = findings.tally
    table = Table("", "", show_header=False)
    table.add_row("operations", f"{findings.operations:,}: {_counted(tally.outcomes.most_common())}")
    table.add_row("faults", f"{findings.faults.total():,}: {_counted(findings.faults.most_common())}")
    table.add_row(
        "connections", f"{findings.connections:,}, of which {findings.reconnects:,} were lost in use"
    )
    table.add_row("worst wait", f"{tally.worst_wait_s * 1000:.0f} ms for a round trip")
    table.add_row("slowest recovery", f"{findings.slowest_recovery_s:.2f} s after the last fault")
    table.add_row("warmed up", _vitals(findings.first))
    table.add_row("at the end", _vitals(findings.last))
    return table


def _counted(numbers: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers)


def _vitals(vitals: Vitals | None) -> str:
    if vitals is None:
        return "-"
    return f"{vitals.memory_bytes / _MEGABYTE:.1f} MB, {vitals.files} files, {vitals.tasks} tasks"


if __name__ == "__main__":
    sys.exit(main())
