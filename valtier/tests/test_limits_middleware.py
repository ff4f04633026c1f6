"""The middleware: who is limited, what they are told, and that every route has a limit."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from valtier import ClientAddress, ConfigurationError, RateLimit, Rule, Tier, limited, unlimited
from valtier.asgi import App, Message, Receive, Scope, Send, Together
from valtier.embedded import EmbeddedValkey
from valtier.limits import Limits
from valtier.testing import eventually


@pytest_asyncio.fixture
async def tier(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline="5s", connect_timeout="5s", canary="1h") as opened:
        yield opened


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"hello")]})
    await send({"type": "http.response.body", "body": b"hello"})


class Answer:
    def __init__(self, sent: list[Message]) -> None:
        self.status: int = sent[0]["status"]
        self.headers: dict[str, str] = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        self.body: bytes = sent[1]["body"]


async def ask(
    app: App, path: str = "/", method: str = "GET", client: str = "203.0.113.9", **scope: Any
) -> Answer:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    whole = {"type": "http", "method": method, "path": path, "headers": [], "client": (client, 1), **scope}
    await app(whole, receive, send)
    return Answer(sent)


# -- what clients are told -------------------------------------------------------------------------------------


async def test_req20_every_answer_tells_the_policy_and_what_is_left(tier: Tier) -> None:
    """Requirement 20: as draft-ietf-httpapi-ratelimit-headers-10 writes it."""
    app = RateLimit(hello, tier, default=tier.limiter("api", points=100, duration=60))
    answer = await ask(app)
    assert answer.status == 200
    assert answer.headers["x-app"] == "hello"
    assert answer.headers["ratelimit-policy"] == '"api";q=100;w=60'
    assert answer.headers["ratelimit"] == '"api";r=99;t=1'
    assert "retry-after" not in answer.headers


async def test_req20_over_the_limit_it_is_429_with_a_problem_of_the_registered_type(tier: Tier) -> None:
    app = RateLimit(hello, tier, default=tier.limiter("api", points=1, duration=90))
    await ask(app)
    for _ in range(2):  # by Valkey, then by this process
        answer = await ask(app)
        assert answer.status == 429
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["ratelimit-policy"] == '"api";q=1;w=90'
        told = re.fullmatch(r'"api";r=0;t=(\d+)', answer.headers["ratelimit"])
        assert told is not None
        assert int(answer.headers["retry-after"]) >= int(told[1]) > 80
        problem = msgspec.json.decode(answer.body)
        assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        assert problem["status"] == 429
        assert problem["violated-policies"] == ["api"]
        assert "Try again in" in problem["detail"]


async def test_req20_retry_after_is_never_before_the_reset_that_is_told_and_the_retry_passes(
    tier: Tier,
) -> None:
    app = RateLimit(hello, tier, default=tier.limiter("api", points=2, duration=1))
    while (answer := await ask(app)).status == 200:
        pass
    wait_s = int(answer.headers["retry-after"])
    assert wait_s >= 1
    assert wait_s >= int(answer.headers["ratelimit"].rpartition("t=")[2])
    await asyncio.sleep(wait_s)
    assert (await ask(app)).status == 200


async def test_req20_a_stack_tells_of_all_its_limits_and_of_none_that_only_watches(tier: Tier) -> None:
    stack = tier.limiters(
        tier.limiter("burst", points=2, duration=1),
        tier.limiter("sustained", points=50, duration=3600, algorithm="fixed-window"),
        tier.limiter("trial", points=1, duration=60, shadow=True),
    )
    app = RateLimit(hello, tier, default=stack)
    answer = await ask(app)
    assert answer.headers["ratelimit-policy"] == '"burst";q=2;w=1, "sustained";q=50;w=3600'
    assert answer.headers["ratelimit"].startswith('"burst";r=1;t=1, "sustained";r=49;t=')
    while (answer := await ask(app)).status == 200:
        pass
    assert msgspec.json.decode(answer.body)["violated-policies"] == ["burst"]
    # Every t that is told with Retry-After is that of a limit which refuses: when all points of others are back is no matter.
    told = answer.headers["ratelimit"].split(", ")
    waits = [int(one.rpartition("t=")[2]) for one in told if ";t=" in one]
    assert len(waits) == 1
    assert max(waits) <= int(answer.headers["retry-after"])
    only_watching = RateLimit(hello, tier, default=tier.limiter("w", points=1, duration=60, shadow=True))
    for _ in range(3):
        answer = await ask(only_watching)
        assert answer.status == 200
        assert not [name for name in answer.headers if name.startswith("ratelimit")]


async def test_req18_a_closed_limit_that_can_not_be_asked_is_503_and_never_429(
    own_valkey: EmbeddedValkey,
) -> None:
    async with Tier.from_url(own_valkey.url, deadline=0.2, connect_timeout=0.5) as tier:
        closed = tier.limiter("closed", points=5, duration=60, on_outage="closed")
        opened = tier.limiter("open", points=5, duration=60, on_outage="open")
        app = RateLimit(hello, tier, rules=[Rule("/closed", closed), Rule("/open", opened)])
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        for wrapped in (app, Together(app)):
            answer = await ask(wrapped, "/closed")
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert msgspec.json.decode(answer.body)["status"] == 503
            assert "ratelimit" not in answer.headers
            answer = await ask(wrapped, "/open")
            assert answer.status == 200
            assert (answer.headers["ratelimit-policy"], answer.headers.get("ratelimit")) == (
                '"open";q=5;w=60',
                None,
            )
        answers = [await ask(app, "/else") for _ in range(101)]
        assert [answer.status for answer in answers] == [200] * 100 + [429], "insured"


# -- whom --------------------------------------------------------------------------------------------------


async def test_req22_the_default_is_a_hundred_requests_a_minute_for_each_address(tier: Tier) -> None:
    app = RateLimit(hello, tier)
    answers = await asyncio.gather(*(ask(app, f"/{n}") for n in range(150)))
    assert [answer.status for answer in answers].count(200) == 100
    assert (await ask(app, client="203.0.113.10")).status == 200
    for host in range(100):
        await ask(app, client=f"2001:db8:1:2::{host:x}")
    assert int((await ask(app, client="2001:db8:1:2::ffff")).headers["ratelimit"].split(";")[1][2:]) < 50


async def test_req19_behind_a_trusted_proxy_each_client_counts_and_a_spoofed_header_does_not_help(
    tier: Tier,
) -> None:
    app = RateLimit(hello, tier, default="2/hour", client=ClientAddress(["10.0.0.0/8"]))

    def via(*entries: str, peer: str = "10.0.0.1") -> Any:
        return ask(app, client=peer, headers=[(b"x-forwarded-for", entry.encode()) for entry in entries])

    statuses = [(await via(f"198.51.100.{n}, 203.0.113.9")).status for n in range(4)]
    assert statuses == [200, 200, 429, 429]
    assert (await via("203.0.113.10")).status == 200
    statuses = [(await via(f"198.51.100.{n}", peer="192.0.2.1")).status for n in range(4)]
    assert statuses == [200, 200, 429, 429]


async def test_limits_by_identity_count_the_person_wherever_they_are(tier: Tier) -> None:
    app = RateLimit(
        hello,
        tier,
        rules=[Rule("/export", "2/hour", by="identity")],
        identity=lambda scope: scope.get("user"),
    )
    assert [(await ask(app, "/export", user="7", client=f"203.0.113.{n}")).status for n in range(3)] == [
        200, 200, 429,
    ]  # fmt: skip
    assert (await ask(app, "/export", user="8")).status == 200
    assert (await ask(app, "/export", user="203.0.113.99")).status == 200, "no identity is an address"
    assert (await ask(app, "/export", client="203.0.113.99")).headers["ratelimit"].startswith('"export";r=1')
    assert (await ask(app, "/export", user="x" * 10_000)).status == 200
    with pytest.raises(ConfigurationError, match="identity"):
        RateLimit(hello, tier, rules=[Rule("/x", "1/hour", by="identity")])


async def test_rules_fit_by_path_and_method_and_the_first_counts(tier: Tier) -> None:
    app = RateLimit(
        hello,
        tier,
        rules=[
            Rule("/api/login", "5/minute", methods=["POST"], name="login"),
            Rule("/api/users/{id:int}", "7/minute", methods=["GET"], name="user"),
            Rule("/api/users/{name}", "8/minute", name="named"),
            Rule("/files/{path:path}", "9/minute", name="files"),
            Rule("/api/*", "10/minute", name="api"),
        ],
        exempt=["/healthz", "/static/*"],
    )
    for path, method, name in (
        ("/api/login", "POST", "login"), ("/api/login", "GET", "api"), ("/api/users/7", "GET", "user"),
        ("/api/users/7", "HEAD", "user"), ("/api/users/7", "PUT", "named"), ("/api/users/ada", "GET", "named"),
        ("/api/users/a/b", "GET", "api"), ("/files/a/b/c", "GET", "files"), ("/api/", "GET", "api"),
        ("/apix", "GET", "default"), ("/healthz/", "GET", "default"), ("/healthz", "GET", None),
        ("/static/app.js", "GET", None), ("/static", "GET", "default"), ("/api/users/7\n", "GET", "user"),
        ("/api/login\n", "POST", "login"), ("/files/a\nb/c", "GET", "files"), ("/api/a\nb", "GET", "api"),
    ):  # fmt: skip
        told = (await ask(app, path, method)).headers.get("ratelimit-policy")
        assert (told and told.split('"')[1]) == name, (path, method)
    assert (await ask(app, "/sub/healthz", root_path="/sub")).headers.get("ratelimit-policy") is None
    beside = await ask(app, "/api/login", "POST", root_path="/api/lo")
    assert beside.headers["ratelimit-policy"].startswith('"login"'), "another path is not below the root"


async def test_req23_a_line_break_in_the_path_leads_past_no_limit(tier: Tier) -> None:
    """Starlette's `$` matches before a last line break: `/login%0A` is served by the route of `/login`."""
    reached: list[str] = []

    async def endpoint(request: Any) -> Any:
        reached.append(request.url.path)
        return PlainTextResponse("")

    routed = Starlette(routes=[Route("/login", endpoint), Route("/item/{name}", endpoint)])
    app = RateLimit(routed, tier, rules=[Rule("/login", "2/hour"), Rule("/item/*", "2/hour")])
    for paths in (("/login", "/login\n"), ("/item/a", "/item/a\n", "/item/a\nb", "/item/\n")):
        reached.clear()
        statuses = [(await ask(app, path, query_string=b"")).status for path in paths * 3]
        assert statuses.count(200) == len(reached) == 2, paths


