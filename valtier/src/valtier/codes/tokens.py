"""Long random tokens: for links in mails (password reset, verification of an address, invitations)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

from valtier.codes.errors import InvalidCodeError
from valtier.codes.issuing import Issuing
from valtier.durations import Duration
from valtier.wire import Valkey

_TOKEN = re.compile(r"[A-Za-z0-9_-]{64}")
_PLACE_BYTES = 16
_RANDOM_BYTES = 32


class Codes(Issuing):
    """Tokens of 256 random bits for one purpose, each good once. Made by `tier.codes(purpose, ttl=…)`.

    Valkey sees only their SHA-256, which says nothing about a random token. A token also carries a digest of its subject:
    that is where its state lies, beside the subject's other tokens, which all go when one is redeemed.

    In an outage nothing is issued or redeemed: `CodesUnavailableError`, an HTTP 503. A token that Valkey loses (a flush, an
    eviction, a restart without persistence) is invalid from then on, and its owner asks for another.
    """

    def __init__(
        self,
        valkey: Valkey | None,
        *,
        prefix: str,
        purpose: str,
        ttl: Duration = "1h",
        pepper: bytes = b"",
        cooldown: Duration | None = "1m",
        address_points: int = 20,
        address_duration: Duration = "1h",
        max_codes: int = 5,
    ) -> None:
        """Prepares tokens; nothing is sent.

        Args:
            valkey: the wire; None, where there is none, closes everything.
            prefix: of the keys.
            purpose: what the tokens are for, such as `password-reset`; tokens of another purpose are invalid here.
            ttl: how long a token is good: 1 h for a reset, 24 h to verify an address (ASVS 6.5.5).
            pepper: keys the digests of subjects and addresses, so that keys in Valkey can't be guessed at.
            cooldown: for how long a subject gets no other token; None: none.
            address_points: how many a client's address may ask for …
            address_duration: … in this time.
            max_codes: how many of a subject may be good at once; a newer one takes the oldest's place.

        Raises:
            ConfigurationError: an option can't be used.
        """
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
        )

    async def issue(
        self,
        subject: str,
        *,
        binding: str | None = None,
        address: str | None = None,
        device: str | None = None,
        admitted: bool = False,
    ) -> str:
        """Returns a new token of 64 characters that fit into a URL. One round trip, two with an address.

        Args:
            subject: whom it is for: what `redeem` gives back. It is stored as it is; take an id.
            binding: a value that `redeem` must be given too, such as one from the requesting browser's cookie.
            address: the client's; see `admit`.
            device: a value proved to belong to a device that this subject has used before (a signed cookie). It has a
                cooldown of its own, so that strangers who ask can't keep the owner from asking.
            admitted: `admit` was called before: there is no further cooldown.

        Raises:
            CooldownError: asked too often for this subject, or from this address.
            CodesUnavailableError: Valkey can't be asked.
            ConfigurationError: the subject is empty or overlong.
        """
        place = bytes.fromhex(self._digest(subject))
        token = base64.urlsafe_b64encode(place + secrets.token_bytes(_RANDOM_BYTES)).decode("ascii")
        await self._put(
            subject,
            _hash(token),
            f"{self._bound(binding)}:{subject}".encode("utf-8", "surrogatepass"),
            address=address,
            device=device,
            admitted=admitted,
            tries=1,
        )
        return token

    async def redeem(self, token: str, *, binding: str | None = None) -> str:
        """Returns the token's subject, and ends this token and all others of that subject. One round trip.

        Of parallel calls with one token exactly one returns.

        Raises:
            InvalidCodeError: it is unknown, used, expired, of another purpose or bound to something else.
            CodesUnavailableError: Valkey can't be asked, or the reply was lost: the token may be gone.
        """
        subject = await self._take(token, binding, keep=False)
        self.stats.accepted += 1
        return subject

    async def peek(self, token: str, *, binding: str | None = None) -> str:
        """Returns the token's subject and leaves it good: to show a form before it is redeemed. Raises as `redeem`."""
        return await self._take(token, binding, keep=True)

    async def _take(self, token: str, binding: str | None, *, keep: bool) -> str:
        with self._counting():
            token = token.strip()
            if not _TOKEN.fullmatch(token):
                raise InvalidCodeError
            place = base64.urlsafe_b64decode(token)[:_PLACE_BYTES].hex()
            subject = await self._store.redeem(place, _hash(token), self._bound(binding), keep=keep)
            if subject is None:
                raise InvalidCodeError
        return subject

    def _bound(self, binding: str | None) -> str:
        return "" if binding is None else self._mac(b"binding", binding)


def _hash(token: str) -> str:
    """Returns what is stored of a token: it is random, so that a plain hash is enough, and looking it up tells nothing."""
    return hashlib.sha256(token.encode("ascii")).hexdigest()
