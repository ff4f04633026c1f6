"""The session of each request: cookies, signing in and out, and what a browser may send."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessions_world import PLACES, World, real_worker

from valtier import ConfigurationError, SessionCookie, SessionMiddleware, Sessions, Tier, Visit
from valtier.asgi import App, Message, Receive, Scope, Send, Together
from valtier.embedded import EmbeddedValkey
from valtier.sessions import token as tokens
from valtier.sessions.local import Local
from valtier.sessions.state import parse_hash
from valtier.testing import eventually


@pytest.fixture(params=PLACES)
async def world(request: pytest.FixtureRequest, valkey: EmbeddedValkey, shared_database_url: str) -> World:
    world = World(request.param, valkey, shared_database_url)
    await world.prepare()
    return world


class Answer:
    def __init__(self, messages: list[Message]) -> None:
        start = messages[0]
        self.status: int = start.get("status", 0)
        self.headers: list[tuple[bytes, bytes]] = start.get("headers", [])
        self.body = b"".join(message.get("body", b"") for message in messages[1:])
        self.messages = messages

    @property
    def cookies(self) -> list[str]:
        return [value.decode() for name, value in self.headers if name == b"set-cookie"]


class Browser:
    """Sends requests to an application, with whatever cookie it was given last."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.jar: str | None = None

    async def get(
        self, path: str = "/", *, cookie: bytes | None = None, kind: str = "http", **scope: Any
    ) -> Answer:
        line = cookie if cookie is not None else self.jar.encode() if self.jar else None
        headers = [(b"host", b"studio.example"), (b"user-agent", b"Test/1"), *scope.pop("headers", [])]
        if line is not None:
            headers.append((b"cookie", line))
        messages: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request" if kind == "http" else "websocket.connect"}

        async def send(message: Message) -> None:
            messages.append(message)

        await self.app(
            {
                "type": kind,
                "method": "GET",
                "path": path,
                "headers": headers,
                "client": ("192.0.2.7", 1),
                **scope,
            },
            receive,
            send,
        )
        answer = Answer(messages)
        for given_ in answer.cookies:
            pair, _, attributes = given_.partition("; ")
            self.jar = None if "Max-Age=0" in attributes else pair
        return answer


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    visit: Visit[Any] = scope["valtier.visit"]
    path = scope["path"]
    if path == "/sign-in":
        await visit.sign_in("ada", data={"n": 1})
    elif path == "/remember":
        await visit.sign_in("ada", remember=True)
    elif path == "/sign-out":
        await visit.sign_out()
    elif path == "/confirm" and visit.session is not None:
        await visit.session.confirm()
    elif path == "/begin":
        await visit.begin(data={"cart": [1]})
    session = scope["valtier.session"]
    body = {
        "identity": scope["valtier.identity"],
        "data": None if session is None else session.data,
        "same": session is visit.session,
    }
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": msgspec.json.encode(body)})


def identity(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)["identity"]


async def test_req10_the_cookie_is_host_only_secure_and_out_of_reach_of_scripts(world: World) -> None:
    """Requirement 10: `__Host-`, Secure, HttpOnly, SameSite=Lax, opaque."""
    async with world.worker() as sessions:
        browser = Browser(SessionMiddleware(application, sessions))
        [cookie] = (await browser.get("/sign-in")).cookies
        pair, *attributes = cookie.split("; ")
        name, _, token = pair.partition("=")
        assert name == "__Host-session"
        assert tokens.parse(token) is not None
        assert attributes == ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"]  # no Domain
        assert "ada" not in token
        [cookie] = (await browser.get("/remember")).cookies
        assert "Max-Age=2592000" in cookie


async def test_req10_development_without_https_has_another_cookie(world: World) -> None:
    """Requirement 10: without https no browser takes a `__Host-` cookie, so that it has another name."""
    async with world.worker(cookie=SessionCookie(name="flux", secure=False)) as sessions:
        browser = Browser(SessionMiddleware(application, sessions))
        [cookie] = (await browser.get("/sign-in")).cookies
        assert cookie.startswith("flux=")
        assert "Secure" not in cookie
        assert identity(await browser.get()) == "ada"


