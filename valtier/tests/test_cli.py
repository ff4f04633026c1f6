"""The command line."""

import asyncio
import json
import socket

import pytest

from valtier import Tier
from valtier.asgi import Message, Receive, Scope, Send
from valtier.cli import main
from valtier.embedded import EmbeddedValkey
from valtier.http import ResponseCache


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_ping_tells_what_answers(valkey: EmbeddedValkey, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", valkey.url, "ping"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["connected"]
    assert "valkey" in told["server"]


def test_ping_fails_where_nothing_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", f"redis://127.0.0.1:{closed_port()}", "ping"]) == 1
    assert json.loads(capsys.readouterr().out)["connected"] is False


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    fields = [(b"cache-control", b"max-age=60"), (b"cache-tag", b"a"), (b"cache-groups", b'"g"')]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"hello"})


async def is_hit(tier: Tier) -> bool:
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"",
        "headers": [(b"host", b"site.test")],
    }
    await ResponseCache(app, tier)(scope, receive, send)
    return b"; hit" in dict(messages[0]["headers"])[b"cache-status"]


@pytest.mark.parametrize(
    "what",
    [["http://site.test/a"], ["--tag", "a"], ["--group", "http://site.test#g"]],
    ids=lambda what: what[0],
)
async def test_purge_invalidates_for_all_processes(valkey: EmbeddedValkey, what: list[str]) -> None:
    async with Tier.from_url(valkey.url, deadline=5, local_bytes=0, prefix="p") as tier:
        await is_hit(tier)
        assert await is_hit(tier)
        assert await asyncio.to_thread(main, ["--url", valkey.url, "--prefix", "p", "purge", *what]) == 0
        assert not await is_hit(tier)


def test_purge_says_what_it_can_not_do(valkey: EmbeddedValkey, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", valkey.url, "purge", "/relative"]) == 2
    assert "absolute" in capsys.readouterr().err
    assert main(["--url", valkey.url, "purge", "--group", "g"]) == 2
    assert main(["--url", f"redis://127.0.0.1:{closed_port()}", "purge", "--tag", "a"]) == 1
    assert "nothing is purged" in capsys.readouterr().err


def test_without_valkey_there_is_nothing_to_talk_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_REDIS", "false")
    assert main(["ping"]) == 2
