"""The browser's side as it is served: for ever where names carry a hash, asked for where not, precompressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from fluxstudio.http.static import Static


@pytest.fixture
def static(tmp_path: Path) -> Static:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "main-abc.js").write_text("let a = 1")
    (tmp_path / "assets" / "main-abc.js.br").write_bytes(b"br")
    (tmp_path / "assets" / "main-abc.js.gz").write_bytes(b"gz")
    return Static(tmp_path)


async def ask(
    static: Static, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[bytes, bytes], bytes] | None:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": given}
    if not static.answers(scope):
        return None
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await static(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:])


@pytest.mark.parametrize("path", ["/", "/projects/7", "/sign-in", "/projects/7/boards/9"])
async def test_every_screen_is_the_page_which_asks_each_time(path: str, static: Static) -> None:
    answer = await ask(static, path)
    assert answer is not None
    status, headers, body = answer
    assert (status, body, headers[b"cache-control"]) == (200, b"<!doctype html>", b"no-cache")
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]
    assert b"unsafe-eval" not in headers[b"content-security-policy"].replace(b"wasm-unsafe-eval", b"")
    again = await ask(static, path, if_none_match=headers[b"etag"].decode())
    assert again is not None
    assert (again[0], again[2]) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/api/projects", "/api/nothing", "/p/slug", "/assets/gone.js", "/socket.io/", "/dev/mail"]
)
async def test_what_is_no_screen_is_left_to_others(path: str, static: Static) -> None:
    assert await ask(static, path) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_only_reading_is_answered(method: str, static: Static) -> None:
    assert await ask(static, "/", method) is None


@pytest.mark.parametrize(
    ("accepts", "encoding", "body"),
    [
        ("gzip, br", b"br", b"br"),
        ("gzip", b"gzip", b"gz"),
        ("br;q=0, gzip", b"gzip", b"gz"),
        ("identity", None, b"let a = 1"),
        ("", None, b"let a = 1"),
    ],
)
async def test_files_are_kept_for_ever_and_compressed(
    accepts: str, encoding: bytes | None, body: bytes, static: Static
) -> None:
    answer = await ask(static, "/assets/main-abc.js", accept_encoding=accepts)
    assert answer is not None
    status, headers, got = answer
    assert (status, headers.get(b"content-encoding"), got) == (200, encoding, body)
    assert headers[b"cache-control"] == b"public, max-age=31536000, immutable"
    assert headers[b"vary"] == b"accept-encoding"
    assert headers[b"content-type"].startswith(b"text/javascript")


@pytest.mark.parametrize("path", ["/../secret", "/assets/../../secret", "/assets/%2e%2e/secret", "/.built"])
async def test_nothing_outside_is_served(path: str, static: Static, tmp_path: Path) -> None:
    (tmp_path.parent / "secret").write_text("secret")
    answer = await ask(static, path)
    assert answer is None or b"secret" not in answer[2]


async def test_a_head_has_no_body(static: Static) -> None:
    answer = await ask(static, "/assets/main-abc.js", "HEAD")
    assert answer is not None
    assert (answer[1][b"content-length"], answer[2]) == (b"9", b"")


async def test_without_a_build_nothing_is_answered(tmp_path: Path) -> None:
    static = Static(tmp_path)
    assert not static.built
    assert await ask(static, "/") is None
