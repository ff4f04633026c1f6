"""What the load driver promises: it measures finely, keeps its pace, and counts whatever goes wrong."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fluxstudio.benchmark import loadgen, plan
from fluxstudio.benchmark.loadgen import Job, LoadGenerator, Observed
from fluxstudio.benchmark.options import BenchError, Load

PACED = Load(clients=1000, requests_per_client_s=1)


@pytest.fixture(scope="session")
def generator(bench_data: Path) -> LoadGenerator:
    return loadgen.install(bench_data)


@asynccontextmanager
async def answering(answers: dict[str, bytes]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers by path; an empty answer closes the connection. Yields its URL and what it was sent."""
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                asked.append(head + (await reader.readexactly(int(length[1])) if length else b""))
                answer = answers[head.split(b" ", 2)[1].decode()]
                if not answer:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", asked


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"


async def play(
    generator: LoadGenerator,
    folder: Path,
    url: str,
    file: plan.Plan,
    load: Load,
    *,
    amount: int = 0,
    seconds: float = 1.0,
) -> Observed:
    plan.write_plan(file, folder / "plan.json")
    job = Job(
        url=url,
        plan=str(folder / "plan.json"),
        out=str(folder / "out.json"),
        clients=load.clients,
        requests_per_client_s=load.requests_per_client_s,
        ramp_s=0.2,
        seconds=seconds,
        timeout_s=5,
        amount=amount,
    )
    return await asyncio.to_thread(generator.play, job)


async def test_the_driver_counts_every_answer_that_is_not_2xx_and_every_lost_one(
    generator: LoadGenerator, tmp_path: Path
) -> None:
    requests = [
        plan.Request(0, 0, "GET", "/fine", None),
        plan.Request(1, -1, "POST", "/broken", '{"a": 1}'),
        plan.Request(0, 0, "GET", "/lost", None),
    ]
    file = plan.Plan(kinds=("GET a", "POST b"), cookies=["session=x"], requests=requests)
    async with answering({"/fine": OK, "/broken": BROKEN, "/lost": b""}) as (url, asked):
        seen = await play(generator, tmp_path, url, file, Load(clients=1))
    paths = Counter(request.split(b" ", 2)[1] for request in asked)
    errors = seen.errors()
    assert set(errors) == {"POST b → 500", "connection closed without an answer"}
    assert paths[b"/lost"] - errors["connection closed without an answer"] in (
        0,
        1,
    )  # the last may be in flight
    assert paths[b"/broken"] - errors["POST b → 500"] in (0, 1)
    assert seen.latencies_us["POST b"] == []
    assert len(seen.latencies_us["GET a"]) > 10
    fine = next(request for request in asked if b"/fine" in request)
    broken = next(request for request in asked if b"/broken" in request)
    assert b"cookie: session=x" in fine
    assert b"cookie" not in broken
    assert broken.endswith(b'{"a": 1}')
    assert f"origin: {url}".encode() in broken


async def test_the_driver_measures_below_a_millisecond_and_gives_each_client_its_own_requests(
    generator: LoadGenerator, tmp_path: Path
) -> None:
    requests = [plan.Request(0, -1, "GET", f"/{number}", None) for number in range(8)]
    file = plan.Plan(kinds=("GET a",), cookies=[], requests=requests)
    async with answering({f"/{number}": OK for number in range(8)}) as (url, asked):
        seen = await play(generator, tmp_path, url, file, Load(clients=4))
    latencies = seen.latencies_us["GET a"]
    assert seen.errors() == {}
    assert seen.answered == len(latencies) > 100
    assert any(latency % 1000 for latency in latencies)
    assert 1.5 < sum(latencies) / 1e6 < 4.5  # four clients who wait all the time, for a second
    paths = Counter(request.split(b" ", 2)[1] for request in asked)
    assert len(paths) == 8
    assert seen.wrapped > 0


async def test_paced_clients_keep_their_pace_and_do_not_all_send_at_once(
    generator: LoadGenerator, tmp_path: Path
) -> None:
    requests = [plan.Request(0, -1, "GET", "/", None) for _ in range(800)]
    file = plan.Plan(kinds=("GET a",), cookies=[], requests=requests)
    async with answering({"/": OK}) as (url, _):
        seen = await play(generator, tmp_path, url, file, replace(PACED, clients=200), seconds=3.0)
    assert seen.errors() == {}
    assert (
        300 <= seen.answered <= 650
    )  # 600; a busy machine answers late, and nobody sends more to make up for it
    assert seen.sent <= 800


async def test_a_warm_up_plays_its_requests_once_each(generator: LoadGenerator, tmp_path: Path) -> None:
    requests = [plan.Request(0, -1, "GET", f"/{number}", None) for number in range(60)]
    file = plan.Plan(kinds=("GET a",), cookies=[], requests=requests)
    async with answering({f"/{number}": OK for number in range(60)}) as (url, asked):
        seen = await play(generator, tmp_path, url, file, Load(clients=4), amount=60)
    assert len(asked) == len(set(asked)) == seen.sent == 60
    assert seen.errors() == {}


async def test_a_driver_that_fails_is_an_error_with_its_reason(
    generator: LoadGenerator, tmp_path: Path
) -> None:
    file = plan.Plan(kinds=("GET a",), cookies=[], requests=[])
    with pytest.raises(BenchError, match="load generator failed"):
        await play(generator, tmp_path, "http://127.0.0.1:1", file, Load(clients=1))
