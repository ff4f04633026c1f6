"""Answers for one caller, kept in the process that gave them (`private="process"`): whose they are, and what ends them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from helping import Client, Site, get, scope

from valtier import ConfigurationError, Tier
from valtier.asgi import Receive, Scope, Send, Together
from valtier.embedded import EmbeddedValkey
from valtier.http import ResponseCache
from valtier.testing import eventually

PRIVATE = "private, max-age=60"


class Signed:
    """Says who asks, by the field `Who`, as a session would: before the response cache, or (`early`) at once."""

    def __init__(self, app: ResponseCache) -> None:
        self.app = app

    def begin(self, request: Scope) -> None:
        self._say(request)

    async def __call__(self, request: Scope, receive: Receive, send: Send) -> None:
        self._say(request)
        await self.app(request, receive, send)

    @staticmethod
    def _say(request: Scope) -> None:
        if who := dict(request["headers"]).get(b"who"):
            request["valtier.identity"] = who.decode()


def made(app: Any, tier: Tier, **options: Any) -> Together:
    return Together(Signed(ResponseCache(app, tier, private="process", **options)))


def commands(tier: Tier) -> int:
    return sum(link.commands for link in tier.telemetry.links)


def told(_: Scope, who: str | None) -> tuple[str, ...]:
    return (f"user:{who}", "project:7")


async def test_each_caller_has_an_answer_of_his_own_and_nobody_else_has_it(here: Tier) -> None:
    site = Site(PRIVATE)
    app = made(site, here)
    for _ in range(2):
        assert (await get(app, who="ann")).body == b"answer 1"
        assert (await get(app, who="bob")).body == b"answer 2"
    assert site.calls == 2
    assert (await get(app)).body == b"answer 3"
    assert (await get(app)).body == b"answer 4", "nobody in particular shares nothing that is private"


async def test_a_private_answer_never_lies_in_valkey(here: Tier, valkey: EmbeddedValkey) -> None:
    site = Site(PRIVATE, cache_tag="project:7")
    site.content = b"for ann's eyes only"
    app = made(site, here)
    for _ in range(3):
        await get(app, who="ann")
    with_credentials = Site("max-age=60")
    with_credentials.content = b"for ann's eyes only"
    other = made(with_credentials, here)
    for _ in range(3):
        await get(other, "/other", who="ann", authorization="Bearer x")
        await get(other, "/other", who="ann")
    assert site.calls == 2
    names = [name.decode() for name in valkey.call("KEYS", "*")]
    assert names
    for name in names:
        dump: Any = valkey.call("DUMP", name)
        assert b"eyes" not in dump
        assert ":{c:" not in name


@pytest.fixture
def asked(here: Tier, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Valkey is asked about entries and names, in order."""
    said: list[str] = []
    for name in ("call", "call_tracked"):
        sends = getattr(here.valkey, name)

        def send(*words: Any, sends: Any = sends, **options: Any) -> Any:
            if ":{c:" in str(words[1]) or ":{t:" in str(words[1]):
                said.append(f"{words[0]} {words[1].partition(':{')[2]}")
            return sends(*words, **options)

        monkeypatch.setattr(here.valkey, name, send)
    return said


async def test_a_miss_asks_nothing_once_its_names_are_known(here: Tier, asked: list[str]) -> None:
    site = Site(PRIVATE, cache_tag="project:7")
    app = made(site, here, tags=told)
    await get(app, who="ann")
    asked.clear()
    await get(app, who="ann", cache_control="no-cache")
    assert (await get(app, who="ann")).is_hit
    assert site.calls == 2
    assert asked == []


async def test_what_a_miss_asks_leaves_with_the_other_lookups(here: Tier, asked: list[str]) -> None:
    site = Site(PRIVATE, cache_tag="project:7")
    early: list[int] = []

    class Limit:
        def __init__(self, app: Signed) -> None:
            self.app = app

        async def __call__(self, request: Scope, receive: Receive, send: Send) -> None:
            early.append(len(asked))
            await self.app(request, receive, send)

    stack = Together(Limit(Signed(ResponseCache(site, here, private="process", tags=told))))
    assert not (await get(stack, who="ann")).is_hit
    assert early == [len(asked)] == [6], "a version and a look, for the address and two names"
    assert not (await get(stack, who="bob")).is_hit
    assert asked[6:] == ["SET t:user:bob}", "GET t:user:bob}"]
    assert early == [6, 8]


