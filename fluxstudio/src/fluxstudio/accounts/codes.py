"""The one-time codes of accounts: one object for each purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from valtier import Codes, OneTimeCodes, Tier


@dataclass(frozen=True, slots=True)
class AccountCodes:
    """What is sent by mail, and comes back once."""

    verify_email: Codes
    """For a sign-up's id: its address is proved."""
    reset_password: Codes
    """For a user's id and a digest of what they sign in with: once that changes, older links are void."""
    change_email: Codes
    """For a user's id and a digest of the new address: it is proved."""
    sign_in: OneTimeCodes
    """For an address, known or not."""

    @classmethod
    def of(cls, tier: Tier, pepper: bytes) -> Self:
        """Makes them, with the lifetimes of ASVS 5.0, 6.5.5."""
        return cls(
            verify_email=tier.codes("verify-email", ttl="24h", pepper=pepper),
            reset_password=tier.codes("reset-password", ttl="1h", pepper=pepper),
            change_email=tier.codes("change-email", ttl="24h", pepper=pepper),
            sign_in=tier.codes("sign-in", digits=6, ttl="5m", pepper=pepper),
        )
