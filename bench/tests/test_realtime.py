"""The bench of Socket.IO counts what it says that it counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.common import VALTIER
from bench.realtime.faults import _judge
from bench.realtime.link import Link
from bench.realtime.options import STOCK, Fanout, Fault, Idle, Report, Storm
from bench.realtime.report import grids, write_report
from bench.realtime.targets import judge


def test_lost_doubled_and_disordered_events_are_counted_for_each_client() -> None:
    report = {
        "numbers": [[0, "0", [0, 1, 2]], [0, "1", [0, 2, 1, 1]], [1, "0", [0]], [1, "1", [0, 1, 2]]],
        "arrivals": [[0, "0", [5]], [0, "1", [5, 12_000_000]], [1, "0", [22_000_000]], [1, "1", [5]]],
    }
    found = _judge("x", "f", report, 3, 2, 2_000_000)
    assert (found.expected, found.lost, found.twice, found.disordered) == (12, 2, 1, 1)
    assert found.back_ms == 20.0


def test_who_never_hears_the_other_server_again_is_told() -> None:
    report = {"numbers": [], "arrivals": [[0, "1", [5]], [1, "0", [9_000_000]]]}
    assert _judge("x", "f", report, 1, 2, 1_000_000).back_ms is None


@pytest.mark.parametrize("size", [1, 3, 7, 4096])
async def test_the_lean_client_reads_frames_however_they_are_cut(size: int) -> None:
    events: list[bytes] = []
    link = Link(0, 1, "{}", lambda _, packet, now: events.append(packet))
    sent = bytearray()

    class Transport:
        def write(self, data: bytes) -> None:
            sent.extend(data)

        def abort(self) -> None: ...

    transport: Any = Transport()
    link.connection_made(transport)
    packets = [
        b"0{}",
        b'40{"sid":"x"}',
        b"2",
        b'42["a"]',
        b'42["' + b"b" * 200 + b'"]',
        b'42["' + b"c" * 70_000,
    ]
    stream = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    for packet in packets:
        length = len(packet)
        if length < 126:
            head = bytes([length])
        else:
            head = (
                b"\x7e" + length.to_bytes(2, "big") if length < 65536 else b"\x7f" + length.to_bytes(8, "big")
            )
        stream += b"\x81" + head + packet
    for place in range(0, len(stream), size):
        link.data_received(stream[place : place + size])
    assert events == packets[3:]
    assert link.connected.done()
    assert sent.endswith(b"\x81\x81\0\0\0\x003")
    await asyncio.sleep(0)


def test_a_report_is_written_whole_and_judged(tmp_path: Any) -> None:
    fanouts = [
        Fanout(
            subject=subject,
            what=what,
            p50_ms=1.0,
            p99_ms=p99,
            max_ms=9.0,
            p99_by_round=[p99],
            expected=10,
            got=10,
            cpu_us=3.0,
        )
        for subject, p99 in ((VALTIER, 5.0), (STOCK, 9.0))
        for what in ("50 events a second", "300 events a second", "cursors of 100 users at 30 Hz")
    ]
    faults = [
        Fault(subject=VALTIER, fault="f", expected=10, lost=1, twice=0, disordered=0, back_ms=3.0),
        Fault(subject=STOCK, fault="f", expected=10, lost=9, twice=0, disordered=0, back_ms=None),
    ]
    idles = [Idle(subject=VALTIER, connections=10, kb_each=3.0)]
    storms = [Storm(subject=VALTIER, clients=10, all_s=1.0, p99_ms=3.0, failed=0)]
    targets = judge(fanouts, idles, storms, faults)
    assert [target.met for target in targets] == [True, True, True, False, True, True]
    report = Report(
        date="2026-01-01",
        machine={},
        parameters={"clients": 1, "rounds": 1},
        took_s=1.0,
        fanouts=fanouts,
        idles=idles,
        storms=storms,
        faults=faults,
        targets=targets,
    )
    assert all(grid.rows for grid in grids(report))
    for path in write_report(report, tmp_path, "x"):
        assert path.stat().st_size
