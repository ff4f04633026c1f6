"""Sessions on other servers: a cluster, an older Valkey, and a user who may do no more than they need."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from sessions_world import prepare, real_worker

from valtier import Session, Sessions, Tier
from valtier.embedded import EmbeddedCluster, EmbeddedValkey
from valtier.sessions import acl
from valtier.sessions.store import COMMANDS
from valtier.testing import eventually

HANDSHAKE = ("+ping", "+info", "+role", "+client|setname", "+client|setinfo")


async def play(sessions: Sessions[Any], subject: str) -> None:
    """Does everything once."""
    session = await sessions.create(subject, data={"a": 1})
    again = await _load(sessions, session.token)
    for _ in range(3):
        again = await _load(sessions, session.token)
        assert again.data == {"a": 1}
    await again.set(b=2)
    await again.remove("a")
    old = again.token
    await again.confirm()
    assert await sessions.load(old) is None
    before = again.token
    await sessions.renew(again)
    late = await sessions.load(before)
    assert late is not None
    assert late.token == again.token
    ended: list[Any] = []
    watch = sessions.watch(again, ended.append)
    others = [await sessions.create(subject) for _ in range(3)]
    assert len(await sessions.devices(subject)) == 4
    assert await sessions.revoke(subject, others[0].device_id)
    assert await sessions.destroy_all(subject, except_=again) == 2
    assert await _data(sessions, again) == {"b": 2}
    await sessions.create(subject, replaces=others[1])
    assert await sessions.destroy(again)
    assert await sessions.load(again.token) is None
    watch.stop()
    assert await sessions.destroy_all(subject) == 1
    assert await sessions.devices(subject) == []


async def _load(sessions: Sessions[Any], token: str) -> Session[Any]:
    session = await sessions.load(token)
    assert session is not None
    return session


async def _data(sessions: Sessions[Any], session: Session[Any]) -> object:
    found = await sessions.load(session.token)
    return None if found is None else found.data


@pytest.mark.parametrize("durable", [False, True])
async def test_req43_a_restricted_user_runs_everything(
    own_valkey: EmbeddedValkey, shared_database_url: str, durable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirement 43: key and channel patterns of the sessions, and only the commands they use."""
    caplog.set_level(logging.WARNING)
    own_valkey.call("ACL", "SETUSER", "app", "reset", "on", ">sesame", *HANDSHAKE, *acl("studio"))
    url = f"redis://app:sesame@127.0.0.1:{own_valkey.port}/0"
    if durable:
        await prepare(shared_database_url)
    async with (
        Tier.from_url(url, prefix="studio", deadline=5.0) as tier,
        tier.sessions(
            durable=shared_database_url if durable else None, touch="1ms", durable_deadline="5s"
        ) as sessions,
    ):
        await eventually(lambda: tier.valkey.tracking)
        await play(sessions, "ada")
        session = await sessions.create("bob")
        await asyncio.sleep(0.01)  # so that its use is worth a note: the clock is the server's
        assert await sessions.touch(session)
        ended: list[Any] = []
        watched = await sessions.create("eve")
        sessions.watch(watched, ended.append)
        await eventually(lambda: own_valkey.call("PUBSUB", "NUMSUB", "studio:s:ended")[1])
        await sessions.destroy(watched)
        await eventually(lambda: ended)
        assert sessions.stats.outages == 0
        stray: Any = own_valkey.call("ACL", "LOG")
        named = b" ".join(bytes(part) for entry in stray for part in entry if isinstance(part, bytes))
        assert b"studio:s:" not in named
        denied = await tier.valkey.call_many([("GET", "studio:s:x"), ("DEL", "other:s:x"), ("KEYS", "*")])
        assert all("NOPERM" in str(reply) for reply in denied)


def test_req43_no_command_is_granted_that_no_script_uses() -> None:
    """Requirement 43: only what is used."""
    from importlib import resources

    package = resources.files("valtier.sessions")
    text = "".join(
        file.read_text("utf-8")
        for file in package.iterdir()
        if file.name.endswith((".lua", "store.py", "reads.py"))
    )
    source = text.replace("COMMANDS = (", "").partition("def acl")
    used = source[0] + source[2]
    for command in COMMANDS:
        if command not in ("SUBSCRIBE", "UNSUBSCRIBE", "CLIENT|TRACKING"):
            assert f"'{command}'" in used or f'call("{command}"' in used or f'send("{command}"' in used


@pytest.mark.parametrize("durable", [False, True])
async def test_in_a_cluster_all_of_one_user_lies_in_one_slot(
    cluster: EmbeddedCluster, shared_database_url: str, durable: bool
) -> None:
    if durable:
        await prepare(shared_database_url)
    where = shared_database_url if durable else None
    async with real_worker(cluster.url, where) as here, real_worker(cluster.url, where) as there:
        for subject in ("ada", "bob", "eve", "joe"):
            await play(here, subject)
            session = await here.create(subject)
            assert await there.load(session.token) is not None
            await here.destroy(session)

            async def gone(token: str = session.token) -> bool:
                return await there.load(token) is None

            await eventually(gone)


@pytest.mark.parametrize("durable", [False, True])
async def test_valkey_8_does_as_well(
    valkey81: EmbeddedValkey, shared_database_url: str, durable: bool
) -> None:
    valkey81.flush()
    if durable:
        await prepare(shared_database_url)
    async with real_worker(valkey81.url, shared_database_url if durable else None) as sessions:
        await play(sessions, "ada")


async def test_resp2_tracks_nothing_and_works(valkey: EmbeddedValkey) -> None:
    async with real_worker(f"{valkey.url}?protocol=2") as sessions:
        await play(sessions, "ada")
        session = await sessions.create("ada")
        for _ in range(3):
            assert await sessions.load(session.token)
        assert sessions.stats.local_reads == 0
