"""Sessions that nobody has signed in for: of tests and of the bench, which measure requests and not argon2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from valtier.sessions.token import NAME_LENGTH, hash_token, new_token


def make_tokens(user_ids: Iterable[int]) -> dict[int, str]:
    """Returns a session's token for each user."""
    return {user_id: new_token(str(user_id)) for user_id in user_ids}


async def plant_sessions(
    connection: Any, tokens: Mapping[int, str], *, lasts_s: float = 86_400, sudo_s: float = 0
) -> None:
    """Adds a session for each token, which ends at `lasts_s` from now and is in sudo mode for `sudo_s`."""
    await connection.execute(
        """
        INSERT INTO valtier_sessions (name, token_hash, subject, idle, ends_at, ends_at_most, sudo_until)
        SELECT name, token_hash, subject, make_interval(secs => greatest($4, 1)), now() + make_interval(secs => $4),
               now() + make_interval(secs => $4), now() + make_interval(secs => $5)
          FROM unnest($1::text[], $2::bytea[], $3::text[]) AS planted (name, token_hash, subject)
        """,
        [token[:NAME_LENGTH] for token in tokens.values()],
        [hash_token(token.encode()) for token in tokens.values()],
        [str(user_id) for user_id in tokens],
        lasts_s,
        sudo_s,
    )
