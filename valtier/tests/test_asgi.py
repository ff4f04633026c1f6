"""The helpers that the middlewares share."""

from typing import Any

import msgspec
import pytest

from valtier.asgi import Message, Receive, Scope, Send, Together, cookie, header, header_values, send_problem


def scope_of(*headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "headers": list(headers)}


async def nothing() -> Message:
    raise AssertionError("nobody reads the request")


class Layer:
    """A middleware with an early lookup."""

    def __init__(self, app: Any, name: str, log: list[str]) -> None:
        self.app, self.name, self.log = app, name, log

    def begin(self, scope: Scope) -> None:
        self.log.append(f"begin {self.name}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.log.append(f"call {self.name}")
        await self.app(scope, receive, send)


class Plain:
    """A middleware without one."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def test_all_lookups_begin_before_the_first_middleware_has_its_turn() -> None:
    log: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        log.append("app")

    async def send(message: Message) -> None:
        raise AssertionError(message)

    stack = Together(Layer(Plain(Layer(app, "inner", log)), "outer", log))
    await stack(scope_of(), nothing, send)
    assert log == ["begin outer", "begin inner", "call outer", "call inner", "app"]
    log.clear()
    await stack({"type": "lifespan"}, nothing, send)
    assert log == ["call outer", "call inner", "app"]


def test_the_first_header_and_all_headers() -> None:
    scope = scope_of((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    assert (header(scope, b"a"), header(scope, b"c")) == (b"1", None)
    assert (header_values(scope, b"a"), header_values(scope, b"c")) == ([b"1", b"3"], [])


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"id=abc", b"abc"),
        (b"x=1; id=abc; y=2", b"abc"),
        (b"x=1;id=abc", b"abc"),
        (b'id="abc"', b"abc"),
        (b'id="', b'"'),
        (b"id=a=b", b"a=b"),
        (b"id=first; id=second", b"first"),
        (b"xid=abc", None),
        (b"id", None),
        (b"id=", b""),
        (b";;=;", None),
    ],
)
def test_a_cookie_is_found_among_others(line: bytes, value: bytes | None) -> None:
    assert cookie(scope_of((b"cookie", line)), b"id") == value


async def test_a_problem_says_what_to_do_and_is_never_stored() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await send_problem(
        send,
        429,
        kind="quota-exceeded",
        title="Too many",
        detail="Wait.",
        headers=[(b"retry-after", b"3")],
        quota=5,
    )
    start, body = sent
    assert start["status"] == 429
    assert dict(start["headers"]) == {
        b"content-type": b"application/problem+json",
        b"content-length": str(len(body["body"])).encode(),
        b"cache-control": b"no-store",
        b"retry-after": b"3",
    }
    assert msgspec.json.decode(body["body"]) == {
        "type": "quota-exceeded", "title": "Too many", "status": 429, "detail": "Wait.", "quota": 5,
    }  # fmt: skip
