"""Postage: how much mail anybody can make the studio send to an address, known or not."""

from __future__ import annotations

from fluxstudio.accounts.sessions import Visitor
from fluxstudio.accounts.views import too_many
from valtier import Codes, OneTimeCodes
from valtier.limits import Limiter


class Postage:
    """Lets mail be ordered: one of a kind in a minute to an address, so many from a client, ten an hour in all."""

    def __init__(self, to_one_address: Limiter) -> None:
        self._to_one_address = to_one_address

    async def admit(
        self, codes: Codes | OneTimeCodes, email: str, visitor: Visitor, *, device: str | None = None
    ) -> None:
        """Counts a mail that is about to be ordered. The same for known and unknown addresses.

        A `device` from which somebody has signed in to this address before is counted apart: strangers who use up what
        an address may have don't keep its owner from a mail.

        Raises:
            CooldownError: one was asked for a moment ago, for this address or from there.
            Problem: 429, this address had ten in the last hour.
            CodesUnavailableError, LimitUnavailableError: nobody can tell.
        """
        await codes.admit(email, address=visitor.address, device=device)
        await self.count(email if device is None else f"{device} {email}")

    async def count(self, key: str) -> None:
        """Counts a mail to an address, without a cooldown. Raises as `admit`."""
        decision = await self._to_one_address.hit(key)
        if not decision.allowed:
            raise too_many(decision.retry_after_s)
