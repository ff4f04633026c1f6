"""SQL of accounts: users, their second factors, and sign-ups that wait to be confirmed."""

from __future__ import annotations

from asyncpg import Record

from fluxstudio.db.pool import Connection

_ACCOUNT = "id, email, name, bio, created_at, totp_enabled_at IS NOT NULL AS has_totp, operator"


# -- signing up --------------------------------------------------------------------------------------------


async def insert_sign_up(
    connection: Connection, email: str, name: str, password_hash: str, browser: str
) -> int:
    """Keeps a sign-up until it is confirmed, and removes those that nobody confirmed within two days."""
    sign_up_id: int = await connection.fetchval(
        """
        WITH old AS (DELETE FROM sign_ups WHERE created_at < now() - interval '2 days')
        INSERT INTO sign_ups (email, name, password_hash, browser) VALUES ($1, $2, $3, $4) RETURNING id
        """,
        email,
        name,
        password_hash,
        browser,
    )
    return sign_up_id


async def fetch_sign_up(connection: Connection, sign_up_id: int) -> Record | None:
    return await connection.fetchrow(
        "SELECT id, email, name, password_hash, browser FROM sign_ups WHERE id = $1", sign_up_id
    )


async def delete_sign_ups(connection: Connection, email: str) -> None:
    """Removes all sign-ups with an address: it has an account now."""
    await connection.execute("DELETE FROM sign_ups WHERE email = $1", email)


async def insert_user(connection: Connection, email: str, name: str, password_hash: str) -> Record | None:
    """Adds a user whose address is proved. Returns the account; None if the address is taken."""
    return await connection.fetchrow(
        f"""
        INSERT INTO users (email, name, password_hash, email_verified_at) VALUES ($1, $2, $3, now())
        ON CONFLICT (email) DO NOTHING
        RETURNING {_ACCOUNT}
        """,  # noqa: S608 - a constant
        email,
        name,
        password_hash,
    )


# -- users -------------------------------------------------------------------------------------------------


async def fetch_credentials(connection: Connection, email: str) -> Record | None:
    """Returns what signing in needs of the user with this address."""
    return await connection.fetchrow(
        """
        SELECT id, email, name, password_hash, totp_enabled_at IS NOT NULL AS has_totp
          FROM users WHERE email = $1 AND deleted_at IS NULL
        """,
        email,
    )


async def fetch_security(connection: Connection, user_id: int) -> Record | None:
    """Returns what the changes of an account's security need."""
    return await connection.fetchrow(
        """
        SELECT id, email, name, password_hash, new_email, totp_secret, totp_enabled_at IS NOT NULL AS has_totp,
               (SELECT count(*) FROM recovery_codes WHERE user_id = users.id) AS recovery_codes
          FROM users WHERE id = $1 AND deleted_at IS NULL
        """,
        user_id,
    )


async def fetch_account(connection: Connection, user_id: int) -> Record | None:
    return await connection.fetchrow(
        f"SELECT {_ACCOUNT} FROM users WHERE id = $1 AND deleted_at IS NULL",  # noqa: S608 - a constant
        user_id,
    )


async def fetch_profile(connection: Connection, user_id: int) -> Record | None:
    return await connection.fetchrow("SELECT id, name, bio, created_at FROM users WHERE id = $1", user_id)


async def lock_user(connection: Connection, user_id: int) -> Record | None:
    """Returns the user's name. Until the transaction ends nobody adds a message or a membership of theirs."""
    return await connection.fetchrow("SELECT name FROM users WHERE id = $1 FOR UPDATE", user_id)


async def update_user(
    connection: Connection, user_id: int, name: str | None, bio: str | None
) -> Record | None:
    """Changes what is given. Returns the account."""
    return await connection.fetchrow(
        f"""
        UPDATE users SET name = coalesce($2, name), bio = coalesce($3, bio), updated_at = now()
         WHERE id = $1 AND deleted_at IS NULL
        RETURNING {_ACCOUNT}
        """,  # noqa: S608 - a constant
        user_id,
        name,
        bio,
    )


async def update_password(connection: Connection, user_id: int, password_hash: str) -> Record | None:
    """Sets the password. Whoever does so by mail has proved the address. Returns address and name."""
    return await connection.fetchrow(
        """
        UPDATE users SET password_hash = $2, email_verified_at = coalesce(email_verified_at, now()), updated_at = now()
         WHERE id = $1 AND deleted_at IS NULL
        RETURNING email, name
        """,
        user_id,
        password_hash,
    )


async def note_verified(connection: Connection, user_id: int) -> None:
    """Notes that the address is proved."""
    await connection.execute(
        "UPDATE users SET email_verified_at = now() WHERE id = $1 AND email_verified_at IS NULL", user_id
    )


