"""`fluxstudio verify` says what is wrong with a live site, and nothing of one that is well."""

from __future__ import annotations

import asyncio
import io
import json
import shlex
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from rich.console import Console

from fluxstudio.testing import Inbox, World, value
from fluxstudio.testing_proxy import Balancer
from fluxstudio.testing_workers import StudioWorker
from fluxstudio.verify import Finding, Mark, Options, VerifyError, command, verify
from valtier.embedded import EmbeddedValkey, free_port
from valtier.testing import eventually
from valtier.testing.certificates import Certificates, make_certificates

SLOW_MS = 2_000.0
"""How fast it is here is no matter of these tests: the machine may be busy."""


def options(url: str, **more: Any) -> Options:
    return Options(url=url, **{"max_ms": SLOW_MS, "timeout_s": 30.0} | more)


def failed(findings: list[Finding]) -> set[str]:
    return {finding.name for finding in findings if finding.mark is Mark.FAILED}


def told(findings: list[Finding]) -> str:
    return "\n".join(f"{one.mark} {one.name}: {one.detail}" for one in findings)


def marks(findings: list[Finding]) -> dict[str, Mark]:
    return {finding.name: finding.mark for finding in findings}


@asynccontextmanager
async def studio(
    database_url: str, redis_url: str | None, inbox: Inbox | None = None, **more: str
) -> AsyncIterator[list[StudioWorker]]:
    """Two workers, with mail that can be read."""
    environment = {} if inbox is None else {"SMTP_URL": inbox.url, "MAILBOX_DIR": str(inbox.directory)}
    workers = [StudioWorker(database_url, redis_url, **environment, **more) for _ in range(2)]
    try:
        await asyncio.gather(*(worker.start() for worker in workers))
        yield workers
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))


async def test_a_site_that_is_well_passes_everything_and_keeps_nothing_of_it(
    shared_database_url: str, valkey: EmbeddedValkey, inbox: Inbox, tmp_path: Path
) -> None:
    """With an account: signed up, used, kept over a restart, talking across workers, limited, deleted."""
    people = "SELECT count(*) FROM users WHERE name = 'Verification' AND deleted_at IS NULL"
    projects = "SELECT count(*) FROM projects WHERE title = 'Verification'"
    wish, done = tmp_path / "restart", tmp_path / "restarted"
    wait = (
        "import pathlib, time\n"
        f"pathlib.Path({str(wish)!r}).touch()\n"
        f"while not pathlib.Path({str(done)!r}).exists(): time.sleep(0.05)\n"
    )
    async with studio(shared_database_url, valkey.url, inbox) as workers, Balancer(workers).open() as url:

        async def restart() -> None:
            await eventually(wish.exists, 60)
            await asyncio.gather(*(worker.stop() for worker in workers))
            await asyncio.gather(*(worker.start() for worker in workers))
            done.touch()

        restarting = asyncio.create_task(restart())
        found = await verify(
            options(url, full=True, restart_command=f"{sys.executable} -c {shlex.quote(wait)}")
        )
        await restarting
    assert failed(found) == set(), told(found)
    assert {name for name, mark in marks(found).items() if mark is Mark.SKIPPED} == set(), told(found)
    assert "two workers" in told(found)
    assert value(shared_database_url, people) == 0
    assert value(shared_database_url, projects) == 0


async def test_without_an_account_it_only_reads(
    shared_database_url: str, valkey: EmbeddedValkey, world: World
) -> None:
    count = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM sign_ups)"
    async with studio(shared_database_url, valkey.url) as workers, Balancer(workers).open() as url:
        before = value(shared_database_url, count)
        found = await verify(options(url, page=world.slug))
        assert value(shared_database_url, count) == before
    assert failed(found) == set(), told(found)
    assert marks(found)["hit rate"] is Mark.PASSED, told(found)
    assert marks(found)["queries reduced"] is Mark.PASSED, told(found)
    assert marks(found)["Socket.IO connects and echoes across workers"] is Mark.SKIPPED


