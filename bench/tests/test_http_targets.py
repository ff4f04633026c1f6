"""The targets of the response cache's bench, and its load generator."""

import asyncio

from bench.http import options as o
from bench.http.measures import Job, Sample, Seen
from bench.http.results import Cell, judge
from bench.http.run import _play
from bench.http.subjects import bare, content
from valtier.testing.proxy import Server


def cell(subject: str, per_s: float, cpu_us: float = 10.0) -> Cell:
    seen = Seen(
        requests=int(per_s), seconds=1, errors=0, p50_us=1, p99_us=2, load_cpu_s=0.5, first="HTTP/1.1 200"
    )
    return Cell.of(subject, 1000, [Sample(seen=seen, cpu_us=cpu_us)])


def test_each_target_is_a_ratio_within_the_run() -> None:
    cells = [cell(o.BARE, 1000), cell(o.LOCAL, 950, 15.0), cell(o.REMOTE, 600), cell(o.SDK, 100)]
    verdicts = [target.verdict for target in judge(cells, 1000)]
    assert verdicts == ["met", "FALLS SHORT", "FALLS SHORT", "not measured", "not measured", "met"]


def test_the_content_has_the_length_that_was_asked_for() -> None:
    assert [len(content(size)) for size in (100, 1_000, 50_000)] == [100, 1_000, 50_000]


async def test_the_load_checks_what_it_gets() -> None:
    async with Server(bare(content(1000))) as server:

        def job(length: int) -> Job:
            return Job(
                port=server.port,
                path="/item",
                headers=[("accept", "*/*")],
                connections=4,
                seconds=0.2,
                warm_up_s=0.05,
                status=200,
                length=length,
            )

        seen = await asyncio.to_thread(_play, job(1000))
        assert seen.requests > 0
        assert seen.errors == 0
        assert (await asyncio.to_thread(_play, job(999))).errors > 0
