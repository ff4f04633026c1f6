"""From rows to what goes out, and the problems that more than one part of accounts tells."""

from __future__ import annotations

import math

from asyncpg import Record

from fluxstudio.accounts.schemas import Account
from fluxstudio.problems import Problem, in_words, not_found


def account_of(row: Record | None) -> Account:
    """Returns the account as its owner sees it. Raises a 404 problem: a session may outlive its user for a moment."""
    row = account_row(row)
    return Account(
        row["id"],
        row["email"],
        row["name"],
        row["bio"],
        row["created_at"],
        row["has_totp"],
        row["operator"],
    )


def account_row(row: Record | None) -> Record:
    """Returns the row. Raises a 404 problem if there is none."""
    if row is None:
        raise not_found("user")
    return row


def too_many(retry_after_s: float) -> Problem:
    """Too many attempts were made; `retry_after_s` tells when another may pass."""
    seconds = max(1, math.ceil(retry_after_s))
    return Problem(
        429,
        "too-many-attempts",
        f"Too many attempts. Try again in {in_words(seconds)}.",
        headers={"retry-after": str(seconds)},
    )