async def set_new_email(connection: Connection, user_id: int, new_email: str) -> None:
    """Notes the address that a user wants to have."""
    await connection.execute(
        "UPDATE users SET new_email = $2 WHERE id = $1 AND deleted_at IS NULL", user_id, new_email
    )


async def take_new_email(connection: Connection, user_id: int, digest: str) -> Record | None:
    """Gives a user the address that they have asked for and proved. Returns both; None if they ask for another now.

    `digest` is the beginning of the address's SHA-256: that it is this one that was proved.

    Raises:
        UniqueViolationError: somebody has it meanwhile.
    """
    return await connection.fetchrow(
        """
        UPDATE users u SET email = u.new_email, new_email = NULL, email_verified_at = now(), updated_at = now()
          FROM users before
         WHERE u.id = $1 AND before.id = u.id AND u.deleted_at IS NULL
           AND left(encode(sha256(convert_to(u.new_email, 'UTF8')), 'hex'), 32) = $2
        RETURNING before.email AS old_email, u.email, u.name
        """,
        user_id,
        digest,
    )


async def forget_user(connection: Connection, user_id: int) -> Record | None:
    """Removes what is known of a user; their messages stay. Returns the address and the name that they had."""
    return await connection.fetchrow(
        """
        UPDATE users u
           SET email = 'deleted-' || u.id || '@deleted.invalid', name = 'Deleted user', bio = '', password_hash = NULL,
               email_verified_at = NULL, new_email = NULL, totp_secret = NULL, totp_enabled_at = NULL,
               deleted_at = now(), updated_at = now()
          FROM users before
         WHERE u.id = $1 AND before.id = u.id AND u.deleted_at IS NULL
        RETURNING before.email, before.name
        """,
        user_id,
    )


# -- second factors ----------------------------------------------------------------------------------------


async def set_totp_secret(connection: Connection, user_id: int, secret: str) -> bool:
    """Keeps a secret that has still to be confirmed. Returns False if a second factor is on already."""
    done = await connection.fetchval(
        """
        UPDATE users SET totp_secret = $2, totp_last_step = 0
         WHERE id = $1 AND totp_enabled_at IS NULL AND deleted_at IS NULL RETURNING true
        """,
        user_id,
        secret,
    )
    return bool(done)


async def reseal_totp_secret(connection: Connection, user_id: int, before: str, after: str) -> None:
    """Puts the same secret in other words, unless it has changed meanwhile."""
    await connection.execute(
        "UPDATE users SET totp_secret = $3 WHERE id = $1 AND totp_secret = $2", user_id, before, after
    )


async def use_totp_step(connection: Connection, user_id: int, step: int) -> bool:
    """Notes that the code of a time step was used. Returns False if that or a later one was used before."""
    done = await connection.fetchval(
        "UPDATE users SET totp_last_step = $2 WHERE id = $1 AND totp_last_step < $2 RETURNING true",
        user_id,
        step,
    )
    return bool(done)


async def enable_totp(connection: Connection, user_id: int) -> bool:
    """Switches the second factor on. Returns False if it is on already."""
    done = await connection.fetchval(
        """
        UPDATE users SET totp_enabled_at = now()
         WHERE id = $1 AND totp_enabled_at IS NULL AND totp_secret IS NOT NULL AND deleted_at IS NULL RETURNING true
        """,
        user_id,
    )
    return bool(done)


async def disable_totp(connection: Connection, user_id: int) -> bool:
    """Switches the second factor off, and removes the recovery codes. Returns False if it was off."""
    done = await connection.fetchval(
        """
        WITH codes AS (DELETE FROM recovery_codes WHERE user_id = $1)
        UPDATE users SET totp_secret = NULL, totp_enabled_at = NULL
         WHERE id = $1 AND totp_enabled_at IS NOT NULL RETURNING true
        """,
        user_id,
    )
    return bool(done)


async def replace_recovery_codes(connection: Connection, user_id: int, hashes: list[bytes]) -> None:
    await connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)
    await connection.execute(
        "INSERT INTO recovery_codes (user_id, code_hash) SELECT $1, unnest($2::bytea[])", user_id, hashes
    )


async def use_recovery_code(connection: Connection, user_id: int, code_hash: bytes) -> bool:
    """Removes a recovery code. Returns False if there is no such code: of parallel uses exactly one succeeds."""
    done = await connection.fetchval(
        "DELETE FROM recovery_codes WHERE user_id = $1 AND code_hash = $2 RETURNING true", user_id, code_hash
    )
    return bool(done)
