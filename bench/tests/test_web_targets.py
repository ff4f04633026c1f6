"""The targets of the studio in the browser: what a run found, judged."""

from __future__ import annotations

from bench.common.figures import quantile
from bench.web.options import Found, Frames, Latency, Visit, Weight
from bench.web.targets import judge


def found(
    *, warm: float = 200, kb: float = 140, early: bool = False, fps: float = 55, lag: float = 30
) -> Found:
    def weight(what: str, kb: float, *, board: bool) -> Weight:
        return Weight(what=what, files=3, gzip_kb=kb, sent_kb=kb, board=board)

    return Found(
        visits=[Visit(what="Projects, warm", took_ms=[warm] * 5)],
        weights=[
            weight("the sign-in", kb, board=False),
            weight("Projects", kb, board=early),
            weight("a board", 900, board=True),
        ],
        frames=[Frames(what="x", fps=fps, p50_ms=16, p95_ms=20, longest_ms=30, cursors_hz=30, busy=0.5)],
        latencies=[Latency(what="A cursor", sent=9, seen=9, took_ms=[lag] * 9)],
        chromium="Chromium 1",
    )


def test_a_run_that_keeps_all_promises_meets_all_targets() -> None:
    assert [target.met for target in judge(found())] == [True] * 5


def test_each_promise_that_is_broken_is_told() -> None:
    for broken in (found(warm=400), found(kb=170), found(early=True), found(fps=20), found(lag=80)):
        assert [target.met for target in judge(broken)].count(False) == 1


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([], 0.5) == 0.0
