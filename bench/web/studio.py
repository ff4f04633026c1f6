"""The studio that is looked at: its servers, two workers, demo data, and a board for the crowd."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from fluxstudio.boards.access import hash_token
from fluxstudio.db.migrate import upgrade
from fluxstudio.seed import seed
from fluxstudio.testing import Database
from fluxstudio.testing_workers import StudioWorker
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey

_BATCH = 250


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the browser's side has to know."""

    addresses: list[str]
    tokens: list[str]
    """Sessions of two members of the project."""
    project: int
    board: int
    share: str
    """What opens the board for guests who draw."""


@asynccontextmanager
async def studio(folder: Path, elements: int) -> AsyncIterator[Scene]:
    """Starts everything, with so many elements on the board."""
    postgres = await asyncio.to_thread(EmbeddedPostgres(folder / "postgres").__enter__)
    valkey = await asyncio.to_thread(EmbeddedValkey(folder / "valkey").__enter__)
    try:
        await asyncio.to_thread(upgrade, postgres.url)
        await asyncio.to_thread(seed, postgres.url, "small", progress=False)
        workers = [StudioWorker(postgres.url, valkey.url, API_LIMIT="off") for _ in range(2)]
        try:
            await asyncio.gather(*(worker.start() for worker in workers))
            yield await _prepare(postgres.url, [worker.url for worker in workers], elements)
        finally:
            await asyncio.gather(*(worker.stop() for worker in workers))
    finally:
        await asyncio.to_thread(valkey.__exit__, None, None, None)
        await asyncio.to_thread(postgres.__exit__, None, None, None)


async def _prepare(url: str, addresses: list[str], elements: int) -> Scene:
    async with Database.open(url) as database:
        rows = await database.connection.fetch(
            """
            SELECT m.project_id, m.user_id FROM members m
             WHERE m.role <> 'viewer' AND m.project_id = (
                   SELECT project_id FROM members JOIN users ON users.id = user_id
                    WHERE email = 'demo@fluxstudio.example' AND role = 'owner' ORDER BY project_id LIMIT 1)
             ORDER BY m.user_id = (SELECT id FROM users WHERE email = 'demo@fluxstudio.example') DESC, m.user_id
             LIMIT 2
            """
        )
        project = rows[0]["project_id"]
        tokens = [await database.session(row["user_id"]) for row in rows]
        board = await _make_board(addresses[0], tokens[0], project, elements)
        share = secrets.token_urlsafe(32)
        await _add_link(database.connection, board, rows[0]["user_id"], share)
    return Scene(addresses=addresses, tokens=tokens, project=project, board=board, share=share)


async def _make_board(address: str, token: str, project: int, elements: int) -> int:
    async with httpx.AsyncClient(base_url=address, headers={"cookie": f"flux={token}"}) as client:
        made = await client.post(f"/api/projects/{project}/boards", json={"title": "Crowd"})
        board: int = made.raise_for_status().json()["id"]
        scene = [_element(number) for number in range(elements)]
        for start in range(0, elements, _BATCH):
            batch = {"elements": scene[start : start + _BATCH]}
            (await client.post(f"/api/boards/{board}/elements", json=batch)).raise_for_status()
    return board


def _element(number: int) -> dict[str, object]:
    """One of many shapes on a grid that fits the screen."""
    return {
        "id": f"e{number}",
        "type": ("rectangle", "ellipse", "diamond")[number % 3],
        "seed": number + 1,
        "x": 20 + number % 50 * 22,
        "y": 20 + number // 50 * 16,
        "width": 16,
        "height": 11,
        "angle": 0,
        "strokeColor": "#1e1e1e",
        "backgroundColor": "#a5d8ff",
        "fillStyle": "solid",
        "strokeWidth": 1,
        "strokeStyle": "solid",
        "roughness": 1,
        "opacity": 100,
        "groupIds": [],
        "frameId": None,
        "roundness": None,
        "boundElements": None,
        "updated": 1,
        "link": None,
        "locked": False,
        "version": 1,
        "versionNonce": number + 1,
        "isDeleted": False,
        "index": f"a{number:05d}",
    }


async def _add_link(connection: asyncpg.Connection, board: int, user: int, share: str) -> None:
    await connection.execute(
        "INSERT INTO board_links (board_id, token_hash, may_edit, created_by) VALUES ($1, $2, true, $3)",
        board,
        hash_token(share),
        user,
    )
