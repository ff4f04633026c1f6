"""The view: a frame as tables for a terminal. Pure; needs rich, and is imported only where something is drawn."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from valtier.doctor.units import age, milliseconds, printable, size
from valtier.top.frame import Frame, ServerRow, SpaceRow, WorkerRow

_NONE = "–"
_GOOD, _FAIR = 0.9, 0.7
_FULL = 0.9
_LONGEST_NAME = 60


def draw(frame: Frame, *, width: int = 120, height: int | None = None, keys: str = "") -> RenderableType:
    """Returns what to print.

    Args:
        frame: what is known.
        width: columns that there are; what matters least is left out where they are few.
        height: lines that there are; tables are cut to fit. `None`: all of it.
        keys: what may be pressed, shown at the end.
    """
    room = 1000 if height is None else max(4, height - 12 - len(frame.servers))
    spaces = frame.spaces[: max(3, room // 2)]
    workers = frame.workers[: max(3, room // 3)]
    lists = max(3, room - len(spaces) - len(workers) - 4)
    parts: list[RenderableType] = [
        _head(frame),
        _servers(frame.servers, width),
        Text(_wire(frame), no_wrap=True),
        Text(),
    ]
    if spaces:
        parts += [_spaces(spaces, len(frame.spaces) - len(spaces), width), Text()]
    parts += [_workers(frame, workers, width)]
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
    if others := [printable(prefix) for prefix in frame.prefixes if prefix != frame.prefix]:
        head.append(f"  (here too: {', '.join(others)})", "dim")
    if frame.away_s is not None:
        since = time.strftime("%H:%M:%S", time.localtime(frame.at - frame.away_s))
        away = f"\nValkey is away since {since} ({age(frame.away_s)}): {printable(frame.away)}"
        head.append(away, "bold red")
        head.append("\nTrying again; what is below was known last.", "red")
        head.no_wrap = False
    elif frame.silent:
        head.append(f"\nprimaries that do not answer: {', '.join(frame.silent)}", "bold red")
    return head


def _servers(servers: Sequence[ServerRow], width: int) -> Table:
    columns = [("server", 9), ("version", 2), ("memory", 8), ("policy", 3), ("clients", 4), ("commands/s", 7)]
    columns += [("evictions/s", 6), ("keyspace hits", 5)]
    rows = [
        [
            _name(each.server),
            Text(printable(each.version)),
            _memory(each),
            Text(each.policy or _NONE),
            _count(each.clients),
            _rate(each.commands_per_s),
            _rate(each.evictions_per_s, alarming=True),
            _share(each.keyspace_hit_rate),
        ]
        for each in servers
    ]
    return _table(columns, rows, width)


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


def _spaces(spaces: Sequence[SpaceRow], hidden: int, width: int) -> Table:
    columns = [
        ("namespace", 9),
        ("hits", 8),
        ("hits in all", 5),
        ("reads/s", 7),
        ("loads/s", 6),
        ("load ms", 4),
    ]
    columns += [("local", 2), ("errors", 3)]
    rows = [
        [
            _name(row.name),
            _share(row.hit_rate),
            _share(row.hit_rate_total),
            _rate(row.reads_per_s),
            _rate(row.loads_per_s),
            Text(_ms(row.load_ms, unit="")),
            _share(row.local_share, coloured=False),
            Text(f"{row.errors:,}", "red" if row.errors else "dim"),
        ]
        for row in spaces
    ]
    return _table(columns, rows, width, hidden)


def _workers(frame: Frame, workers: Sequence[WorkerRow], width: int) -> Table | Text:
    if frame.refused:
        return Text(f"the workers' reports can't be read: {printable(frame.refused)}", "yellow")
    if not frame.workers:
        told = f"no worker reports under the prefix {printable(frame.prefix)}"
        if frame.unreadable:
            told += f"; {frame.unreadable} reports are of another version"
        return Text(told, "yellow")
    columns = [
        ("worker", 19),
        ("age", 8),
        ("status", 18),
        ("breaker", 17),
        ("in flight", 10),
        ("commands/s", 9),
    ]
    columns += [
        ("p50", 6),
        ("p99", 7),
        ("hits", 5),
        ("sockets", 4),
        ("rooms", 2),
        ("reconnects", 3),
        ("owed", 1),
    ]
    rows = [
        [
            _name(f"{row.name} {row.where}".strip()),
            Text(age(row.age_s)),
            Text(row.status, "" if row.status == "ready" else "bold red"),
            Text(row.breaker, "" if row.breaker == "closed" else "bold red"),
            Text(f"{row.in_flight:,}"),
            _rate(row.commands_per_s),
            Text(_ms(row.p50_ms)),
            Text(_ms(row.p99_ms)),
            _share(row.hit_rate),
            _count(row.sockets),
            _count(row.rooms),
            Text(f"{row.reconnects:,}", "yellow" if row.reconnects else "dim"),
            Text(f"{row.undelivered:,}", "yellow" if row.undelivered else "dim"),
        ]
        for row in workers
    ]
    return _table(columns, rows, width, len(frame.workers) - len(workers))


def _keys(frame: Frame, most: int) -> Table | None:
    """Returns hot keys, slow loads and big keys, side by side."""
    columns: list[tuple[str, list[tuple[str, str]]]] = []
    if frame.hot:
        columns.append(("hot keys", [(key, f"{count:,}") for key, count in frame.hot]))
    if frame.slow:
        columns.append(("slow loads", [(key, milliseconds(took_s)) for key, took_s in frame.slow]))
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


def _table(
    columns: Sequence[tuple[str, int]], rows: Sequence[Sequence[Text]], width: int, hidden: int = 0
) -> Table:
    """Returns a table of the columns that fit: each has a heading and a rank; those of the lowest rank go first."""
    kept = list(range(len(columns)))
    widths = [max(len(columns[i][0]), *(row[i].cell_len for row in rows), 0) + 2 for i in kept]
    while len(kept) > 1 and sum(widths[i] for i in kept) > width:
        kept.remove(min(kept, key=lambda i: columns[i][1]))
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold cyan")
    for i in kept:
        table.add_column(columns[i][0], justify="right" if i else "left", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(row[i] for i in kept))
    if hidden > 0:
        table.add_row(Text(f"… and {hidden} more", "dim"))
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
