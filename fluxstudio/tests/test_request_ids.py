"""Every request has an id: told in its answer, and in each line that is logged for it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fluxstudio.http.request_ids import RequestIds
from fluxstudio.ops.logs import configure_logging
from fluxstudio.testing import Caller, running, settings_for
from valtier.embedded import EmbeddedValkey


@pytest.fixture
def json_logs() -> Iterator[io.StringIO]:
    """What the loggers of FluxStudio and valtier write."""
    loggers = [logging.getLogger(name) for name in ("fluxstudio", "valtier")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    configure_logging(as_json=True)
    stream = io.StringIO()
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(stream)
    yield stream
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


async def test_every_answer_has_an_id_of_its_own(shared_database_url: str, valkey: EmbeddedValkey) -> None:
    async with running(settings_for(shared_database_url, valkey.url, api_limit="2/minute")) as app:
        responses = [
            await Caller(app).call(method, path)
            for method, path in [
                ("GET", "/api/health"),
                ("GET", "/api/me"),
                ("GET", "/nope"),
                ("POST", "/api/sign-in"),
                ("GET", "/api/me"),
                ("GET", "/api/me"),
            ]
        ]
        ids = [response.headers.get_list("x-request-id") for response in responses]
        assert [len(one) for one in ids] == [1] * len(responses)
        assert len({one[0] for one in ids}) == len(responses)
        assert 429 in {response.status_code for response in responses}, "refusals have one too"


async def test_what_is_logged_for_a_request_has_its_id(
    shared_database_url: str, valkey: EmbeddedValkey, json_logs: io.StringIO
) -> None:
    async with running(settings_for(shared_database_url, valkey.url)) as app:

        @app.get("/api/broken")
        async def broken() -> None:
            raise RuntimeError("broken on purpose")

        begin = len(json_logs.getvalue())
        response = await Caller(app).call("GET", "/api/broken")
        assert response.status_code == 500
        lines = [json.loads(line) for line in json_logs.getvalue()[begin:].splitlines()]
    assert lines
    assert {line.get("request_id") for line in lines} == {response.headers["x-request-id"]}
    assert any("broken on purpose" in json.dumps(line) for line in lines)


def _scope(peer: str, *values: bytes) -> dict[str, Any]:
    return {"client": (peer, 1), "headers": [(b"x-request-id", value) for value in values]}


@pytest.mark.parametrize(
    ("peer", "values", "taken"),
    [
        ("10.0.0.1", (b"abcdef-12345",), True),
        ("10.0.0.1", (b"short",), False),
        ("10.0.0.1", (b"x" * 129,), False),
        ("10.0.0.1", (b"two words here",), False),
        ("10.0.0.1", (b"line\nbreak-inside",), False),
        ("10.0.0.1", (b"trailing-newline\n",), False),
        ("10.0.0.1", (b"one-of-two-ids", b"two-of-two-ids"), False),
        ("10.0.0.1", (), False),
        ("203.0.113.9", (b"abcdef-12345",), False),
    ],
)
def test_an_id_is_taken_from_a_trusted_proxy_alone_and_well_formed(
    peer: str, values: tuple[bytes, ...], taken: bool
) -> None:
    found = RequestIds(("10.0.0.0/8",)).of(_scope(peer, *values))
    assert (found == values[0]) if taken else (found not in values)
    assert RequestIds(()).of(_scope(peer, *values)) not in values


async def test_a_trusted_proxys_id_comes_back(shared_database_url: str) -> None:
    async with running(settings_for(shared_database_url, None, trusted_proxies=("127.0.0.1",))) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://studio.test") as client:
            response = await client.get("/api/health", headers={"x-request-id": "from-the-proxy-1"})
        assert response.headers.get_list("x-request-id") == ["from-the-proxy-1"]
