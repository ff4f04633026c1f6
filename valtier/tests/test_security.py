"""Cross-origin protection and security headers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valtier import ConfigurationError, CrossOriginProtection, SecurityHeaders, clear_site_data, judge_origin
from valtier.asgi import App, Header, Message, Receive, Scope, Send


async def play(app: App, *, kind: str = "http", **scope: Any) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(
        {"type": kind, "method": "POST", "path": "/", "scheme": "https", "headers": [], **scope},
        receive,
        send,
    )
    return sent


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": scope.get("answer", [])})
    await send({"type": "http.response.body", "body": b"hello"})


ALLOWED: list[dict[str, Any]] = [
    {"method": "GET", "fetch_site": b"cross-site", "origin": b"https://evil.example"},
    {"method": "HEAD", "fetch_site": b"cross-site"},
    {"method": "POST", "fetch_site": b"same-origin", "origin": b"https://studio.example"},
    {"method": "POST", "fetch_site": b"none"},
    {"method": "POST"},
    {"method": "POST", "origin": b"https://studio.example"},
    {"method": "POST", "origin": b"https://STUDIO.example"},
    {"method": "DELETE", "fetch_site": b"cross-site", "origin": b"https://partner.example"},
    {"method": "POST", "origin": b"https://partner.example"},
]
REFUSED: list[dict[str, Any]] = [
    {"method": "POST", "fetch_site": b"cross-site", "origin": b"https://evil.example"},
    {"method": "POST", "fetch_site": b"cross-site"},
    {"method": "POST", "fetch_site": b"same-site", "origin": b"https://sub.studio.example"},
    {"method": "POST", "fetch_site": b"same-origin, cross-site"},
    {"method": "PUT", "origin": b"https://evil.example"},
    {"method": "PATCH", "origin": b"null"},
    {"method": "POST", "origin": b"https://studio.example.evil.example"},
    {"method": "POST", "origin": b"https://studio.example:8443"},
    {"method": "POST", "origin": b""},
    {"method": "POST", "origin": b"studio.example"},
    {"method": "BREW", "origin": b"https://evil.example"},
    {"method": "get", "origin": b"https://evil.example"},
    {"method": "POST", "origin": b"https://partner.example.evil.example"},
]


def headers_of(given_: dict[str, Any]) -> list[Header]:
    names = {"fetch_site": b"sec-fetch-site", "origin": b"origin"}
    return [
        (b"host", b"studio.example"),
        *((names[key], value) for key, value in given_.items() if key in names),
    ]


@pytest.mark.parametrize(
    ("given_", "allowed"), [(case, True) for case in ALLOWED] + [(case, False) for case in REFUSED]
)
async def test_req45_what_another_site_sends_changes_nothing(given_: dict[str, Any], allowed: bool) -> None:
    """Requirement 45: Sec-Fetch-Site, else Origin against Host, else a trusted origin, else 403."""
    full = {"fetch_site": None, "origin": None, **given_}
    refusal = judge_origin(host=b"studio.example", trusted=[b"https://partner.example"], **full)
    assert (refusal is None) is allowed
    app = CrossOriginProtection(hello, trusted=["https://partner.example"])
    answer = await play(app, method=given_["method"], headers=headers_of(given_))
    assert answer[0]["status"] == (200 if allowed else 403)
    assert app.refused == (not allowed)
    if not allowed:
        assert (b"content-type", b"application/problem+json") in answer[0]["headers"]


async def test_req45_two_origins_are_none_that_a_browser_sends() -> None:
    """Requirement 45: a smuggled second header does not help."""
    app = CrossOriginProtection(hello)
    for name, good, bad in (
        (b"sec-fetch-site", b"same-origin", b"cross-site"),
        (b"origin", b"https://studio.example", b"https://evil.example"),
    ):
        answer = await play(app, headers=[(b"host", b"studio.example"), (name, good), (name, bad)])
        assert answer[0]["status"] == 403


async def test_req45_a_websocket_from_another_origin_is_refused() -> None:
    """Requirement 45, and 46: a handshake counts as a change."""
    app = CrossOriginProtection(hello)
    evil = [(b"host", b"studio.example"), (b"origin", b"https://evil.example")]
    own = [(b"host", b"studio.example"), (b"origin", b"https://studio.example")]
    assert await play(app, kind="websocket", headers=evil) == [{"type": "websocket.close", "code": 1008}]
    assert await play(app, kind="websocket", headers=own) == [{"type": "websocket.accept"}]


@given(st.text(), st.none() | st.binary(), st.none() | st.binary(), st.none() | st.binary())
def test_req45_no_input_raises(
    method: str, fetch_site: bytes | None, origin: bytes | None, host: bytes | None
) -> None:
    """Requirement 45: whatever is sent, there is an answer; and never a pass for another origin."""
    refusal = judge_origin(method, fetch_site=fetch_site, origin=origin, host=host)
    if method not in ("GET", "HEAD", "OPTIONS") and fetch_site not in (None, b"", b"same-origin", b"none"):
        assert refusal is not None


@pytest.mark.parametrize(
    "origin", ["https://partner.example/", "partner.example", "https://*.example", "HTTPS://x", "null", 5, ""]
)
def test_req45_a_trusted_origin_has_to_be_one(origin: Any) -> None:
    """Requirement 45: a typing error in the list is told at once."""
    with pytest.raises(ConfigurationError, match="origin"):
        CrossOriginProtection(hello, trusted=[origin])
    with pytest.raises(ConfigurationError):
        CrossOriginProtection(hello, trusted="https://partner.example")


async def test_req47_answers_carry_the_security_headers() -> None:
    """Requirement 47: HSTS over https, nosniff, CSP with frame-ancestors, Referrer-Policy."""
    app = SecurityHeaders(hello)
    headers = dict((await play(app))[0]["headers"])
    assert headers[b"strict-transport-security"] == b"max-age=31536000"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]
    assert headers[b"referrer-policy"] == b"strict-origin-when-cross-origin"
    assert b"cache-control" not in headers
    plain = dict((await play(app, scheme="http"))[0]["headers"])
    assert b"strict-transport-security" not in plain
    proxied = SecurityHeaders(hello, behind_tls_proxy=True, include_subdomains=True, hsts="1d")
    assert dict((await play(proxied, scheme="http"))[0]["headers"])[b"strict-transport-security"] == (
        b"max-age=86400; includeSubDomains"
    )


async def test_req47_what_the_application_says_stays_but_for_private_pages() -> None:
    """Requirement 47: `no-store` on account pages, whatever the application says; else its own headers win."""
    app = SecurityHeaders(hello, no_store=["/account", "/api/me/"])
    own = [(b"Referrer-Policy", b"no-referrer"), (b"cache-control", b"max-age=60")]
    headers = (await play(app, answer=own, path="/page"))[0]["headers"]
    assert [value for name, value in headers if name.lower() == b"referrer-policy"] == [b"no-referrer"]
    assert (b"cache-control", b"max-age=60") in headers
    for path in ("/account", "/account/devices", "/api/me", "/api/me/x"):
        headers = (await play(app, answer=own, path=path))[0]["headers"]
        assert [value for name, value in headers if name == b"cache-control"] == [b"no-store"]
    headers = (await play(app, answer=own, path="/accounts"))[0]["headers"]
    assert (b"cache-control", b"max-age=60") in headers
    assert await play(app, kind="websocket") == [{"type": "websocket.accept"}]


def test_req47_signing_out_clears_what_the_browser_holds() -> None:
    """Requirement 47: Clear-Site-Data on logout."""
    assert clear_site_data() == (b"clear-site-data", b'"cache", "storage"')
    assert clear_site_data(["cookies"]) == (b"clear-site-data", b'"cookies"')
    for wrong in (["everything"], [], "*"):
        with pytest.raises(ConfigurationError):
            clear_site_data(wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"content_security_policy": "default-src 'self'"},
        {"more": [("x-a", "a\r\nset-cookie: b")]},
        {"more": [("x a", "b")]},
        {"referrer_policy": "ä"},
        {"hsts": 0},
        {"no_store": ["account"]},
        {"no_store": "/account"},
    ],
)
def test_req47_headers_that_can_not_be_are_refused(options: dict[str, Any]) -> None:
    """Requirement 47: a policy without frame-ancestors, or a value that would split the header, is told at once."""
    with pytest.raises(ConfigurationError):
        SecurityHeaders(hello, **options)
