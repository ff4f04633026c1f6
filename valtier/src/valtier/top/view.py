"""The view: a frame as tables for a terminal. Pure; needs rich, and is imported only where something is drawn."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from valtier.doctor.units import age, printable, size
from valtier.top.frame import Frame, ServerRow, SpaceRow, WorkerRow

_NONE = "–"
_GOOD, _FAIR = 0.9, 0.7
_FULL = 0.9
_LONGEST_NAME = 60


def draw(frame: Frame, *, height: int | None = None, keys: str = "") -> RenderableType:
    """Returns what to print.

    Args:
        frame: what is known.
        height: lines that there are; tables are cut to fit. `None`: all of it.
        keys: what may be pressed, shown at the end.
    """
    room = 1000 if height is None else max(4, height - 12 - len(frame.servers))
    spaces = frame.spaces[: max(3, room // 2)]
    workers = frame.workers[: max(3, room // 3)]
    lists = max(3, room - len(spaces) - len(workers) - 4)
    parts: list[RenderableType] = [
        _head(frame),
        _servers(frame.servers),
        Text(_wire(frame), no_wrap=True),
        Text(),
    ]
    if spaces:
        parts += [_spaces(spaces, len(frame.spaces) - len(spaces))]
    parts += [_workers(frame, workers)]
    if (keyed := _keys(frame, lists)) is not None:
        parts += [Text(), keyed]
    if keys:
        parts += [Text(), Text(keys, "dim")]
    return Group(*parts)


def _head(frame: Frame) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(frame.at))
    head = Text.assemble(
        ("valtier top", "bold"),
        f"  {printable(frame.address)}  prefix {printable(frame.prefix)}  {clock}",
        no_wrap=True,
    )
    if frame.away_s is not None:
        since = time.strftime("%H:%M:%S", time.localtime(frame.at - frame.away_s))
        away = f"\nValkey is away since {since} ({age(frame.away_s)}): {printable(frame.away)}"
        head.append(away, "bold red")
        head.append("\nTrying again; what is below was known last.", "red")
        head.no_wrap = False
    return head


def _servers(servers: Sequence[ServerRow]) -> Table:
    table = _table(
        "server", "version", "memory", "policy", "clients", "commands/s", "evictions/s", "keyspace hits"
    )
    for each in servers:
        table.add_row(
            Text(each.server),
            Text(printable(each.version)),
            _memory(each),
            Text(each.policy or _NONE),
            _count(each.clients),
            _rate(each.commands_per_s),
            _rate(each.evictions_per_s, alarming=True),
            _share(each.keyspace_hit_rate),
        )
    return table


def _memory(row: ServerRow) -> Text:
    if row.used_memory is None:
        return Text(_NONE)
    if not row.maxmemory:
        return Text(f"{size(row.used_memory)}, no limit", "yellow")
    share = row.used_memory / row.maxmemory
    return Text(
        f"{size(row.used_memory)} of {size(row.maxmemory)} ({share:.0%})", "yellow" if share > _FULL else ""
    )


def _wire(frame: Frame) -> str:
    wire = frame.wire
    quantiles = "  ".join(f"{name} {_ms(wire.get(name))}" for name in ("p50", "p95", "p99"))
    return f"wire  {_rate(wire.get('commands_per_s'))} commands/s  {quantiles}"


def _spaces(rows: Sequence[SpaceRow], hidden: int) -> Table:
    table = _table("namespace", "hits", "hits in all", "reads/s", "loads/s", "load ms", "local", "errors")
    for row in rows:
        table.add_row(
            _name(row.name),
            _share(row.hit_rate),
            _share(row.hit_rate_total),
            _rate(row.reads_per_s),
            _rate(row.loads_per_s),
            Text(_ms(row.load_ms, unit="")),
            _share(row.local_share, coloured=False),
            Text(f"{row.errors:,}", "red" if row.errors else "dim"),
        )
    if hidden > 0:
        table.add_row(Text(f"… and {hidden} more", "dim"))
    return table


def _workers(frame: Frame, rows: Sequence[WorkerRow]) -> Table | Text:
    if not frame.workers:
        told = f"\nno worker reports under the prefix {printable(frame.prefix)}"
        if frame.unreadable:
            told += f"; {frame.unreadable} reports are of another version"
        return Text(told, "yellow")
    table = _table(
        *("worker", "age", "status", "breaker", "in flight", "commands/s", "p50", "p99", "hits", "sockets"),
        *("rooms", "reconnects", "owed"),
    )
    for row in rows:
        ready, closed = row.status == "ready", row.breaker == "closed"
        table.add_row(
            _name(f"{row.name} {row.where}".strip()),
            Text(age(row.age_s)),
            Text(row.status, "" if ready else "bold red"),
            Text(row.breaker, "" if closed else "bold red"),
            Text(f"{row.in_flight:,}"),
            _rate(row.commands_per_s),
            Text(_ms(row.p50_ms)),
            Text(_ms(row.p99_ms)),
            _share(row.hit_rate),
            _count(row.sockets),
            _count(row.rooms),
            Text(f"{row.reconnects:,}", "yellow" if row.reconnects else "dim"),
            Text(f"{row.undelivered:,}", "yellow" if row.undelivered else "dim"),
        )
    if (hidden := len(frame.workers) - len(rows)) > 0:
        table.add_row(Text(f"… and {hidden} more", "dim"))
    return table


def _keys(frame: Frame, most: int) -> Table | None:
    """Returns hot keys, slow loads and big keys, side by side."""
    columns: list[tuple[str, list[tuple[str, str]]]] = []
    if frame.hot:
        columns.append(("hot keys", [(key, f"{count:,}") for key, count in frame.hot]))
    if frame.slow:
        columns.append(("slow loads", [(key, f"{took_s:.2f} s") for key, took_s in frame.slow]))
    if frame.big is not None:
        heading = f"big keys ({frame.big_seen:.0%} looked at)"
        rows = [(key, size(count)) for key, count in frame.big] or [(frame.big_refused or "none yet", "")]
        columns.append((heading, rows))
    if not columns:
        return None
    table = Table.grid(padding=(0, 2), expand=True)
    for _ in columns:
        table.add_column(ratio=1)
    table.add_row(*(_listed(heading, rows[:most]) for heading, rows in columns))
    return table


def _listed(heading: str, rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_row(Text(heading, "bold cyan"), "")
    for name, value in rows:
        table.add_row(Text(printable(name)), Text(value))
    return table


# -- cells ---------------------------------------------------------------------------------------------------


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold cyan")
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    for other in others:
        table.add_column(other, justify="right", no_wrap=True)
    return table


def _name(name: str) -> Text:
    shown = printable(name)
    return Text(shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…")


def _share(share: float | None, *, coloured: bool = True) -> Text:
    if share is None:
        return Text(_NONE, "dim")
    style = "green" if share >= _GOOD else "yellow" if share >= _FAIR else "red"
    return Text(f"{100 * share:.1f}%", style if coloured else "")


def _rate(rate: float | None, *, alarming: bool = False) -> Text:
    if rate is None:
        return Text(_NONE, "dim")
    text = f"{rate:,.0f}" if rate >= 100 or rate == 0 else f"{rate:.1f}"
    return Text(text, "yellow" if alarming and rate else "")


def _count(count: int | None) -> Text:
    return Text(_NONE, "dim") if count is None else Text(f"{count:,}")


def _ms(ms: float | None, *, unit: str = " ms") -> str:
    return _NONE if ms is None else f"{ms:.2f}{unit}" if ms < 10 else f"{ms:,.0f}{unit}"
