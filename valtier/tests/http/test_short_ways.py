"""The short ways to a hit (`http.hits`) answer just as the long way does, whatever is asked."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
from helping import Client, Site, scope

from valtier import Tier
from valtier.asgi import Receive, Scope, Send, Together
from valtier.http import ResponseCache
from valtier.testing import eventually

ANSWERS: dict[str, dict[str, str]] = {
    "plain": {},
    "tagged": {"cache_tag": "a, b"},
    "strong": {"etag": '"v1"'},
    "weak": {"etag": 'W/"v1"'},
    "dated": {"last_modified": "Sun, 01 Nov 2026 00:00:00 GMT", "etag": '"v1"'},
    "varying": {"vary": "accept-language", "etag": '"v1"'},
}
CONTROLS = ("public, max-age=60", "max-age=60", "private, max-age=60")
ASKED: tuple[dict[str, str], ...] = (
    {},
    {"if_none_match": '"v1"'},
    {"if_none_match": 'W/"v1"'},
    {"if_none_match": '"v0", "v1"'},
    {"if_none_match": "*"},
    {"if_none_match": '"v2"'},
    {"if_modified_since": "Mon, 02 Nov 2026 00:00:00 GMT"},
    {"if_none_match": '"v2"', "if_modified_since": "Mon, 02 Nov 2026 00:00:00 GMT"},
    {"range": "bytes=0-2"},
    {"range": "bytes=0-2", "if_range": '"v1"'},
    {"cache_control": "max-age=100"},
    {"cache_control": "no-cache"},
    {"if_match": '"v1"'},
    {"accept_language": "de"},
    {"cookie": "a=1"},
    {"cookie": "a=1", "if_none_match": '"v1"'},
    {"who": "ann"},
    {"who": "bob", "if_none_match": '"v1"'},
    {"x_forwarded_host": "evil.test"},
    {"x_http_method_override": "DELETE"},
    {"content_length": "0"},
)


class Signed:
    def __init__(self, app: ResponseCache) -> None:
        self.app = app

    async def __call__(self, request: Scope, receive: Receive, send: Send) -> None:
        if who := dict(request["headers"]).get(b"who"):
            request["valtier.identity"] = who.decode()
        await self.app(request, receive, send)


def ways(site: Site, tier: Tier, **options: Any) -> dict[str, Any]:
    """The same cache, asked by its short ways (alone, and begun early) and by the long one."""
    long = ResponseCache(site, tier, **options)
    short = ResponseCache(site, tier, **options)
    early = ResponseCache(site, tier, **options)
    long._hits.kept = lambda *_: None  # type: ignore[method-assign]
    if options["private"] == "valkey":  # else `peek` is the only other way
        long._hits.peek = lambda *_: None  # type: ignore[method-assign]
        long._hits.holds = lambda *_: False  # type: ignore[method-assign]
    return {"long": Signed(long), "short": Signed(short), "early": Together(Signed(early))}


def told(client: Client) -> list[Any]:
    """What came, without what counts seconds."""
    lines = []
    for name, value in client.messages[0]["headers"]:
        text = value.decode()
        if name in (b"age", b"date"):
            text = ""
        lines.append((name, re.sub(r"ttl=-?\d+|boundary=\S+", "", text)))
    return [client.status, lines, client.body]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("private", ["valkey", "process"])
async def test_the_short_ways_answer_as_the_long_one_does(
    here: Tier, private: str, answer: str, control: str, method: str
) -> None:
    site = Site(control, **ANSWERS[answer])
    site.content = b"answer"
    apps = ways(site, here, private=private)
    for app, who in product(apps.values(), ("", "ann")):
        for _ in range(3):
            await Client(app, scope(**({"who": who} if who else {}))).run()
    if answer != "varying" and control.startswith("public"):
        await eventually(lambda: here.cache.local["entries"] >= 1)
        for app in apps.values():
            await Client(app, scope()).run()
    for fields in ASKED:
        came = {}
        for name, app in apps.items():
            await Client(app, scope(method=method, **fields)).run()  # the second finds what it has left
            came[name] = told(await Client(app, scope(method=method, **fields)).run())
        assert came["short"] == came["long"], fields
        assert came["early"] == came["long"], fields
