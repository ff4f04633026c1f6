"""deploy/valkey.conf, valkey-tls.conf and users.acl: real servers start with them, and the studio runs on them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fluxstudio.rights import users_file
from fluxstudio.testing import Caller, Database, World, project_of, read_all, running, settings_for
from valtier import Tier
from valtier.embedded import ChildProcess, free_port
from valtier.embedded._valkey_binaries import valkey_91
from valtier.testing import eventually
from valtier.testing.debian import ensure_program, ensure_redis

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORD = "0123456789abcdef"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What deploy/certificates.sh makes."""
    ensure_program("openssl", "openssl")
    places = {name: tmp_path / name.lower() for name in ("TLS", "SITE", "USERS")}
    for place in places.values():
        place.mkdir()
    environment = {"PATH": os.environ["PATH"], "VALKEY_PASSWORD": PASSWORD, "SITE_NAME": "studio.example.org"}
    environment |= {name: str(place) for name, place in places.items()} | {"TEMPLATES": str(DEPLOY)}
    for _ in range(2):  # the second run finds everything in place
        subprocess.run(["sh", DEPLOY / "certificates.sh"], env=environment, check=True, capture_output=True)  # noqa: S603, S607
    return tmp_path


@contextmanager
def server(made: Path, binary: Path, *, tls: bool) -> Iterator[int]:
    """A server with the shipped files; only places and ports are the test's own."""
    port = free_port()
    text = (DEPLOY / "valkey.conf").read_text().replace("/etc/valkey/users/", f"{made}/users/")
    if tls:
        text += (DEPLOY / "valkey-tls.conf").read_text().replace("/tls/", f"{made}/tls/")
        text = text.replace("tls-port 6379", f"tls-port {port}")
    else:
        text += f"\nport {port}\n"
    text = text.replace("bind 0.0.0.0", "bind 127.0.0.1") + f"\ndir {made}\n"
    if binary.name.startswith("redis"):  # Redis 7.0 does not know this command yet
        users = made / "users" / "users.acl"
        users.write_text(users.read_text().replace(" +client|setinfo", ""))
    config = made / "server.conf"
    config.write_text(text)
    child = ChildProcess(
        [str(binary), str(config)], log=made / "server.log", env=dict(os.environ), cwd=str(made)
    )
    try:
        yield port
        assert child.exit_code is None, child.tail()
    finally:
        child.end((signal.SIGTERM, 10.0))


async def answers(url: str) -> bool:
    async with Tier.from_url(url, prefix="flux:test") as tier:
        return bool((await tier.health())["cache"]["connected"])


def test_the_shipped_users_are_what_the_features_ask_for() -> None:
    """When a feature uses another command, this fails until deploy/users.acl has it: `fluxstudio acl > deploy/users.acl`."""
    assert (DEPLOY / "users.acl").read_text() == users_file()


def test_every_line_of_the_configuration_has_a_reason() -> None:
    for name in ("valkey.conf", "valkey-tls.conf"):
        blocks = re.split(r"\n\s*\n", (DEPLOY / name).read_text())
        for block in blocks:
            assert block.lstrip().startswith("#"), block


async def test_the_studio_runs_on_a_valkey_with_the_shipped_configuration_and_users(
    made: Path, shared_database_url: str, world: World, database: Database
) -> None:
    with server(made, valkey_91(), tls=False) as port:
        url = f"redis://studio:{PASSWORD}@127.0.0.1:{port}/0"
        await eventually(lambda: answers(url), 30)
        async with running(settings_for(shared_database_url, url, api_limit="1000/minute")) as app:
            assert app.studio is not None
            await read_all(app, world)
            await Caller(app, world.ada).patch(project_of(world), {"title": "Renamed"})
            await read_all(app, world)
            realtime = app.studio.realtime
            await realtime.sio.emit("hello", room="nobody")
            assert await realtime.sio.participants("nobody") == ([], True)
            health = await Caller(app).get("/api/health")
            assert (health["cache"]["status"], health["cache"]["last_refusal"]) == ("ready", None)
            assert app.studio.tier.cache.totals()[0] > 0
            limited = await Caller(app, world.ada).call("GET", "/api/me")
            assert "ratelimit" in limited.headers


async def test_nobody_comes_in_without_the_password(made: Path) -> None:
    with server(made, valkey_91(), tls=False) as port:
        await eventually(lambda: answers(f"redis://studio:{PASSWORD}@127.0.0.1:{port}/0"), 30)
        for user in ("", "studio:wrong@", "default:x@", f"operator:{PASSWORD}@"):
            assert not await answers(f"redis://{user}127.0.0.1:{port}/0"), user


async def test_by_tls_with_the_certificate_that_the_set_up_makes(made: Path) -> None:
    """Debian's Redis reads the same words, and speaks TLS; the certificate is for the name that workers use."""
    with server(made, ensure_redis(made), tls=True) as port:
        url = f"rediss://studio:{PASSWORD}@localhost:{port}/0?tls_ca={made}/tls/ca.crt"
        await eventually(lambda: answers(url), 30)
        assert not await answers(f"rediss://studio:{PASSWORD}@localhost:{port}/0")
    looking = await asyncio.create_subprocess_exec(
        *("openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", str(made / "tls" / "valkey.crt")),
        stdout=asyncio.subprocess.PIPE,
    )
    shown, _ = await looking.communicate()
    assert b"DNS:valkey" in shown
