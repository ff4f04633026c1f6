"""Alembic's environment: runs the migrations over asyncpg on the URL that `migrate` was given."""

import asyncio

import asyncpg
from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from fluxstudio.db.errors import connecting


def _run(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def _connect() -> "asyncpg.Connection[asyncpg.Record]":
    """Connects as the pool does: asyncpg reads the URL itself, with whatever parameters it has."""
    url = context.config.attributes["database_url"]
    with connecting(url):
        return await asyncpg.connect(url)


async def _run_async() -> None:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=_connect, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_run_async())