async def test_the_application_finds_the_decision_in_the_scope(tier: Tier) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["valtier.limit"].remaining)
        await hello(scope, receive, send)

    await ask(RateLimit(app, tier, default="5/minute"))
    assert seen == [4]


# -- together with others, websockets, lifespan ----------------------------------------------------------------


@pytest_asyncio.fixture
async def quiet(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    """A tier that sends nothing of its own."""
    async with Tier.from_url(valkey.url, deadline="5s", connect_timeout="5s", local_bytes=0) as opened:
        yield opened


async def test_the_question_leaves_in_one_write_with_what_other_layers_ask(quiet: Tier) -> None:
    tier = quiet

    class Other:
        def __init__(self, app: App) -> None:
            self.app = app

        def begin(self, scope: Scope) -> None:
            scope["other"] = tier.valkey.call("GET", "session")

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await scope["other"]
            await self.app(scope, receive, send)

    app = Together(Other(RateLimit(hello, tier)))
    await ask(app)
    link = tier.valkey.link_for()
    connection = link.connection
    assert connection is not None
    writes = 0
    transport: Any = connection._transport

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(transport, name)

        def write(self, data: bytes) -> None:
            nonlocal writes
            writes += 1
            transport.write(data)

    connection._transport = Counting()  # type: ignore[assignment]
    try:
        assert (await ask(app)).status == 200
    finally:
        connection._transport = transport
    assert writes == 1


async def test_a_request_that_ends_before_its_turn_leaves_nothing_behind(tier: Tier) -> None:
    class Impatient:
        def __init__(self, app: App) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await hello(scope, receive, send)

    await ask(RateLimit(hello, tier, default="1000/day"))  # the server knows the script from now on
    app = Together(Impatient(RateLimit(hello, tier, default="1000/day")))
    for _ in range(10):
        assert (await ask(app)).status == 200
    left = (await ask(RateLimit(hello, tier, default="1000/day"))).headers["ratelimit"]
    assert left.startswith('"default";r=988')


async def handshake(app: App, extensions: dict[str, Any]) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws", "headers": [], "client": ("203.0.113.9", 1), "extensions": extensions}  # fmt: skip
    await app(scope, receive, send)
    return sent


async def test_websocket_handshakes_are_limited_too(tier: Tier) -> None:
    async def accept(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    app = RateLimit(accept, tier, rules=[Rule("/ws", "1/hour")])
    assert await handshake(app, {}) == [{"type": "websocket.accept"}]
    assert await handshake(app, {}) == [{"type": "websocket.close", "code": 1013, "reason": ""}]
    start, body = await handshake(app, {"websocket.http.response": {}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 429)
    assert body["type"] == "websocket.http.response.body"


async def test_what_is_no_request_passes(tier: Tier) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    await RateLimit(app, tier)({"type": "lifespan"}, nothing, send)
    assert seen == ["lifespan"]


# -- every route ---------------------------------------------------------------------------------------------


def studio() -> FastAPI:
    inner = APIRouter(prefix="/users")

    @inner.get("/{user_id:int}")
    @limited("30/minute")
    async def show_user(user_id: int) -> None: ...

    @limited("5/minute", by="identity", name="edits")
    @inner.patch("/{user_id:int}")
    async def edit_user(user_id: int) -> None: ...

    api = APIRouter(prefix="/api")
    api.include_router(inner)

    @api.get("/forgotten")
    async def forgotten() -> None: ...

    app = FastAPI(openapi_url=None)
    app.include_router(api)

    @app.get("/healthz")
    @unlimited
    async def healthz() -> None: ...

    async def page(scope: Scope, receive: Receive, send: Send) -> None: ...

    app.mount("/pages", Starlette(routes=[Route("/{slug}", hello_page), WebSocketRoute("/ws", hello_page)]))
    app.mount("/static", hello)
    return app


@limited("9/minute")
async def hello_page(request: Any) -> Any: ...


async def test_req23_every_route_has_a_limit_or_is_on_the_list_of_exemptions(tier: Tier) -> None:
    """Requirement 23: what an application's own test looks like."""
    app = studio()
    options: dict[str, Any] = {"routes": lambda: app.routes, "identity": lambda scope: scope.get("user")}
    audit = RateLimit(app, tier, default=None, **options).audit()
    assert audit == {
        "GET /api/users/{user_id:int}": "studio.-locals-.show_user",
        "PATCH /api/users/{user_id:int}": "edits",
        "GET /api/forgotten": None,
        "GET /healthz": None,
        "GET /pages/{slug}": "hello_page",
        "HEAD /pages/{slug}": "hello_page",
        "* /pages/ws": "hello_page",
        "* /static/*": None,
    }
    assert {route for route, limit in audit.items() if limit is None} == {
        "GET /api/forgotten", "GET /healthz", "* /static/*",
    }  # fmt: skip
    with_default = RateLimit(app, tier, exempt=["/static/*"], **options).audit()
    assert {route for route, limit in with_default.items() if limit is None} == {
        "GET /healthz",
        "* /static/*",
    }
    assert with_default["GET /api/forgotten"] == "default"


async def test_req23_what_a_route_declares_is_what_its_requests_have(tier: Tier) -> None:
    app = studio()
    limit = RateLimit(
        app, tier, routes=lambda: app.routes, identity=lambda scope: scope.get("user"), exempt=["/static/*"]
    )
    for path, method, policy in (
        ("/api/users/7", "GET", '"studio.-locals-.show_user";q=30;w=60'),
        ("/api/users/7", "PATCH", '"edits";q=5;w=60'),
        ("/api/forgotten", "GET", '"default";q=100;w=60'),
        ("/pages/about", "GET", '"hello_page";q=9;w=60'),
        ("/healthz", "GET", None),
        ("/static/app.js", "GET", None),
    ):
        plan = limit._plan_of({"type": "http", "path": path, "method": method})
        assert (plan.told.policy[1].decode() if plan is not None and plan.told.policy else None) == policy


async def test_req23_it_is_added_to_fastapi_as_any_middleware(tier: Tier) -> None:
    app = FastAPI(openapi_url=None)

    @app.get("/items/{item_id}")
    @limited("2/hour", name="items")
    async def show_item(item_id: int) -> dict[str, int]:
        return {"item": item_id}

    app.add_middleware(RateLimit, limits=tier, routes=lambda: app.routes)
    more: dict[str, Any] = {"query_string": b"", "http_version": "1.1", "scheme": "http", "server": ("h", 80)}
    answers = [await ask(app, f"/items/{n}", raw_path=b"", root_path="", **more) for n in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].body == b'{"item":0}'
    assert answers[0].headers["ratelimit-policy"] == '"items";q=2;w=3600'
    assert (await ask(app, "/none", raw_path=b"", root_path="", **more)).status == 404


def test_a_mounted_router_s_paths_are_whole() -> None:
    async def page(request: Any) -> Any: ...

    inner = Starlette(routes=[Route("/a", page), Mount("/deeper", routes=[Route("/b", page)])])
    app = Starlette(routes=[Mount("/outer", app=inner)])
    audit = RateLimit(app, Limits(None, prefix="p"), routes=lambda: app.routes).audit()
    assert {route.partition(" ")[2] for route in audit} == {"/outer/a", "/outer/deeper/b"}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Rule("api", "5/minute"), lambda: Rule("/", "5/never"), lambda: Rule("/", "5/s", methods="GET"),
        lambda: Rule("/", "5/s", by="cookie"), lambda: limited("lots"), lambda: limited("5/s", by="name"),  # type: ignore[arg-type]
        lambda: RateLimit(hello, Limits(None, prefix="p"), exempt="/healthz"),
        lambda: RateLimit(hello, Limits(None, prefix="p"), default="many"),
        lambda: limited("5/s")(7),  # type: ignore[type-var]
    ],
)  # fmt: skip
def test_what_can_not_work_is_refused_when_it_is_written(wrong: Any) -> None:
    with pytest.raises(ConfigurationError):
        wrong()


async def test_without_valkey_the_middleware_counts_in_the_process() -> None:
    app = RateLimit(hello, Limits(None, prefix="p"), default="2/minute")
    assert [(await ask(Together(app))).status for _ in range(3)] == [200, 200, 429]
