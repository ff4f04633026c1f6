"""Secrets of authenticator apps: sealed in PostgreSQL, opened by any key that is still known."""

from __future__ import annotations

import logging
import secrets
from typing import Any

import pyotp
import pytest

from fluxstudio.accounts.sealing import Seal, SealedError
from fluxstudio.app import Application
from fluxstudio.testing import Browser, Caller, Database, Person, running, settings_for
from valtier.embedded import EmbeddedValkey

OLD, NEW = secrets.token_hex(32), secrets.token_hex(32)
PASSWORD = "correct horse"


def test_what_is_sealed_tells_nothing_and_opens_for_its_user_only() -> None:
    seal, secret = Seal([NEW]), pyotp.random_base32()
    stored = seal.seal(secret, 7)
    assert secret not in stored
    assert stored != seal.seal(secret, 7)
    assert seal.open(stored, 7) == (secret, False)
    with pytest.raises(SealedError):
        seal.open(stored, 8)


@pytest.mark.parametrize("broken", ["sealed:", "sealed:!", "sealed:AAAA", "sealed:" + "A" * 80])
def test_what_nobody_has_sealed_is_not_opened(broken: str) -> None:
    with pytest.raises(SealedError):
        Seal([NEW]).open(broken, 7)


def test_older_keys_open_and_what_they_sealed_is_to_be_sealed_anew() -> None:
    secret = pyotp.random_base32()
    assert Seal([NEW, OLD]).open(Seal([OLD]).seal(secret, 7), 7) == (secret, True)
    assert Seal([NEW]).open(secret, 7) == (secret, True)  # it lay in the clear
    assert Seal([]).open(secret, 7) == (secret, False)
    for keys in ([], [NEW]):
        with pytest.raises(SealedError):
            Seal(keys).open(Seal([OLD]).seal(secret, 7), 7)


class Studio:
    """A studio that is started again and again, with other keys, and one person's authenticator app."""

    def __init__(self, database_url: str, valkey: EmbeddedValkey, database: Database, person: Person) -> None:
        self._urls = (database_url, valkey.url)
        self._database = database
        self._person = person
        self._secret = ""
        self._steps = 0

    def run(self, *keys: str) -> Any:
        return running(settings_for(*self._urls, secrets_keys=keys))

    async def stored(self) -> str:
        return str(
            await self._database.connection.fetchval(
                "SELECT totp_secret FROM users WHERE id = $1", self._person.id
            )
        )

    def _code(self, app: Application) -> str:
        """Returns the code of the next step; the studio's clock goes with it."""
        assert app.studio is not None
        self._steps += 1
        at = 1_900_000_000 + 30 * self._steps
        app.studio.factors._clock = lambda: at
        return pyotp.TOTP(self._secret).at(at)

    async def switch_on(self, app: Application) -> None:
        caller = Caller(app, self._person)
        self._secret = (await caller.post("/api/me/totp", status=200))["secret"]
        await caller.post("/api/me/totp/confirm", {"code": self._code(app)}, status=200)

    async def sign_in(self, app: Application, *, status: int = 200) -> Any:
        browser = Browser(app)
        form = {"email": self._person.email, "password": PASSWORD}
        ticket = (await browser.post("/api/sign-in", form, status=202))["ticket"]
        answer = {"ticket": ticket, "code": self._code(app)}
        return await browser.post("/api/sign-in/second-factor", answer, status=status)

    @property
    def secret(self) -> str:
        return self._secret


async def test_a_copy_of_the_database_holds_no_secret_and_keys_can_be_changed(
    shared_database_url: str, valkey: EmbeddedValkey, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await database.person("Ada", password=PASSWORD, sudo_s=600)
    studio = Studio(shared_database_url, valkey, database, ada)
    async with studio.run() as app:  # an older studio, without a key
        await studio.switch_on(app)
        await studio.sign_in(app)
    assert await studio.stored() == studio.secret
    async with studio.run(OLD) as app:
        await studio.sign_in(app)
    sealed = await studio.stored()
    assert studio.secret not in sealed
    async with studio.run(NEW, OLD) as app:
        await studio.sign_in(app)
    assert await studio.stored() != sealed
    async with studio.run(NEW) as app:
        await studio.sign_in(app)
    with caplog.at_level(logging.ERROR, "fluxstudio"):
        async with studio.run(OLD) as app:
            answer = await studio.sign_in(app, status=503)
    assert answer["code"] == "second-factor-unavailable"
    async with studio.run(NEW) as app:  # nothing was lost by the wrong key
        await studio.sign_in(app)


async def test_what_is_set_up_under_a_key_is_sealed_from_the_start(
    shared_database_url: str, valkey: EmbeddedValkey, database: Database
) -> None:
    ada = await database.person("Ada", password=PASSWORD, sudo_s=600)
    studio = Studio(shared_database_url, valkey, database, ada)
    async with studio.run(NEW) as app:
        await studio.switch_on(app)
        assert (await studio.stored()).startswith("sealed:")
        assert studio.secret not in await studio.stored()
        await studio.sign_in(app)
