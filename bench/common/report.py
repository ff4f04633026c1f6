"""A report: what every one says of its run, and how it is printed and written."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import msgspec
from rich.console import Console

from bench.common import machine
from bench.common.tables import Grid, draw

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class BaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """What every report begins with: when, on what, and with which parameters it was measured."""

    date: str
    machine: dict[str, str]
    parameters: dict[str, object]
    took_s: float


class Circumstances(TypedDict):
    """The fields of a `BaseReport`, to make a report with."""

    date: str
    machine: dict[str, str]
    parameters: dict[str, object]
    took_s: float


def circumstances(parameters: dict[str, object], packages: Iterable[str], began: float) -> Circumstances:
    """What is said of a run that ends now and `began` then, by `time.monotonic`."""
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": machine.describe(packages),
        "parameters": parameters,
        "took_s": time.monotonic() - began,
    }


def parameters(options: DataclassInstance) -> dict[str, object]:
    """All options but the folder, which is somebody's own."""
    return asdict(options) | {"out": None}


def versions(report: BaseReport) -> str:
    """The machine and the versions of what took part, in a line."""
    return ", ".join(f"{name} {value}" for name, value in report.machine.items())


def machine_sentence(report: BaseReport) -> str:
    """The machine first, then the versions of what took part."""
    hardware = ("cpu", "cores", "memory", "system", "python", "valkey-server")
    given = report.machine
    others = ", ".join(f"{name} {version}" for name, version in given.items() if name not in hardware)
    return (
        f"{given['cpu']}, {given['cores']} cores, {given['memory']}, {given['system']}; "
        f"Python {given['python']}, Valkey {given['valkey-server']}; {others}."
    )


def show(grids: Iterable[Grid], texts: Iterable[str], console: Console) -> None:
    """Prints the tables, and below them what one has to know to read them."""
    for grid in grids:
        console.print(draw(grid))
        console.print()
    for text in texts:
        console.print(text, style="dim", highlight=False, markup=False)


def write(report: BaseReport, parts: Iterable[str], folder: Path, name: str) -> list[Path]:
    """Writes the report as `name`.json, and the parts as `name`.md with an empty line between; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_markdown = folder / f"{name}.json", folder / f"{name}.md"
    as_json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    as_markdown.write_text("\n\n".join(parts) + "\n")
    return [as_json, as_markdown]
