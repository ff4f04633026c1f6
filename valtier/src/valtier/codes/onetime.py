"""Short codes that people type: six digits from a mail, good for minutes and for few tries."""

from __future__ import annotations

import secrets

from valtier.codes.errors import InvalidCodeError, TooManyFailuresError
from valtier.codes.forms import normalise_digits
from valtier.codes.issuing import Issuing
from valtier.codes.rules import CodeStore
from valtier.codes.store import milliseconds, whole
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.wire import Valkey

_MIN_PEPPER = 16


class OneTimeCodes(Issuing):
    """Codes of a few digits for one purpose, each good once. Made by `tier.codes(purpose, digits=6, pepper=…)`.

    Six digits can be tried out, so Valkey never sees what it would need for that: it holds an HMAC-SHA-256 of purpose,
    subject, browser and code under a pepper that stays in the application. Comparing two such values tells nothing by its
    time, since nobody without the pepper can choose what is compared.

    One script compares, counts and removes. Failures are counted for each subject, whatever codes it is given meanwhile
    (SP 800-63B-4, 3.1.3.2), and for each code. A submission from a browser that has no code counts nothing: it can't be
    right, and nobody can use up another's tries by it. Somebody who asks for codes in another's name can use up the
    subject's `max_failures`, within the cooldowns; then this way in is closed for the rest of `failure_window`, to
    everybody but known `device`s. Offer a second way.

    In an outage nothing is issued or accepted: `CodesUnavailableError`, an HTTP 503. A flush forgets codes and counts
    together; an eviction those of one subject together.
    """

    def __init__(
        self,
        valkey: Valkey | None,
        *,
        prefix: str,
        purpose: str,
        pepper: bytes,
        ttl: Duration = "5m",
        digits: int = 6,
        max_tries: int = 5,
        max_failures: int = 10,
        failure_window: Duration = "1d",
        cooldown: Duration | None = "1m",
        address_points: int = 20,
        address_duration: Duration = "1h",
        max_codes: int = 5,
        store: CodeStore | None = None,
    ) -> None:
        """Prepares codes; nothing is sent.

        Args:
            valkey: the wire; None, where there is none, closes everything.
            prefix: of the keys.
            purpose: what the codes are for, such as `sign-in`; codes of another purpose are invalid here.
            pepper: at least 16 secret bytes that Valkey never sees, the same in every process.
            ttl: how long a code is good (ASVS 6.5.5: 10 minutes at most).
            digits: how many a code has, 6 to 10.
            max_tries: how many wrong submissions a code stands.
            max_failures: how many a subject stands …
            failure_window: … in this time, from the first one on. Being right forgets them.
            cooldown: for how long a subject gets no other code; None: none.
            address_points: how many a client's address may ask for …
            address_duration: … in this time.
            max_codes: how many of a subject, one for each browser, may be good at once; a newer one takes the place of
                the one that ends first.
            store: where they are kept instead of Valkey (`rules` has what it needs to decide).

        Raises:
            ConfigurationError: an option can't be used.
        """
        if type(pepper) is not bytes or len(pepper) < _MIN_PEPPER:
            raise ConfigurationError(
                f"short codes need pepper=…, {_MIN_PEPPER} secret bytes or more that Valkey never sees"
            )
        super().__init__(
            valkey,
            prefix=prefix,
            purpose=purpose,
            ttl=ttl,
            pepper=pepper,
            cooldown=cooldown,
            address_points=address_points,
            address_duration=address_duration,
            most=max_codes,
            store=store,
        )
        self.digits = whole(digits, name="digits", least=6, most=10)
        self._max_tries = whole(max_tries, name="max_tries", least=1, most=100)
        self._max_failures = whole(max_failures, name="max_failures", least=1, most=100)
        self._window_ms = milliseconds(seconds(failure_window, name="failure_window"))

    async def issue(
        self,
        subject: str,
        *,
        binding: str,
        address: str | None = None,
        device: str | None = None,
        admitted: bool = False,
    ) -> str:
        """Returns a new code; it takes the place of the one that this browser had. One round trip, two with an address.

        Args:
            subject: whom it is for, such as a normalised e-mail address. It is stored as a digest.
            binding: a random value from a cookie of the browser that asks; see `new_binding`.
            address: the client's; see `admit`.
            device: a value proved to belong to a device that this subject has used before (a signed cookie). Its
                cooldown and its failures are counted apart, so that strangers can't lock its owner out.
            admitted: `admit` was called before: there is no further cooldown.

        Raises:
            CooldownError: asked too often for this subject, or from this address.
            CodesUnavailableError: Valkey can't be asked.
            ConfigurationError: the subject is empty or overlong.
        """
        code = f"{secrets.randbelow(10**self.digits):0{self.digits}}"
        await self._put(
            subject,
            self._field(subject, binding),
            self._code_mac(subject, binding, code),
            address=address,
            device=device,
            admitted=admitted,
            tries=self._max_tries,
        )
        return code

    async def verify(self, subject: str, code: str, *, binding: str, device: str | None = None) -> None:
        """Returns if the code is right, and ends it. One round trip. Of parallel right submissions exactly one returns.

        Args:
            subject: as it was given to `issue`.
            code: as it was typed: spaces, dashes and digits of other scripts are fine.
            binding: as it was given to `issue`.
            device: see `issue`.

        Raises:
            InvalidCodeError: it is wrong, used, expired, of another purpose, subject or browser.
            TooManyFailuresError: this subject had too many wrong submissions; nothing was compared.
            CodesUnavailableError: Valkey can't be asked, or the reply was lost: the code may be gone.
        """
        with self._counting():
            digits = normalise_digits(code)
            if len(digits) != self.digits:
                raise InvalidCodeError
            verdict, more = await self._store.verify(
                self._digest(subject),
                self._field(subject, binding),
                self._code_mac(subject, binding, digits),
                lane=self._lane(device),
                most_failures=self._max_failures,
                window_ms=self._window_ms,
            )
            if verdict < 0:
                raise TooManyFailuresError("too many wrong codes", more / 1000)
            if verdict == 0:
                raise InvalidCodeError(tries_left=more)
        self.stats.accepted += 1

    def _field(self, subject: str, binding: str) -> str:
        return self._mac(b"browser", subject, binding)[:32]

    def _code_mac(self, subject: str, binding: str, code: str) -> str:
        return self._mac(b"code", subject, binding, code)