@pytest.mark.parametrize(
    "options", [{"name": "a b"}, {"name": "__Host-x"}, {"name": ""}, {"name": "a;b"}, {"same_site": "None"}]
)
def test_a_cookie_that_no_browser_would_keep_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        SessionCookie(**options)  # type: ignore[arg-type]


async def test_req03_signing_in_gives_a_new_cookie_and_ends_the_old_id(world: World) -> None:
    """Requirement 3: no id from before the sign-in, or before a confirmation, opens anything afterwards."""
    async with world.worker() as sessions:
        browser = Browser(SessionMiddleware(application, sessions))
        assert (await browser.get("/begin")).cookies
        before = browser.jar
        assert identity(await browser.get()) is None
        assert (await browser.get("/sign-in")).cookies
        assert browser.jar != before
        assert identity(await browser.get()) == "ada"
        assert before is not None
        stale = await browser.get(cookie=before.encode())
        assert (identity(stale), stale.cookies) == (None, [])
        signed_in = browser.jar
        assert (await browser.get("/confirm")).cookies
        assert browser.jar != signed_in
        assert identity(await browser.get()) == "ada"
        assert signed_in is not None
        assert identity(await browser.get(cookie=signed_in.encode())) is None


async def test_req04_an_answer_in_flight_gives_no_cookie_after_a_logout(world: World) -> None:
    """Requirement 4: a request that began before the logout neither saves nor sets anything."""
    async with world.worker() as sessions:
        reached, gate = asyncio.Event(), asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/slow":
                reached.set()
                await gate.wait()
            await application(scope, receive, send)

        browser = Browser(SessionMiddleware(slow, sessions))
        await browser.get("/sign-in")
        jar = browser.jar
        assert jar is not None
        in_flight = asyncio.create_task(Browser(browser.app).get("/slow", cookie=jar.encode()))
        await reached.wait()
        [removed] = (await browser.get("/sign-out")).cookies
        assert removed.startswith("__Host-session=; Path=/; Max-Age=0")
        gate.set()
        assert (await in_flight).cookies == []
        assert identity(await browser.get(cookie=jar.encode())) is None


async def test_req06_a_request_without_changes_sets_no_cookie_and_notes_use_once_a_minute(
    world: World,
) -> None:
    """Requirement 6."""
    async with world.worker() as sessions:
        browser = Browser(SessionMiddleware(application, sessions))
        await browser.get("/sign-in")
        for _ in range(10):
            assert (await browser.get()).cookies == []
        assert sessions.stats.touched == 0
        await world.advance(61)
        await asyncio.gather(*(browser.get() for _ in range(10)))
        await asyncio.gather(*sessions._touches.values())
        assert sessions.stats.touched == 1


async def test_req03_renewal_in_the_middleware_gives_all_parallel_requests_one_cookie(world: World) -> None:
    """Requirement 3: expressjs/session#923."""
    async with world.worker(renew="10m") as sessions:
        browser = Browser(SessionMiddleware(application, sessions))
        await browser.get("/sign-in")
        jar = browser.jar
        assert jar is not None
        await world.advance(601)
        answers = await asyncio.gather(*(browser.get(cookie=jar.encode()) for _ in range(50)))
        assert {identity(answer) for answer in answers} == {"ada"}
        assert len({cookie for answer in answers for cookie in answer.cookies}) == 1
        assert all(len(answer.cookies) == 1 for answer in answers)
        assert browser.jar != jar
        assert identity(await browser.get()) == "ada"


async def test_a_websocket_has_its_session_and_no_session_costs_nothing(world: World) -> None:
    async with world.worker() as sessions:
        browser = Browser(SessionMiddleware(application, sessions))
        await browser.get()
        assert sessions.stats.valkey_reads + sessions.stats.durable_reads == 0
        await browser.get("/sign-in")
        answer = await browser.get(kind="websocket")
        assert answer.messages == [{"type": "websocket.accept"}]


