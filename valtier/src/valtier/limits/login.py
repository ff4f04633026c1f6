"""The login recipe: attempts to sign in, limited so that nobody guesses passwords and nobody can lock another out.

Design
    *Three counters.* An attempt is charged to its address (100 a day: one address tries many accounts), to account and
    address together (10 in a row, then an hour's pause) and to the account (50 a day: many addresses try one account). It is
    charged before the password is looked at, in one script: hundreds of parallel attempts get no further than one after
    the other. A success takes its own charge back and forgets the failures in a row from there. It does not wipe the
    counters of a day: an attacker with an account of their own would wipe their address's with it.

    *Nobody locks another out.* Whoever knows a name can use up the account's 50 attempts. That must not hit its owner:

    - From an address from which the account has signed in before, the account's counter does not count.
    - A device that has signed in before holds a token (a cookie; the application sets it) and is counted alone: neither
      the account's counter nor that of its address, which others may share, can refuse it. These are OWASP's device
      cookies. The token says nothing by itself: it is no session, and it is worth ten guesses at one account.
    - Who is at neither proves the account's mail address (a reset link, a mailed code); `trust` then lets them in at once.

    *Names.* Accounts are compared as NFKC, case-folded, and kept as hashes. Whether an account exists changes nothing.

    Sources: OWASP ASVS 5.0 6.1.1 and "Slow Down Online Guessing Attacks with Device Cookies"; NIST SP 800-63B-4, 3.2.2.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any, Final

from valtier.clock import Clock
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError, ValkeyError
from valtier.limits.address import subject
from valtier.limits.decision import LimitUnavailableError
from valtier.limits.local import LocalLimits
from valtier.limits.names import digest
from valtier.limits.policy import Algorithm, Limit, check_points
from valtier.limits.scripts import LOGIN, LOGIN_SUCCESS
from valtier.limits.stats import LimiterStats
from valtier.wire import Valkey

ADDRESS: Final = "address"
HERE: Final = "account and address"
ACCOUNT: Final = "account"
DEVICE: Final = "device"

_REASONS = (ADDRESS, HERE, ACCOUNT)
_DAY_S = 86400.0
_TOKEN_MOST = 100
_MAC_BYTES = 20
_NONCE_BYTES = 16
_NONCE = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to sign in. If it is allowed, look at the password; if that is right, call `Login.succeeded`."""

    allowed: bool
    account: str
    retry_after_s: float = 0.0
    """Seconds until another attempt may pass; 0 if this one does."""
    reason: str | None = None
    """What refuses: `"address"`, `"account and address"` or `"account"`. For logs, not for the answer."""
    trusted: bool = False
    """Whether it came from a device or an address from which the account has signed in before."""
    marks: tuple[str, ...] = ()
    """What a success changes: the mark, the failures in a row, and the counters that were charged."""