async def test_what_is_broken_is_named(
    shared_database_url: str, own_valkey: EmbeddedValkey, world: World
) -> None:
    """Valkey is gone; then it is not wanted at all, and the limits are off."""
    async with studio(shared_database_url, own_valkey.url) as workers, Balancer(workers).open() as url:
        own_valkey.kill()
        await eventually(lambda: _cache_is_down(url), 30)
        found = await verify(options(url, page=world.slug))
        assert "cache connected and ready" in failed(found), told(found)
        assert "no timeout errors" in failed(found), told(found)
    async with studio(shared_database_url, None, API_LIMIT="off") as workers, Balancer(workers).open() as url:
        found = await verify(options(url, page=world.slug, version="9.9"))
        assert failed(found) >= {"cache connected and ready", "rate limiting active", "version"}, told(found)
        assert "USE_REDIS" in next(one.advice for one in found if one.name == "cache connected and ready")


async def _cache_is_down(url: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/health") as response:
        return not (await response.json())["cache"]["connected"]


async def test_a_proxy_that_strips_headers_or_has_no_tls_is_named(
    shared_database_url: str, valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strips = ("content-security-policy", "x-content-type-options", "ratelimit", "ratelimit-policy")
    certificates = make_certificates(tmp_path)
    async with studio(shared_database_url, valkey.url, SECURE_COOKIES="true") as workers:
        async with Balancer(workers, strips).open() as url:
            monkeypatch.setattr(Options, "local", False)  # as if it were another machine
            found = await verify(options(url))
            assert failed(found) >= {"security headers", "rate limiting active", "TLS"}, told(found)
            monkeypatch.undo()
            assert "TLS" not in failed(await verify(options(url)))
        front = Balancer(workers)
        async with front.open(_context(certificates, "server")) as url:
            found = await verify(options(url, ca=certificates.ca))
            assert failed(found) <= {"TLS"}, told(found)  # a certificate of the test run does not last long
            assert marks(found)["HSTS"] is Mark.PASSED
            assert failed(await verify(options(url))) >= {"TLS", "reachable"}  # nobody trusts it
        async with Balancer(workers).open(_context(certificates, "expired")) as url:
            assert "expired" in told(await verify(options(url, ca=certificates.ca)))


def _context(certificates: Certificates, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    identity = getattr(certificates, name)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def printed(url: str, **more: Any) -> tuple[int, str]:
    out = io.StringIO()
    code = command.run(options(url), console=Console(file=out, soft_wrap=True, width=200), **more)
    return code, out.getvalue()


async def test_people_see_ticks_and_crosses_and_programs_json_and_an_exit_code(
    shared_database_url: str, valkey: EmbeddedValkey
) -> None:
    async with StudioWorker(shared_database_url, valkey.url) as worker:
        code, text = await asyncio.to_thread(printed, worker.url)
        assert (code, "✓ cache connected and ready" in text, "all is well" in text) == (0, True, True), text
        code, text = await asyncio.to_thread(printed, worker.url, as_json=True)
        report = json.loads(text)
        assert (code, report["ok"]) == (0, True)
        assert {"name", "mark", "detail", "advice"} == report["findings"][0].keys()
    code, text = await asyncio.to_thread(printed, worker.url)
    assert code == 1
    assert "✗ reachable" in text


async def test_it_watches_until_all_is_well(shared_database_url: str, valkey: EmbeddedValkey) -> None:
    worker = StudioWorker(shared_database_url, valkey.url)
    watching = asyncio.create_task(
        asyncio.to_thread(printed, worker.url, watch=True, every_s=0.2, patience_s=100)
    )
    await asyncio.sleep(0)
    async with worker:
        code, text = await watching
    assert code == 0, text
    assert "not yet: reachable" in text


async def test_a_watch_that_sees_no_end_gives_up() -> None:
    code, text = await asyncio.to_thread(
        printed, f"http://127.0.0.1:{free_port()}", watch=True, every_s=0.1, patience_s=0.3
    )
    assert code == 1
    assert "✗ reachable" in text


@pytest.mark.parametrize("url", ["studio.example.org", "ftp://x", "https://x/path", "https://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(VerifyError, match="give such as https"):
        Options(url=url)