async def test_together_with_others_it_looks_up_early(world: World) -> None:
    async with world.worker(local_bytes=0) as sessions:
        middleware = SessionMiddleware(application, sessions)
        browser = Browser(Together(middleware))
        await browser.get("/sign-in")
        assert identity(await browser.get()) == "ada"
        if world.place == "valkey":
            scope: Scope = {"type": "http", "headers": [(b"cookie", (browser.jar or "").encode())]}
            wire = sessions._backend._store.valkey  # type: ignore[attr-defined]
            sent = wire._tracked.connection.sent
            middleware.begin(scope)
            assert wire._tracked.connection.sent == sent + 2  # and the time: at once, not when somebody waits
            _, lookup = scope["valtier.sessions.early"]
            assert (await lookup.session()).subject == "ada"


async def test_where_nobody_can_tell_the_answer_is_503_and_the_cookie_stays(
    own_valkey: EmbeddedValkey,
) -> None:
    """Requirement 37: with Valkey alone an outage is no sign-out."""
    async with real_worker(own_valkey.url, deadline=0.2) as sessions:
        browser = Browser(SessionMiddleware(application, sessions))
        await browser.get("/sign-in")
        await sessions.load((browser.jar or "").partition("=")[2])
        own_valkey.kill()

        async def refuses() -> bool:
            return (await browser.get()).status == 503

        await eventually(refuses)
        for _ in range(3):
            answer = await browser.get()
            assert (answer.status, answer.cookies) == (503, [])
            assert (b"retry-after", b"2") in answer.headers
        refused = await browser.get(kind="websocket")
        assert refused.messages == [{"type": "websocket.close", "code": 1013}]
        assert (await browser.get(cookie=b"")).status == 200  # who has no cookie needs no Valkey


@given(st.one_of(st.text(), st.binary(), st.none(), st.text("abcXYZ019_-", min_size=60, max_size=70)))
def test_no_cookie_makes_the_form_check_raise(value: str | bytes | None) -> None:
    parsed = tokens.parse(value)
    assert parsed is None or (len(parsed) == 64 and parsed.isascii())


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_no_cookie_header_makes_the_middleware_raise(line: bytes) -> None:
    """Whatever bytes a client sends as a cookie: nobody is signed in, and nothing is looked up."""

    async def play() -> None:
        tier = Tier.from_url("redis://127.0.0.1:1")
        sessions: Sessions[Any] = tier.sessions()
        browser = Browser(SessionMiddleware(application, sessions))
        for cookie in (line, b"__Host-session=" + line, b'__Host-session="' + line + b'"; a=b'):
            answer = await browser.get(cookie=cookie)
            assert (answer.status, identity(answer)) == (200, None)

    asyncio.run(play())


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20), st.integers(), st.none(), st.sampled_from([b"h", b"i", b"x", b"t", b"c"])
        ),
        max_size=20,
    )
)
def test_no_reply_of_a_store_makes_the_reader_raise(reply: list[Any]) -> None:
    """A hash of somebody else's under one of our keys is no session."""
    pairs = zip(*[iter(reply)] * 2, strict=False)
    parse_hash("x" * 20, {key: value for key, value in pairs if isinstance(key, bytes)}, 0.0, 0.0)


@given(st.binary(min_size=32, max_size=32))
def test_a_successor_is_a_token_of_the_same_session_and_always_the_same(nonce: bytes) -> None:
    token = tokens.new_token("ada").encode()
    one = tokens.successor(token, nonce)
    assert one == tokens.successor(token, nonce)
    assert one != tokens.successor(token, bytes([nonce[0] ^ 1]) + nonce[1:])
    assert tokens.parse(one) == one.encode()
    assert one[:20].encode() == token[:20]


def test_what_was_read_before_a_change_is_not_kept() -> None:
    """A read that was sent before a change of this process's own was over keeps nothing: its answer may be older."""
    local = Local(max_bytes=100_000, max_age_s=5, monotonic=lambda: 0.0)
    moment = local.moment()
    local.settle(["x" * 20])
    hash_ = [b"h", b"h", b"i", b"1000", b"x", b"1000", b"t", b"0", b"c", b"0"]
    state = parse_hash("x" * 20, dict(zip(*[iter(hash_)] * 2, strict=True)), 0.0, 0.0)
    assert state is not None
    local.keep(state, moment)
    assert local.get("x" * 20) is None
    local.keep(state, local.moment())
    assert local.get("x" * 20) is state
    local.end(["x" * 20])
    local.keep(state, local.moment())
    assert local.get("x" * 20) is None
