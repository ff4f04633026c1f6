"""Alembic's environment: runs the migrations over asyncpg on the URL that `migrate` was given."""

import asyncio

import asyncpg
from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from fluxstudio.db.errors import connecting
from fluxstudio.db.migrate import LOCK_TIMEOUT_S, OtherMigrationError

_OUR_LOCK = 0x666C7578  # "flux"


def _run(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def _connect() -> "asyncpg.Connection[asyncpg.Record]":
    """Connects as the pool does: asyncpg reads the URL itself, with whatever parameters it has."""
    url = context.config.attributes["database_url"]
    settings = {"lock_timeout": f"{LOCK_TIMEOUT_S * 1000:.0f}", "application_name": "fluxstudio-migrate"}
    with connecting(url):
        return await asyncpg.connect(url, server_settings=settings)


async def _run_async() -> None:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=_connect, poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:  # the lock goes with it
            if not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _OUR_LOCK}):
                raise OtherMigrationError
            await connection.commit()
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_run_async())
