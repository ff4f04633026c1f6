"""The caching proxy over real sockets: every line as received, nothing smuggled, nothing partial stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from drivers import RawOrigin, ask_over_socket
from runner import Ask, Got, OriginAnswer

from valtier import ConfigurationError, Tier
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually
from valtier.testing.proxy import CachingProxy, Forwarder


class Scripted(RawOrigin):
    """An origin that answers what it is given, and keeps what it was asked."""

    def __init__(self, *answers: OriginAnswer) -> None:
        super().__init__()
        self.answers = list(answers)
        self.seen: list[Ask] = []
        self.handler = self._answer

    def _answer(self, ask: Ask) -> OriginAnswer:
        self.seen.append(ask)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest_asyncio.fixture
async def tier(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5) as made:
        yield made


def ask(target: str = "/", *lines: tuple[str, str], method: str = "GET", body: bytes = b"") -> Ask:
    return Ask(method=method, target=target, headers=(("Host", "site.test"), *lines), body=body)


def answer(*lines: tuple[str, str], body: bytes = b"hello", status: int = 200) -> OriginAnswer:
    return OriginAnswer(status=status, headers=(*lines, ("Content-Length", str(len(body)))), body=body)


CACHEABLE = ("Cache-Control", "max-age=60")


def values(got: Got, name: str) -> list[str]:
    return [value for key, value in got.headers if key == name]


async def test_every_line_is_forwarded_and_stored_as_received(tier: Tier) -> None:
    origin = Scripted(answer(CACHEABLE, ("Link", "<a>"), ("X-Odd", "a,b"), ("Link", "<b>"), status=203))
    async with origin, CachingProxy(origin.url, tier) as proxy:
        for _ in range(2):
            got = await ask_over_socket(proxy.port, ask("/a%2Fb?q=%20", ("X-Twice", "1"), ("X-Twice", "2")))
            assert (got.status, values(got, "link"), values(got, "x-odd")) == (203, ["<a>", "<b>"], ["a,b"])
        assert len(origin.seen) == 1
        seen = origin.seen[0]
        assert seen.target == "/a%2Fb?q=%20"
        assert [value for name, value in seen.headers if name == "x-twice"] == ["1", "2"]
        assert ("via", "1.1 valtier") in seen.headers


async def test_fields_of_one_hop_go_no_further(tier: Tier) -> None:
    origin = Scripted(answer(CACHEABLE, ("Connection", "X-Private"), ("X-Private", "1"), ("Keep-Alive", "3")))
    async with origin, CachingProxy(origin.url, tier) as proxy:
        got = await ask_over_socket(
            proxy.port,
            ask("/", ("Connection", "X-Mine"), ("X-Mine", "1"), ("TE", "trailers"), ("Upgrade", "x")),
        )
        assert {name for name, _ in got.headers}.isdisjoint({"x-private", "keep-alive"})
        names = {name for name, _ in origin.seen[0].headers}
        assert names.isdisjoint({"x-mine", "te", "upgrade"})


async def raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GARBAGE\r\n\r\n",
    ],
)
async def test_what_is_no_clear_request_reaches_no_origin(tier: Tier, request_: bytes) -> None:
    origin = Scripted(answer(CACHEABLE))
    async with origin, CachingProxy(origin.url, tier) as proxy:
        assert (await raw(proxy.port, request_)).startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
        assert not origin.seen


async def test_a_smuggled_request_is_content_and_poisons_nothing(tier: Tier) -> None:
    hidden = b"0\r\n\r\nGET /victim HTTP/1.1\r\nHost: site.test\r\nX: "
    smuggling = (
        b"POST /a HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n"
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (len(hidden), hidden)
    )
    origin = Scripted(answer(CACHEABLE))
    async with origin, CachingProxy(origin.url, tier) as proxy:
        await raw(proxy.port, smuggling)
        assert [seen.target for seen in origin.seen if seen.method == "GET"] in ([], ["/victim"])
        before = len(origin.seen)
        got = await ask_over_socket(proxy.port, ask("/a"))
        assert got.status == 200
        assert len(origin.seen) == before + 1, "nothing was stored for the URI that carried it"


async def test_a_body_goes_through_to_the_origin(tier: Tier) -> None:
    origin = Scripted(answer())
    async with origin, CachingProxy(origin.url, tier) as proxy:
        await ask_over_socket(proxy.port, ask("/", ("Content-Length", "5"), method="POST", body=b"hello"))
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        await raw(proxy.port, chunked)
        assert [seen.body for seen in origin.seen] == [b"hello", b"abc"]


async def test_an_origin_that_breaks_off_breaks_the_client_off_and_nothing_is_stored(tier: Tier) -> None:
    short = OriginAnswer(headers=(CACHEABLE, ("Content-Length", "10")), body=b"half")
    origin = Scripted(short, answer(CACHEABLE, body=b"the whole"))
    async with origin, CachingProxy(origin.url, tier) as proxy:
        got = await raw(proxy.port, b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        assert got.endswith((b"half", b"\r\n\r\n")), "and no more"
        await proxy.cache.settle()
        again = await ask_over_socket(proxy.port, ask())
        assert again.body == b"the whole"
        assert "; hit" not in values(again, "cache-status")[0]


async def test_an_origin_that_is_not_there_is_a_bad_gateway(tier: Tier) -> None:
    async with RawOrigin() as origin:
        url = origin.url
    async with CachingProxy(url, tier) as proxy:
        got = await ask_over_socket(proxy.port, ask())
        assert got.status == 502
        assert json.loads(got.body)["type"] == "bad-gateway"
    with pytest.raises(ConfigurationError):
        Forwarder("https://example.org")


async def test_a_client_that_hangs_up_mid_body_leaves_a_whole_entry(tier: Tier) -> None:
    body = bytes(4_000_000)
    origin = Scripted(answer(CACHEABLE, body=body))
    async with origin, CachingProxy(origin.url, tier) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        await reader.read(1000)
        writer.transport.abort()
        await proxy.cache.settle()
        got = await ask_over_socket(proxy.port, ask())
        assert len(got.body) == len(body)
        assert len(origin.seen) == 1


async def test_a_client_that_reads_slowly_holds_up_no_other(tier: Tier) -> None:
    origin = Scripted(answer(CACHEABLE, body=bytes(6_000_000)))
    async with origin, CachingProxy(origin.url, tier) as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")  # and reads nothing
        await eventually(lambda: len(origin.seen) == 1)
        got = await ask_over_socket(proxy.port, ask())
        assert len(got.body) == 6_000_000
        assert len(origin.seen) == 1
        writer.transport.abort()


async def test_one_connection_carries_many_requests(tier: Tier) -> None:
    origin = Scripted(answer(CACHEABLE))
    async with origin, CachingProxy(origin.url, tier) as proxy:
        one = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"
        data = await raw(
            proxy.port, one * 3 + b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n"
        )
        assert data.count(b"HTTP/1.1 200") == 4
        assert data.count(b"; hit") == 3


# -- processes ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def proxies(origin: str, valkey: str, count: int, *more: str) -> Iterator[list[int]]:
    command = [sys.executable, "-m", "valtier.testing.proxy", "--origin", origin, "--valkey", valkey, *more]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]  # noqa: S603
    try:
        ports = []
        for process in running:
            assert process.stdout is not None
            ports.append(int(process.stdout.readline().strip().rpartition(":")[2]))
        yield ports
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


async def test_a_stampede_on_three_processes_reaches_the_origin_once(valkey: EmbeddedValkey) -> None:
    origin = Scripted(answer(CACHEABLE, body=b"once"))
    async with origin:
        with proxies(origin.url, valkey.url, 3) as ports:
            got = await asyncio.gather(*(ask_over_socket(port, ask()) for port in ports for _ in range(30)))
    assert {one.body for one in got} == {b"once"}
    assert len(origin.seen) == 1


async def test_the_clock_of_another_process_can_be_set(valkey: EmbeddedValkey) -> None:
    origin = Scripted(answer(CACHEABLE, body=b"one"), answer(CACHEABLE, body=b"two"))
    async with origin:
        with proxies(origin.url, valkey.url, 1, "--test-clock", "--identity-field", "X-Identity") as (port,):

            async def at(now: str) -> Got:
                path, length = "/.well-known/valtier-clock", ("Content-Length", str(len(now)))
                return await ask_over_socket(port, ask(path, length, method="PUT", body=now.encode()))

            assert (await at("soon")).status == 400
            assert (await at("1800000000")).status == 200
            assert (await ask_over_socket(port, ask())).body == b"one"
            await at("1800000059")
            assert (await ask_over_socket(port, ask())).body == b"one"
            await at("1800000061")
            assert (await ask_over_socket(port, ask())).body == b"two"