@pytest.mark.parametrize("by", ["tag", "uri"])
async def test_an_invalidation_of_another_process_ends_it(here: Tier, there: Tier, by: str) -> None:
    site = Site(PRIVATE, cache_tag="project:7")
    app = made(site, here, tags=told)
    await get(app, who="ann")
    assert (await get(app, who="ann")).is_hit
    other = ResponseCache(site, there, private="process")
    if by == "tag":
        await there.cache.invalidate_tags("project:7")
    else:
        await other.purge("http://site.test/")

    async def ended() -> bool:
        return (await get(app, who="ann")).body == b"answer 2"

    await eventually(ended)
    assert (await get(app, who="ann")).is_hit


async def test_an_unsafe_request_ends_it(here: Tier, there: Tier) -> None:
    site = Site(PRIVATE)
    app, other = made(site, here), made(site, there)
    await get(app, who="ann")
    await get(other, method="POST", who="bob")

    async def ended() -> bool:
        return (await get(app, who="ann")).body == b"answer 3"

    await eventually(ended)


@pytest.mark.parametrize("by", ["here", "there"])
async def test_what_was_invalidated_while_the_application_worked_is_not_kept(
    here: Tier, there: Tier, by: str
) -> None:
    site = Site(PRIVATE, cache_tag="project:7")
    app = made(site, here, tags=told)
    await get(app, who="ann")  # its tags are known
    site.hold()
    client = Client(app, scope(who="ann", cache_control="no-cache"))
    running = asyncio.ensure_future(client.run())
    await site.entered.wait()
    await (here if by == "here" else there).cache.invalidate_tags("project:7")
    cell = here.cache.engine.mirror.cell_of
    await eventually(lambda: cell("project:7") is None)
    site.gate.set()
    await running
    assert client.body == b"answer 2"
    assert (await get(app, who="ann")).body == b"answer 3"
    assert (await get(app, who="ann")).body == b"answer 3"


async def test_an_answer_with_names_that_were_not_told_is_kept_from_the_second_time_on(here: Tier) -> None:
    site = Site(PRIVATE, cache_tag="project:7, project:8")
    app = made(site, here, tags=told)
    for body in (b"answer 1", b"answer 2", b"answer 2"):
        assert (await get(app, who="ann")).body == body
    await here.cache.invalidate_tags("project:8")
    assert (await get(app, who="ann")).body == b"answer 3"


async def test_what_is_for_all_goes_to_valkey_and_what_is_not_any_more_leaves_it(
    here: Tier, there: Tier
) -> None:
    site = Site("public, max-age=60")
    app, other = made(site, here), made(site, there)
    assert (await get(app, who="ann")).body == b"answer 1"  # now it is known to be for all
    assert (await get(app, who="ann")).body == b"answer 2"
    assert (await get(app, who="bob")).body == b"answer 2"
    assert (await get(app)).body == b"answer 2"
    assert (await get(other)).body == b"answer 2"
    site.control = PRIVATE
    for tier in (here, there):
        await ResponseCache(site, tier).purge("http://site.test/")
    assert (await get(app, who="ann")).body == b"answer 3"
    for _ in range(2):
        assert (await get(app, who="ann")).body == b"answer 4"
        assert (await get(app, who="bob")).body == b"answer 5"


async def test_conditions_and_ranges_are_evaluated_on_what_came(here: Tier) -> None:
    site = Site(PRIVATE, etag='"v1"')
    app = made(site, here)
    first = await get(app, who="ann", if_none_match='"v1"')
    assert (first.status, first.body) == (304, b"")
    assert b"if-none-match" not in dict(site.scopes[0]["headers"])
    assert (await get(app, who="ann", if_none_match='"v1"')).status == 304
    part = await get(app, who="ann", range="bytes=0-3")
    assert (part.status, part.body) == (206, b"answ")
    assert site.calls == 1