class Login:
    """Limits on attempts to sign in. Get it from `Tier.limits.login`.

    ```python
    attempt = await login.attempt(form.email, client_address, device=request.cookies.get("__Host-device"))
    if not attempt.allowed:
        return too_many(attempt.retry_after_s)  # 429
    if not password_is_right:
        return wrong()
    token = await login.succeeded(attempt)  # set it as the cookie, for a year
    ```

    In an outage it is closed: `attempt` raises `LimitUnavailableError`, to be answered with 503. Without Valkey
    (`USE_REDIS=false`) it counts in this process.
    """

    def __init__(
        self,
        name: str,
        valkey: Valkey | None,
        *,
        prefix: str,
        secret: str | bytes | None = None,
        per_address: int = 100,
        in_a_row: int = 10,
        per_account: int = 50,
        pause: Duration = "1h",
        remember_failures: Duration = "30d",
        remember_places: Duration = "90d",
        workers: int = 1,
        clock: Clock | None = None,
    ) -> None:
        """Prepares the limits.

        Args:
            name: part of the keys.
            valkey: the wire, or None to count in this process alone.
            prefix: of all keys.
            secret: at least 16 bytes that only the application knows, to sign the tokens of devices, which then outlive a
                flush. Without it they are random, and Valkey knows them for as long as places.
            per_address: attempts a day from one address.
            in_a_row: failures in a row on one account from one address or device.
            per_account: attempts a day on one account, from places where it has not signed in before.
            pause: after so many failures in a row.
            remember_failures: how long failures in a row are remembered.
            remember_places: how long an address is known after the last sign-in from there.
            workers: how many processes share the attempts of a day where there is no Valkey.
            clock: whose monotonic time counts there.

        Raises:
            ConfigurationError: an argument can't be used.
        """
        key = secret.encode() if isinstance(secret, str) else secret
        if key is not None and len(key) < _NONCE_BYTES:
            raise ConfigurationError("the secret of a login has at least 16 bytes: secrets.token_urlsafe(32)")
        self.stats = LimiterStats()
        self._name = name
        self._valkey = valkey
        self._secret = key
        self._address = Limit.of(name, points=per_address, duration=_DAY_S, algorithm=Algorithm.FIXED_WINDOW)
        self._here = Limit.of(name, points=in_a_row, duration=pause, algorithm=Algorithm.FIXED_WINDOW)
        self._account = Limit.of(name, points=per_account, duration=_DAY_S, algorithm=Algorithm.FIXED_WINDOW)
        check_points(in_a_row)
        failures_ms = max(round(seconds(remember_failures) * 1000), self._here.unit_us // 1000)
        row = (in_a_row, failures_ms, self._here.unit_us // 1000)
        day_ms = int(_DAY_S * 1000)
        self._row_words = (0, *row)
        self._marked_words = (-1, *row)
        self._words = (3, per_address, day_ms, 0, *row, per_account, day_ms, 0)
        self._known_ms = round(seconds(remember_places) * 1000)
        self._head = (
            f"{prefix}:limit:{{{name}}}:"  # one slot: an attempt is charged on all counters or on none
        )
        self._address, self._account = self._address.share(workers), self._account.share(workers)
        self._local = LocalLimits((clock or Clock()).monotonic)
        self._known_here: dict[str, None] = {}

    # -- the public face -----------------------------------------------------------------------------------

    async def attempt(self, account: str, address: str, *, device: str | None = None) -> Attempt:
        """Charges an attempt, or refuses it. One round trip; two if a known device has failed too often.

        Args:
            account: the name or mail address that somebody typed, whether there is such an account or not.
            address: where it came from (`ClientAddress` finds it).
            device: the token that `succeeded` once returned, as the client sent it; a forged one is as good as none.

        Raises:
            LimitUnavailableError: Valkey can't be asked. Answer 503.
        """
        who = _normal(account)
        place = subject(address)
        mark, here = self._key("k", who, place), self._key("c", who, place)
        if device is not None and (nonce := self._verify(who, device)) is not None:
            own = self._key("d", who, nonce)
            known, words = (
                ((), self._row_words) if self._secret else ((self._key("v", who, nonce),), self._marked_words)
            )
            passes, _, _ = await self._charge((own, *known), words)
            if passes:
                return self._count(Attempt(True, who, trusted=True, marks=(mark, own)))
        keys = (self._key("a", place), here, self._key("u", who), mark)
        passes, number, wait_ms = await self._charge(keys, self._words)
        if not passes:
            return self._count(Attempt(False, who, max(wait_ms, 1) / 1000, _REASONS[number - 1]))
        charged = (keys[0],) if number else (keys[0], keys[2])
        return self._count(Attempt(True, who, trusted=bool(number), marks=(mark, here, *charged)))

    async def succeeded(self, attempt: Attempt) -> str | None:
        """Notes that the password was right: failures in a row are forgotten, the place is known. One round trip.

        Returns a token for the device. It never fails for Valkey's sake: who is signed in is; without a secret there is
        no token then.

        Raises:
            ConfigurationError: the attempt was not allowed.
        """
        if not attempt.allowed:
            raise ConfigurationError("an attempt that was refused can't have succeeded")
        mark, row, *charged = attempt.marks
        if self._valkey is None:
            self._remember_here(mark)
            self._local.forget(row)
            for key, limit in zip(charged, (self._address, self._account), strict=False):
                self._local.peek(key, limit, adjust=-1)
        else:
            try:
                return await self._remember(self._valkey, attempt.account, attempt.marks)
            except ValkeyError:
                self.stats.outages += 1
        return self.device_token(attempt.account)

    async def trust(self, account: str, address: str) -> str | None:
        """Lets the owner in who has proved the account's mail address: their place is known, nothing is held against it.

        Returns a token for the device. One round trip.

        Raises:
            LimitUnavailableError: Valkey can't be asked.
        """
        who, place = _normal(account), subject(address)
        mark, row = self._key("k", who, place), self._key("c", who, place)
        if self._valkey is None:
            self._remember_here(mark)
            self._local.forget(row)
            return self.device_token(who)
        try:
            return await self._remember(self._valkey, who, (mark, row))
        except ValkeyError as exc:
            raise self._closed() from exc

    def device_token(self, account: str) -> str | None:
        """Returns a new signed token for a device on which the account has signed in. No round trip.

        None without a secret: then the tokens that `succeeded` and `trust` return are known to Valkey.
        """
        if self._secret is None:
            return None
        nonce = _nonce()
        return f"{nonce}.{self._mac(_normal(account), nonce)}"

    def device_of(self, account: str, token: str | None) -> str | None:
        """Returns what names the device of a token that `succeeded` or `trust` gave for this account. No round trip.

        None for a forged one or another account's; also without a secret, since only Valkey knows the tokens then.
        """
        if token is None or self._secret is None:
            return None
        return self._verify(_normal(account), token)

    # -- inside --------------------------------------------------------------------------------------------

    async def _remember(self, valkey: Valkey, who: str, keys: tuple[str, ...]) -> str | None:
        """Notes a success. `keys` are a mark, then what is forgotten or given back. Returns the device's token."""
        token = self.device_token(who)
        if token is None:
            token = _nonce()
            keys = (self._key("v", who, token), *keys)
        await LOGIN_SUCCESS.run(valkey, keys, (self._known_ms, 2 if self._secret is None else 1))
        return token

    def _verify(self, who: str, token: str) -> str | None:
        """Returns what names the device, if the token may be one."""
        if len(token) > _TOKEN_MOST or not token.isascii():
            return None
        if self._secret is None:
            return token if self._valkey is not None and _NONCE.fullmatch(token) else None
        nonce, _, mac = token.partition(".")
        return nonce if nonce and hmac.compare_digest(mac, self._mac(who, nonce)) else None

    def _mac(self, who: str, nonce: str) -> str:
        text = f"valtier-device\0{nonce}\0{who}".encode("utf-8", "surrogatepass")
        digested = hmac.digest(self._secret or b"", text, hashlib.sha256)[:_MAC_BYTES]
        return base64.urlsafe_b64encode(digested).rstrip(b"=").decode()

    def _key(self, kind: str, *parts: str) -> str:
        return f"{self._head}{kind}{digest(chr(0).join(parts))}"

    async def _charge(self, keys: tuple[str, ...], words: tuple[int, ...]) -> tuple[int, int, int]:
        if self._valkey is None:
            return self._charge_here(keys, words)
        try:
            reply: Any = await LOGIN.run(self._valkey, keys, words)
        except ValkeyError as exc:
            raise self._closed() from exc
        passes, number, wait_ms = reply
        return passes, number, wait_ms

    def _closed(self) -> LimitUnavailableError:
        self.stats.outages += 1
        self.stats.closed += 1
        return LimitUnavailableError(self._name)

    def _charge_here(self, keys: tuple[str, ...], words: tuple[int, ...]) -> tuple[int, int, int]:
        limits = [(keys[0], self._here, False)]
        waived = 0
        if words[0]:
            waived = 3 if keys[3] in self._known_here else 0
            limits = [
                (keys[0], self._address, False),
                (keys[1], self._here, False),
                (keys[2], self._account, bool(waived)),
            ]
        verdicts = self._local.hit(limits, 1)
        waits = [
            (verdict.retry_us // 1000, number)
            for number, verdict in enumerate(verdicts, 1)
            if not verdict.passes and number != waived
        ]
        if not waits:
            return 1, waived, 0
        wait_ms, number = max(waits)
        return 0, number, wait_ms

    def _remember_here(self, mark: str) -> None:
        if len(self._known_here) >= 10_000:
            del self._known_here[next(iter(self._known_here))]
        self._known_here[mark] = None

    def _count(self, attempt: Attempt) -> Attempt:
        if attempt.allowed:
            self.stats.allowed += 1
        else:
            self.stats.denied += 1
            self.stats.over_limit += 1
        return attempt


def _nonce() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(_NONCE_BYTES)).rstrip(b"=").decode()


def _normal(account: str) -> str:
    return unicodedata.normalize("NFKC", account).strip().casefold()
