"""What Starlette's applications do passes through the cache as it should: streams, files, background tasks, middlewares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from helping import Client, get, scope
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from valtier import Tier
from valtier.embedded import EmbeddedValkey
from valtier.http import ResponseCache
from valtier.testing import eventually

CACHED = {"Cache-Control": "max-age=60"}


class Passing(BaseHTTPMiddleware):
    """A middleware as many write it."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["X-Passed"] = "yes"
        return response


class Site:
    """An application with one of each."""

    def __init__(self, folder: Path) -> None:
        self.calls: list[str] = []
        self.done: list[str] = []
        self.file = folder / "a.txt"
        self.file.write_text("a file")
        routes = [
            Route("/stream", self.stream),
            Route("/endless", self.endless),
            Route("/file", self.send_file),
            Route("/background", self.background),
            Mount("/mounted", routes=[Route("/page", self.page)]),
        ]
        self.app = Starlette(routes=routes, middleware=[Middleware(Passing)])

    async def stream(self, request: Request) -> Response:
        self.calls.append("stream")

        async def parts() -> AsyncIterator[bytes]:
            for part in (b"one ", b"two ", b"three"):
                yield part
                await asyncio.sleep(0)

        return StreamingResponse(parts(), headers=CACHED)

    async def endless(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"data: x\n\n"
                    await asyncio.sleep(0.001)
            finally:
                self.done.append("endless")

        return StreamingResponse(parts(), media_type="text/event-stream")

    async def send_file(self, request: Request) -> Response:
        self.calls.append("file")
        return FileResponse(self.file, headers=CACHED)

    async def background(self, request: Request) -> Response:
        self.calls.append("background")
        return PlainTextResponse(
            "hello", headers=CACHED, background=BackgroundTask(self.done.append, "background")
        )

    async def page(self, request: Request) -> Response:
        self.calls.append("page")
        return PlainTextResponse("page", headers=CACHED)


@pytest_asyncio.fixture
async def tier(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5) as made:
        yield made


@pytest.mark.parametrize("spec", ["2.0", "2.4"])
@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/stream", b"one two three"),
        ("/file", b"a file"),
        ("/background", b"hello"),
        ("/mounted/page", b"page"),
    ],
)
async def test_each_kind_of_response_is_stored(
    tier: Tier, tmp_path: Path, target: str, body: bytes, spec: str
) -> None:
    site = Site(tmp_path)
    cache = ResponseCache(site.app, tier)
    for hit in (False, True):
        request = scope(target)
        request["asgi"] = {"version": "3.0", "spec_version": spec}
        request["extensions"] = {"http.response.pathsend": {}}
        client = await asyncio.wait_for(Client(cache, request).run(), 10)
        assert (client.body, client.is_hit, client.headers["x-passed"]) == (body, hit, "yes")
    assert len(site.calls) == 1
    await cache.settle()
    assert site.done == (["background"] if target == "/background" else [])


@pytest.mark.parametrize("spec", ["2.0", "2.4"])
async def test_a_client_that_hangs_up_ends_an_endless_stream(tier: Tier, tmp_path: Path, spec: str) -> None:
    site = Site(tmp_path)
    cache = ResponseCache(site.app, tier)
    request = scope("/endless")
    request["asgi"] = {"version": "3.0", "spec_version": spec}
    client = Client(cache, request)
    task = asyncio.create_task(client.run())
    await eventually(lambda: client.body.count(b"x") > 2)
    client.gone.set()
    await eventually(lambda: bool(site.done))
    await asyncio.wait([task])
    await asyncio.wait_for(cache.settle(), 10)
    assert (await get(cache, "/mounted/page")).status == 200


async def test_a_file_answers_ranges_and_conditions_from_the_store(tier: Tier, tmp_path: Path) -> None:
    site = Site(tmp_path)
    cache = ResponseCache(site.app, tier)
    first = await get(cache, "/file")
    part = await get(cache, "/file", range="bytes=2-5")
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"file", "bytes 2-5/6")
    same = await get(cache, "/file", if_none_match=first.headers["etag"])
    assert (same.status, same.body) == (304, b"")
    head = await get(cache, "/file", method="HEAD")
    assert (head.headers["content-length"], head.body) == ("6", b"")
    assert site.calls == ["file"]
