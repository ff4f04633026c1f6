"""A run of bench.warming is judged, and its tables and files can be made of it."""

from pathlib import Path

import msgspec
from rich.console import Console

from bench.warming.options import COLD, DEPLOY, EVENTS, FLUSH, WARMED, Course, Report, Second
from bench.warming.report import judge, print_report, write_report


def course(event: str, start: str, *, hits: int, p95_ms: float) -> Course:
    return Course(
        event=event,
        start=start,
        warm_s=0.5,
        warm_loads=100,
        warm_present=0,
        reads=1000,
        hits=10 * hits,
        loads=1000 - 10 * hits,
        p50_ms=0.2,
        p95_ms=p95_ms,
        p99_ms=2 * p95_ms,
        seconds=[Second(reads=100, hits=hits, p95_ms=p95_ms)] * 10,
    )


def courses(warmed_hits: int) -> list[Course]:
    return [
        course(
            event, start, hits=warmed_hits if start == WARMED else 50, p95_ms=2.0 if start == WARMED else 9.0
        )
        for event in EVENTS
        for start in (COLD, WARMED)
    ]


def test_warmed_has_to_be_no_worse_than_cold() -> None:
    assert [target.met for target in judge(courses(90))] == [True] * 4
    worse = {target.name: target.met for target in judge(courses(40))}
    assert not worse[f"{DEPLOY}: hit rate of the first five seconds, warmed"]
    assert not worse[f"{FLUSH}: hit rate of the first five seconds, warmed"]


def test_a_report_is_printed_and_written(tmp_path: Path) -> None:
    report = Report(
        date="2026-01-01",
        machine={"cpu": "fast"},
        parameters={
            "rounds": 1,
            "per_second": 400,
            "keys": 2000,
            "alpha": 1.0,
            "before_s": 1.0,
            "after_s": 10.0,
            "pool": 10,
            "top": 100,
            "concurrency": 5,
        },
        took_s=60,
        courses=courses(90),
        targets=judge(courses(90)),
    )
    console = Console(record=True, width=150, quiet=False, file=(tmp_path / "out").open("w"))
    print_report(report, console)
    console.file.close()
    assert "After a flush" in (tmp_path / "out").read_text()
    paths = write_report(report, tmp_path, "warming")
    assert msgspec.json.decode(paths[0].read_bytes(), type=Report) == report
    assert "90.0 %" in paths[1].read_text()
    assert paths[2].read_bytes().startswith(b"\x89PNG")
