"""Issuing: what long tokens and short codes share: who may have another one, and when."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from valtier.codes.errors import (
    CodesUnavailableError,
    CooldownError,
    InvalidCodeError,
    TooManyFailuresError,
)
from valtier.codes.rules import CodeStore
from valtier.codes.store import ValkeyStore, milliseconds, whole
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.wire import Valkey

_PURPOSE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
MAX_SUBJECT = 512


@dataclass(slots=True)
class CodeStats:
    """What has happened in this process since the start."""

    issued: int = 0
    accepted: int = 0
    invalid: int = 0
    too_many_failures: int = 0
    cooldowns: int = 0
    unavailable: int = 0


def new_binding() -> str:
    """Returns a random value of 128 bits, to be kept in a cookie of the browser that asks for a code."""
    return secrets.token_urlsafe(16)


class Issuing:
    """The base of `Codes` and `OneTimeCodes`: cooldowns, digests and counters of one purpose."""

    def __init__(
        self,
        valkey: Valkey | None,
        *,
        prefix: str,
        purpose: str,
        ttl: Duration,
        pepper: bytes,
        cooldown: Duration | None,
        address_points: int,
        address_duration: Duration,
        most: int,
        store: CodeStore | None,
    ) -> None:
        if not _PURPOSE.fullmatch(purpose):
            raise ConfigurationError(
                f"a purpose is 1 to 40 small letters, digits and hyphens, such as 'password-reset', not {purpose!r}"
            )
        self.purpose = purpose
        self.ttl_s = seconds(ttl, name="ttl")
        self.stats = CodeStats()
        self._pepper = pepper
        self._cooldown_ms = 0 if cooldown is None else milliseconds(seconds(cooldown, name="cooldown"))
        self._address_points = whole(address_points, name="address_points", least=1, most=10**9)
        self._address_ms = milliseconds(seconds(address_duration, name="address_duration"))
        self._most = whole(most, name="max_codes", least=1, most=100)
        self._store = store or ValkeyStore(valkey, prefix, purpose)

    async def admit(self, subject: str, *, address: str | None = None, device: str | None = None) -> None:
        """Begins the cooldown of a subject without issuing: for those who issue later, in the worker that sends mail.

        Call it for known and unknown subjects alike, and answer both alike. One round trip, two with an address.

        Args:
            subject: as `issue` takes it.
            address: the client's, as your rate limits key it. It is counted first, so that an address that asks too
                often can't use up other people's cooldowns.
            device: as `issue` takes it.

        Raises:
            CooldownError: asked too often for this subject, or from this address.
            CodesUnavailableError: Valkey can't be asked: nothing is let in.
        """
        with self._counting():
            await self._admit_address(address)
            if self._cooldown_ms:
                self._wait(
                    await self._store.issue(
                        self._digest(subject), lane=self._lane(device), cooldown_ms=self._cooldown_ms
                    )
                )

    async def revoke(self, subject: str) -> int:
        """Removes every code of a subject, and returns how many there were. One round trip.

        Failures stay counted, and cooldowns go on.

        Raises:
            CodesUnavailableError: Valkey can't be asked.
        """
        with self._counting():
            return await self._store.revoke(self._digest(subject))

    async def _put(
        self,
        subject: str,
        field: str,
        data: str,
        *,
        address: str | None,
        device: str | None,
        admitted: bool,
        tries: int,
    ) -> None:
        with self._counting():
            if not admitted:
                await self._admit_address(address)
            self._wait(
                await self._store.issue(
                    self._digest(subject),
                    lane=self._lane(device),
                    cooldown_ms=0 if admitted else self._cooldown_ms,
                    field=field,
                    data=data,
                    ttl_ms=milliseconds(self.ttl_s),
                    tries=tries,
                    most=self._most,
                )
            )
        self.stats.issued += 1

    async def _admit_address(self, address: str | None) -> None:
        if address is not None:
            self._wait(
                await self._store.count(
                    self._mac(b"address", address)[:32],
                    points=self._address_points,
                    window_ms=self._address_ms,
                )
            )

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Counts what goes wrong within."""
        try:
            yield
        except InvalidCodeError:
            self.stats.invalid += 1
            raise
        except TooManyFailuresError:
            self.stats.too_many_failures += 1
            raise
        except CooldownError:
            self.stats.cooldowns += 1
            raise
        except CodesUnavailableError:
            self.stats.unavailable += 1
            raise

    @staticmethod
    def _wait(wait_ms: int) -> None:
        if wait_ms > 0:
            raise CooldownError("a code was asked for a moment ago", wait_ms / 1000)

    def _digest(self, subject: str) -> str:
        if type(subject) is not str or not 0 < len(subject) <= MAX_SUBJECT:
            raise ConfigurationError(
                f"a subject is text of 1 to {MAX_SUBJECT} characters, not {str(subject)[:60]!r}"
            )
        return self._mac(b"subject", subject)[:32]

    def _lane(self, device: str | None) -> str:
        return "" if device is None else self._mac(b"device", device)[:32]

    def _mac(self, label: bytes, *parts: str) -> str:
        """Returns the HMAC-SHA-256 of the parts under the pepper, as 64 hexadecimal digits.

        Each part goes with its length, so that no two lists of parts are the same bytes.
        """
        mac = hmac.new(self._pepper, label, hashlib.sha256)
        for part in (self.purpose, *parts):
            data = part.encode("utf-8", "surrogatepass")
            mac.update(b"%d:" % len(data))
            mac.update(data)
        return mac.hexdigest()
