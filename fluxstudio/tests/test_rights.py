"""A user of Valkey with few rights runs everything: its own keys, and only the commands that are used."""

from __future__ import annotations

import asyncpg

from fluxstudio.db.installation import fetch_installation
from fluxstudio.testing import (
    Browser,
    Caller,
    Database,
    Inbox,
    World,
    expect,
    project_of,
    read_all,
    running,
    settings_for,
    with_mail,
)
from valtier import codes, limits, presence, sessions, socketio, vitals
from valtier.embedded import EmbeddedValkey

PASSWORD = "correct horse"
CACHE = ("get", "mget", "set", "time", "unlink", "del", "getrange", "pexpire", "eval", "evalsha")
CONNECTION = ("ping", "info", "client|setinfo", "client|tracking")


async def test_43_a_restricted_user_runs_everything(
    shared_database_url: str, own_valkey: EmbeddedValkey, inbox: Inbox, world: World, database: Database
) -> None:
    connection = await asyncpg.connect(shared_database_url)
    prefix = f"flux:{await fetch_installation(connection)}"
    await connection.close()
    rules = [
        f"~{prefix}:*",
        *(f"+{name}" for name in (*CACHE, *CONNECTION)),
        *sessions.acl(prefix),
        *limits.acl_rule(prefix).split(),
        *codes.acl(prefix),
        *presence.acl(prefix),
        *socketio.acl(prefix),
        *vitals.acl(prefix),
    ]
    own_valkey.call("ACL", "SETUSER", "studio", "reset", "on", ">secret", "-@all", *rules)
    own_valkey.call("ACL", "LOG", "RESET")
    url = own_valkey.url.replace(f":{own_valkey.password}@", "studio:secret@")
    ada = await database.person("Ada", password=PASSWORD)
    async with running(
        settings_for(shared_database_url, url, api_limit="1000/minute", **with_mail(inbox))
    ) as app:
        assert (await Caller(app).get("/api/health"))["cache"]["connected"]
        await read_all(app, world)
        await read_all(app, world)
        await Caller(app, world.ada).patch(project_of(world), {"title": "Renamed"})
        browser = Browser(app)
        await browser.post("/api/sign-in", {"email": ada.email, "password": "wrong horse"}, status=401)
        await browser.post("/api/sign-in", {"email": ada.email, "password": PASSWORD}, status=200)
        await browser.get("/api/me/devices")
        await browser.post("/api/me/sudo", {"password": PASSWORD}, status=200)
        await browser.post("/api/me/totp", status=200)
        await browser.post("/api/me/totp/confirm", {"code": "000000"}, status=401)
        expect(await browser.call("POST", "/api/sign-in/code", {"email": ada.email}), 202)
        form = {"email": ada.email, "code": await inbox.code(ada.email)}
        await browser.post("/api/sign-in/code/verify", form, status=200)
        expect(await browser.call("POST", "/api/forgot-password", {"email": ada.email}), 202)
        token = await inbox.token(ada.email, "Set a new password")
        await browser.post("/api/reset-password", {"token": token, "password": "battery staple"}, status=204)
        assert app.studio is not None
        realtime = app.studio.realtime
        assert realtime.people is not None
        await realtime.sio.emit("hello", room="nobody")
        await realtime.sio.emit("cursor", room="nobody", volatile=True)
        assert await realtime.sio.participants("nobody") == ([], True)
        assert app.studio.tier.cache.totals()[0] > 0
        assert await app.studio.tier.vitals.publish()
        [report] = await vitals.fleet(app.studio.tier.valkey, prefix)
        assert (report.name, report.sections["socketio"]["sockets"]) == ("fluxstudio", 0)
    assert own_valkey.call("ACL", "LOG") == []
