"""What a request of FluxStudio costs one worker: CPU time by kind of request, and layer by layer of one that is a hit.

Run it as `python -m bench.request`. It calls the application in this process, with a real Valkey and PostgreSQL, as its
server would; the server's own parsing and the sockets of clients are not in it. Times are of `time.process_time`, medians
over rounds. A layer's time is the difference between calling it and calling what is inside it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table
from starlette.requests import Request

from fluxstudio.app import Application
from fluxstudio.db.migrate import upgrade
from fluxstudio.testing import Database, World, make_world, running, settings_for
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey

Work = Callable[[], Awaitable[object]]
AT_ONCE = 20
SIDES = ("with the cache", "PostgreSQL alone")
HIT = "GET /api/projects"


class Client:
    """Asks the application as a server does."""

    def __init__(self, app: Application, token: str) -> None:
        self._app = app
        self._cookie = f"flux={token}".encode()
        self.failed = 0

    def scope(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        path, _, query = path.partition("?")
        headers = [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*"), (b"cookie", self._cookie)]
        if body:
            headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "root_path": "", "query_string": query.encode(), "headers": headers,
            "client": ("127.0.0.1", 1234), "server": ("127.0.0.1", 8000), "extensions": {}, "app": self._app,
        }  # fmt: skip

    async def ask(self, method: str, path: str, value: object = None, *, layer: Any = None) -> None:
        """Sends a request to the application, or to one of its layers."""
        body = b"" if value is None else json.dumps(value).encode()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        await (layer or self._app)(self.scope(method, path, body), receive, self.send)

    async def send(self, message: Mapping[str, Any]) -> None:
        self.failed += message.get("status", 200) >= 400

    def check(self) -> None:
        """Raises RuntimeError if anything was refused: then nothing has been measured."""
        if self.failed:
            raise RuntimeError(f"{self.failed} requests failed")


def kinds_of(client: Client, world: World) -> dict[str, Work]:
    """Returns the kinds of requests that are measured."""
    project, numbers = f"/api/projects/{world.project}", itertools.count(world.newest_message + 1)
    return {
        HIT: lambda: client.ask("GET", "/api/projects"),
        "GET /api/projects/{id}": lambda: client.ask("GET", project),
        "GET …/messages": lambda: client.ask("GET", f"{project}/messages"),
        "GET …/messages, never asked before": lambda: client.ask(
            "GET", f"{project}/messages?before={next(numbers)}"
        ),
        "GET /p/{slug}": lambda: client.ask("GET", f"/p/{world.slug}"),
        "PUT …/read": lambda: client.ask("PUT", f"{project}/read", {"message_id": world.newest_message}),
        "POST …/messages": lambda: client.ask("POST", f"{project}/messages", {"body": "I made it larger"}),
    }


def layers_of(client: Client, app: Application) -> dict[str, Work]:
    """Returns the layers of the hit, from the outside in: each name with what calls it and all inside it."""
    together: Any = app.entrance
    headers = together.app
    limit = headers.app
    gate = limit.app
    edge: Any = app._edge  # noqa: SLF001
    lane = edge.lanes.find("/api/projects")[0]

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await (await lane.endpoint(Request(scope, receive)))(scope, receive, send)

    async def session(scope: Any, *_: Any) -> None:
        await app.studio.caller(Request(scope))  # type: ignore[union-attr]

    async def nothing(*_: Any) -> None:
        return

    layers = {
        "Drain, static files, Traffic": None, "Together": together, "SecurityHeaders": headers, "RateLimit": limit,
        "Gate": gate, "Edge": edge, "cache and answer": endpoint, "session": session, "this bench": nothing,
    }  # fmt: skip
    return {name: partial(client.ask, "GET", "/api/projects", layer=layer) for name, layer in layers.items()}


async def cpu_us(work: Work, count: int) -> float:
    """Returns the CPU time of one in microseconds; `AT_ONCE` run at once."""
    before = time.process_time()
    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return (time.process_time() - before) / (count // AT_ONCE * AT_ONCE) * 1e6


async def medians(works: Mapping[str, Work], *, rounds: int, count: int) -> dict[str, float]:
    """Measures all in turn, in each round."""
    seen: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            await cpu_us(work, AT_ONCE)  # what the kind before has made stale is loaded again
            took = await cpu_us(work, count)
            if number:  # the first warms
                seen[name].append(took)
    return {name: statistics.median(times) for name, times in seen.items()}


async def measure(
    url: str, redis_url: str | None, *, rounds: int, count: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns the CPU time of each kind of request, and with Valkey what is left of the hit within each layer."""
    async with Database.open(url) as database:
        world = await make_world(database)
    options: dict[str, Any] = {"response_cache": "public", "pool_size": 10}
    layers: dict[str, float] = {}
    async with running(settings_for(url, redis_url, **options)) as app:
        client = Client(app, world.ada.token)
        kinds = await medians(kinds_of(client, world), rounds=rounds, count=count)
        client.check()
    if redis_url is not None:
        async with running(settings_for(url, redis_url, api_limit="30000000/minute", **options)) as app:
            client = Client(app, world.ada.token)
            layers = await medians(layers_of(client, app), rounds=rounds, count=count)
            client.check()
    return kinds, layers


def shares(layers: Mapping[str, float]) -> dict[str, float]:
    """Returns what each layer takes itself: its time without that of what is inside it.

    The session is looked up within the answer; what the bench itself takes is in none.
    """
    own, names = layers["this bench"], list(layers)[:-2]
    found = {name: layers[name] - layers[inner] for name, inner in itertools.pairwise(names)}
    session = layers["session"] - own
    return found | {"session": session, names[-1]: layers[names[-1]] - own - session}


def tables(sides: Mapping[str, Mapping[str, float]], layers: Mapping[str, float]) -> Iterator[Table]:
    """Makes the tables."""
    table = Table("µs of one worker's CPU", *sides)
    for kind in next(iter(sides.values())):
        table.add_row(kind, *(f"{times[kind]:.0f}" for times in sides.values()))
    yield table
    table = Table(f"{HIT}, a hit, with a limit", "µs")
    for name, took in shares(layers).items():
        table.add_row(name, f"{took:.1f}")
    yield table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.request", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="of which the median is taken (9)")
    parser.add_argument("--count", type=int, default=400, help="requests of each kind in a round (400)")
    given = parser.parse_args(arguments)
    sides: dict[str, dict[str, float]] = {}
    layers: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as postgres,
        EmbeddedValkey(Path(folder) / "valkey", settings={"save": ""}) as valkey,
    ):
        for number, (side, redis_url) in enumerate(zip(SIDES, (valkey.url, None), strict=True)):
            url = f"{postgres.url.rpartition('/')[0]}/request_{number}"
            asyncio.run(_create(postgres.url, f"request_{number}"))
            upgrade(url)
            sides[side], found = uvloop.run(measure(url, redis_url, rounds=given.rounds, count=given.count))
            layers |= found
    for table in tables(sides, layers):
        Console().print(table)


async def _create(url: str, name: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main()