async def test_a_condition_goes_to_the_application_where_nothing_can_be_kept(here: Tier) -> None:
    site = Site("no-store", etag='"v1"')
    app = made(site, here)
    for _ in range(2):
        assert (await get(app, who="ann", if_none_match='"v1"')).status == 200
    assert b"if-none-match" in dict(site.scopes[1]["headers"])
    site.control = PRIVATE
    assert (await get(app, who="bob", if_none_match='"v1"')).status == 304, "that was ann's"


async def test_a_stream_that_is_not_kept_passes_as_it_comes(here: Tier) -> None:
    go = asyncio.Event()

    async def app(_: Scope, __: Receive, send: Send) -> None:
        fields = [(b"cache-control", b"private, max-age=60"), (b"set-cookie", b"a=1")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"two"})

    client = Client(made(app, here), scope(who="ann", if_none_match='"v1"'))
    running = asyncio.ensure_future(client.run())
    await eventually(lambda: client.body == b"one")
    go.set()
    await running
    assert client.body == b"onetwo"


async def test_what_grows_too_long_is_not_kept_and_nothing_of_it_is_lost(here: Tier) -> None:
    site = Site(PRIVATE)

    async def app(request: Scope, _: Receive, send: Send) -> None:
        site.calls += 1
        fields = [(b"cache-control", b"private, max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        for _n in range(5):
            await send({"type": "http.response.body", "body": b"x" * 300, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    cached = made(app, here, max_body=1000)
    for field in ({}, {"if_none_match": '"v1"'}):
        assert (await get(cached, who="ann", **field)).body == b"x" * 1500
    assert site.calls == 2


async def test_an_application_that_fails_midway_leaves_nothing(here: Tier) -> None:
    fails = True

    async def app(_: Scope, __: Receive, send: Send) -> None:
        fields = [(b"cache-control", b"private, max-age=60"), (b"content-length", b"6")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        if fails:
            raise OSError("the disk is gone")
        await send({"type": "http.response.body", "body": b"two"})

    cached = made(app, here)
    with pytest.raises(OSError, match="disk"):
        await get(cached, who="ann")
    fails = False
    whole = await get(cached, who="ann")
    assert (whole.body, whole.is_hit) == (b"onetwo", False)


async def test_variants_lie_side_by_side(here: Tier) -> None:
    site = Site(PRIVATE, vary="Accept-Language")
    app = made(site, here)
    for _ in range(2):
        assert (await get(app, who="ann", accept_language="de")).body == b"answer 1"
        assert (await get(app, who="ann", accept_language="en")).body == b"answer 2"
        assert (await get(app, who="bob", accept_language="de")).body == b"answer 3"


async def test_members_of_cache_groups_are_not_kept(here: Tier) -> None:
    """Who invalidates a group by an unsafe request in another process could not know of them (RFC 9875 §2.1)."""
    site = Site(PRIVATE, cache_groups='"lists"')
    app = made(site, here)
    for number in (1, 2, 3):
        assert (await get(app, who="ann")).body == b"answer %d" % number


async def test_while_valkey_is_away_nothing_is_kept_and_everybody_is_answered(
    own_valkey: EmbeddedValkey,
) -> None:
    site = Site(PRIVATE)
    async with Tier.from_url(own_valkey.url, deadline=1) as tier:
        app = made(site, tier)
        await get(app, who="ann")
        assert (await get(app, who="ann")).is_hit
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        for number in (2, 3):
            assert (await get(app, who="ann")).body == b"answer %d" % number
        own_valkey.start()

        async def kept_again() -> bool:
            return (await get(app, who="ann")).is_hit

        await eventually(kept_again)


async def test_a_lost_connection_ends_all_that_was_kept(own_valkey: EmbeddedValkey) -> None:
    """An invalidation meanwhile would not have been heard."""
    site = Site(PRIVATE)
    async with Tier.from_url(own_valkey.url, deadline=1) as tier:
        app = made(site, tier)
        await get(app, who="ann")
        drops = tier.cache.engine.mirror.drops
        own_valkey.call("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
        await eventually(lambda: tier.cache.engine.mirror.drops > drops)
        assert (await get(app, who="ann")).body == b"answer 2"


async def test_it_is_fresh_no_longer_than_it_says(here: Tier) -> None:
    site = Site("private, max-age=0", etag='"v1"')
    app = made(site, here)
    for number in (1, 2):
        assert (await get(app, who="ann")).body == b"answer %d" % number


async def test_only_what_is_stored_is_wanted(here: Tier) -> None:
    site = Site(PRIVATE)
    app = made(site, here)
    assert (await get(app, who="ann", cache_control="only-if-cached")).status == 504
    await get(app, who="ann")
    assert (await get(app, who="ann", cache_control="only-if-cached")).is_hit


async def test_where_private_answers_are_kept_is_one_of_two(here: Tier) -> None:
    with pytest.raises(ConfigurationError, match="'valkey' or 'process'"):
        ResponseCache(Site(), here, private="nowhere")  # type: ignore[arg-type]


async def test_half_an_answer_that_ended_because_its_client_left_is_not_kept(here: Tier) -> None:
    """Frameworks tell generators that the client has gone; those then end as if all were said."""
    goes_on = False

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        fields = [(b"cache-control", b"private, max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        while not goes_on and (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b" whole" if goes_on else b""})

    cached = made(app, here)
    client = Client(cached, scope(who="ann"))
    running = asyncio.ensure_future(client.run())
    await eventually(lambda: client.body == b"half")
    client.gone.set()
    await asyncio.wait([running])
    running.exception()
    goes_on = True
    assert (await get(cached, who="ann")).body == b"half whole"


async def test_what_could_not_be_sent_whole_is_not_kept(here: Tier) -> None:
    site = Site(PRIVATE)

    async def careless(request: Scope, receive: Receive, send: Send) -> None:
        fields = [(b"cache-control", b"private, max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        with contextlib.suppress(ConnectionResetError):
            for part in (b"one", b"two"):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        with contextlib.suppress(ConnectionResetError):
            await send({"type": "http.response.body", "body": b""})

    cached = made(careless, here)
    client = Client(cached, scope(who="ann"))
    client.gone.set()
    with contextlib.suppress(ConnectionResetError):
        await client.run()
    whole = await get(cached, who="ann")
    assert (whole.body, whole.is_hit, site.calls) == (b"onetwo", False, 0)


async def test_a_scope_that_is_changed_inside_says_nothing_of_what_was_asked(here: Tier) -> None:
    async def app(request: Scope, _: Receive, send: Send) -> None:
        asked = request["path"].encode()
        request["path"] = request["raw_path"] = "/rewritten"
        request["raw_path"] = b"/rewritten"
        fields = [(b"cache-control", b"private, max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": asked})

    cached = made(app, here)
    for _ in range(2):
        assert (await get(cached, "/a", who="ann")).body == b"/a"
        assert (await get(cached, "/rewritten", who="ann")).body == b"/rewritten"


async def test_after_a_mark_to_pass_ends_midway_an_answer_still_hangs_on_its_names(here: Tier) -> None:
    """The mark counted when the lookups began, and not any more when the request's turn came."""
    site = Site("no-store")

    class Limit:
        def __init__(self, app: Signed) -> None:
            self.app = app

        async def __call__(self, request: Scope, receive: Receive, send: Send) -> None:
            cache._asking._passes.clear()
            await self.app(request, receive, send)

    cache = ResponseCache(site, here, private="process")
    stack = Together(Signed(Limit(cache)))  # type: ignore[arg-type]
    await get(stack, who="ann")
    site.control = PRIVATE
    for number in (2, 2):
        assert (await get(stack, who="ann")).body == b"answer %d" % number
    await cache.purge("http://site.test/")
    assert (await get(stack, who="ann")).body == b"answer 3"


async def test_a_condition_is_answered_before_what_the_application_does_afterwards(here: Tier) -> None:
    after = asyncio.Event()

    async def app(_: Scope, __: Receive, send: Send) -> None:
        fields = [(b"cache-control", b"private, max-age=60"), (b"etag", b'"v1"')]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"answer"})
        await after.wait()
        raise OSError("the mail server is gone")

    client = Client(made(app, here), scope(who="ann", if_none_match='"v0"'))
    running = asyncio.ensure_future(client.run())
    await eventually(lambda: client.body == b"answer")
    after.set()
    with pytest.raises(OSError, match="mail"):
        await running


async def test_names_are_remembered_for_each_caller_and_do_not_pile_up(here: Tier) -> None:
    site = Site(PRIVATE)
    app = made(site, here)
    for number in range(20):
        site.headers = {"cache_tag": f"user:{number}"}
        for _ in range(3):
            await get(app, who=f"u{number}")
    assert site.calls == 40, "kept from the second time on"
    await here.cache.invalidate_tags("user:0")
    assert (await get(app, who="u19")).is_hit
    assert not (await get(app, who="u0")).is_hit


async def test_who_has_seen_a_newer_answer_sees_no_older_one(here: Tier) -> None:
    site = Site(PRIVATE)
    app = made(site, here)
    assert (await get(app, who="ann")).body == b"answer 1"
    site.control = "no-store"
    assert (await get(app, who="ann", cache_control="no-cache")).body == b"answer 2"
    assert (await get(app, who="ann")).body == b"answer 3"


@pytest.mark.parametrize("private", ["valkey", "process"])
async def test_cookies_reach_the_client_for_whom_they_were_set(here: Tier, private: Any) -> None:
    site = Site(PRIVATE, set_cookie="a=1", etag='"v1"')
    app = Together(Signed(ResponseCache(site, here, private=private, strip_set_cookie=True)))
    first = await get(app, who="ann", if_none_match='"v0"')
    assert first.headers["set-cookie"] == "a=1"
    assert "set-cookie" not in (await get(app, who="ann")).headers


@pytest.mark.parametrize("private", ["valkey", "process"])
async def test_a_404_with_an_entity_tag_is_no_304(here: Tier, private: Any) -> None:
    site = Site(PRIVATE, etag='"v1"')
    site.status = 404
    app = Together(Signed(ResponseCache(site, here, private=private)))
    for _ in range(3):
        assert (await get(app, who="ann", if_none_match='"v1"')).status == 404


@pytest.mark.parametrize("private", ["valkey", "process"])
@pytest.mark.parametrize("control", [PRIVATE, "max-age=60"])
@pytest.mark.parametrize("other", [{"who": "bob"}, {}])
async def test_who_asks_at_the_same_time_gets_nobody_elses_answer_although_it_is_not_stored(
    here: Tier, private: Any, control: str, other: dict[str, str]
) -> None:
    gate, asked = asyncio.Event(), asyncio.Event()

    async def app(request: Scope, _: Receive, send: Send) -> None:
        asked.set()
        await gate.wait()
        fields = [(b"cache-control", control.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": dict(request["headers"]).get(b"who", b"nobody")})

    cache = ResponseCache(app, here, private=private)
    stack = Together(Signed(cache))
    clients = [Client(stack, scope(who="ann")), Client(stack, scope(**other))]
    running = [asyncio.ensure_future(client.run()) for client in clients]
    await asked.wait()
    await cache.purge("http://site.test/")
    gate.set()
    await asyncio.gather(*running)
    assert [client.body.decode() for client in clients] == ["ann", other.get("who", "nobody")]


@pytest.mark.parametrize("private", ["valkey", "process"])
async def test_a_tag_that_ends_while_what_lies_there_has_no_tags_is_heeded(here: Tier, private: Any) -> None:
    """A mark to pass lay there, without the tags that the application had told."""
    site = Site("no-store", cache_tag="p")
    cache = ResponseCache(site, here, private=private, tags=lambda _, __: ("p",))
    await get(cache)
    await cache.settle()
    site.control = "public, max-age=60"
    site.hold()
    running = asyncio.ensure_future(get(cache))
    await site.entered.wait()
    await here.cache.invalidate_tags("p")
    site.gate.set()
    await running
    assert (await get(cache)).body == b"answer 3"
