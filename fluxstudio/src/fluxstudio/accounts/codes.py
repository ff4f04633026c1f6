"""The one-time codes of accounts: one object for each purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from valtier import Codes, OneTimeCodes, Tier
from valtier.codes import CodeStore


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
    def of(cls, tier: Tier, pepper: bytes, store: Callable[[str], CodeStore | None] = lambda _: None) -> Self:
        """Makes them, with the lifetimes of ASVS 5.0, 6.5.5. `store` says where those of a purpose live, if not in Valkey."""

        def tokens(purpose: str, ttl: str) -> Codes:
            return tier.codes(purpose, ttl=ttl, pepper=pepper, store=store(purpose))

        return cls(
            verify_email=tokens("verify-email", "24h"),
            reset_password=tokens("reset-password", "1h"),
            change_email=tokens("change-email", "24h"),
            sign_in=tier.codes("sign-in", digits=6, ttl="5m", pepper=pepper, store=store("sign-in")),
        )
