"""Accounts: sessions that survive Valkey, mail to be sent, sign-ups to be confirmed, second factors, the studio's secrets.

Whoever is signed in has to sign in once more: tokens have another form.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

from valtier.outbox import OutboxSchema
from valtier.sessions import SessionSchema

revision = "0003"
down_revision = "0002"

_UPGRADE = (
    """
    ALTER TABLE users
        ADD COLUMN email_verified_at timestamptz,
        ADD COLUMN new_email         text CHECK (new_email = lower(new_email) AND length(new_email) <= 254),
        ADD COLUMN totp_secret       text,          -- base32
        ADD COLUMN totp_enabled_at   timestamptz,   -- NULL: there is a secret that was not yet confirmed, or none
        ADD COLUMN totp_last_step    bigint NOT NULL DEFAULT 0,   -- a code is good once
        ADD COLUMN deleted_at        timestamptz
    """,
    """
    CREATE TABLE recovery_codes (
        user_id   bigint NOT NULL REFERENCES users ON DELETE CASCADE,
        code_hash bytea NOT NULL CHECK (length(code_hash) = 32),   -- SHA-256 of 120 random bits
        PRIMARY KEY (user_id, code_hash)
    )
    """,
    """
    CREATE TABLE sign_ups (   -- to be confirmed: no account, and nobody's, until the mail was read
        id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        email         text NOT NULL CHECK (email = lower(email) AND length(email) <= 254),
        name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
        password_hash text NOT NULL,
        browser       text NOT NULL,
        created_at    timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX sign_ups_email ON sign_ups (email)",
    "CREATE INDEX sign_ups_created ON sign_ups (created_at)",
    """
    CREATE TABLE mail_queue (   -- what to write to whom; never a token or a code
        id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind       text NOT NULL,
        recipient  text NOT NULL,
        details    jsonb NOT NULL DEFAULT '{}',
        created_at timestamptz NOT NULL DEFAULT now(),
        due_at     timestamptz NOT NULL DEFAULT now(),
        attempts   integer NOT NULL DEFAULT 0,
        failed_at  timestamptz,   -- given up
        error      text
    )
    """,
    "CREATE INDEX mail_queue_due ON mail_queue (due_at) WHERE failed_at IS NULL",
    """
    CREATE TABLE code_states (   -- one-time codes, where there is no Valkey
        key     text COLLATE "C" PRIMARY KEY,
        state   jsonb NOT NULL DEFAULT '{}',
        ends_at timestamptz NOT NULL DEFAULT now() + interval '1 minute'
    )
    """,
    "CREATE INDEX code_states_ends ON code_states (ends_at)",
    """
    CREATE TABLE secrets (   -- what Valkey must never see
        name  text PRIMARY KEY,
        value bytea NOT NULL CHECK (length(value) = 32)
    )
    """,
    """
    INSERT INTO secrets (name, value)
    SELECT name, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
      FROM unnest(ARRAY['codes', 'devices', 'tickets']) AS name
    """,
)


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    for statement in OutboxSchema().unwatch("sessions"):
        run(statement)
    run("DROP TABLE sessions")
    for statement in SessionSchema().create():
        run(statement)
    for statement in _UPGRADE:
        run(statement)


def downgrade() -> None:
    run = op.get_bind().exec_driver_sql
    for table in ("secrets", "code_states", "mail_queue", "sign_ups", "recovery_codes"):
        run(f"DROP TABLE {table}")
    run(
        "ALTER TABLE users DROP COLUMN email_verified_at, DROP COLUMN new_email, DROP COLUMN totp_secret, "
        "DROP COLUMN totp_enabled_at, DROP COLUMN totp_last_step, DROP COLUMN deleted_at"
    )
    for statement in SessionSchema().drop():
        run(statement)
    run(
        """
        CREATE TABLE sessions (
            token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
            user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz NOT NULL
        )
        """
    )
    run("CREATE INDEX sessions_user ON sessions (user_id)")
    run("CREATE INDEX sessions_expiry ON sessions (expires_at)")
    for statement in OutboxSchema().watch("sessions", keys=["session:{token_hash}"], tags=[]):
        run(statement)
