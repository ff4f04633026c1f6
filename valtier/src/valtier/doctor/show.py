"""Showing a report on a terminal: with rich where it is installed, else as plain text."""

from __future__ import annotations

from valtier.doctor.units import printable
from valtier.doctor.verdict import Report, Verdict

_SIGNS = {Verdict.OK: "✓", Verdict.ADVICE: "!", Verdict.WRONG: "✗", Verdict.UNKNOWN: "?"}
_STYLES = {Verdict.OK: "green", Verdict.ADVICE: "yellow", Verdict.WRONG: "bold red", Verdict.UNKNOWN: "dim"}


def text_of(report: Report) -> str:
    """Returns the report as plain text."""
    lines = [f"valtier doctor: {report.address}", ""]
    for check in report.checks:
        lines.append(f" {_SIGNS[check.verdict]} {check.name:<15} {printable(check.found)}")
        if check.advice:
            lines.append(f"   {'':<15} → {printable(check.advice)}")
    return "\n".join([*lines, "", verdict_of(report), "", *_acl(report)])


def verdict_of(report: Report) -> str:
    """Returns the last line: how many of each."""
    counts = [
        f"{report.count(Verdict.WRONG)} wrong",
        f"{report.count(Verdict.ADVICE)} to advise",
        f"{report.count(Verdict.UNKNOWN)} not told",
        f"{report.count(Verdict.OK)} well",
    ]
    return f"{', '.join(counts)} ({report.took_s:.1f} s)"


def show(report: Report) -> None:
    """Prints the report: with colours and wrapped at the terminal's width, if rich is installed."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        print(text_of(report))  # noqa: T201 - a command line
        return
    console = Console(highlight=False)
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in report.checks:
        style = _STYLES[check.verdict]
        told = Text(printable(check.found))
        if check.advice:
            told.append(f"\n→ {printable(check.advice)}", style)
        table.add_row(Text(_SIGNS[check.verdict], style), Text(check.name, "bold"), told)
    console.print(Text(f"valtier doctor: {report.address}", "bold"))
    console.print(table)
    console.print(Text(f"\n{verdict_of(report)}", "bold green" if report.healthy else "bold red"))
    heading, line = _acl(report)
    console.print(Text(heading, "dim"))
    console.print(Text(line), soft_wrap=True)  # one line, to be copied


def _acl(report: Report) -> tuple[str, str]:
    return "A user with just the rights that this takes (on each server of a cluster):", printable(report.acl)
