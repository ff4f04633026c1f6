"""What the code in the docs may use: for each page the names that it takes for granted, on real servers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from valtier import SessionSchema, Tier
from valtier.outbox import OutboxSchema

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Names = dict[str, Any]


@dataclass(frozen=True)
class Block:
    """A piece of code on a page."""

    page: str
    line: int
    code: str


def blocks_of(path: Path) -> list[Block]:
    text = path.read_text()
    return [
        Block(path.name, text.count("\n", 0, match.start(1)) + 1, match[1]) for match in _BLOCK.finditer(text)
    ]


class Project(msgspec.Struct):
    id: int
    title: str = "A project"


async def load_user(user_id: int = 42) -> dict[str, object]:
    return {"id": user_id, "name": "Ada"}


async def load_project(project_id: int) -> Project:
    return Project(project_id)


async def fetch_user(user_id: int) -> dict[str, object]:
    return {"id": user_id}


async def load_missing(keys: list[str]) -> dict[str, object]:
    return {key: {"key": key} for key in keys}


@asynccontextmanager
async def nothing(database_url: str) -> AsyncIterator[Names]:
    yield {"load_user": load_user, "fetch_user": fetch_user}


@asynccontextmanager
async def with_tier(database_url: str) -> AsyncIterator[Names]:
    """An open tier, an application, PostgreSQL with a table, and what forms and cookies would bring."""
    async with (
        Tier.from_env() as tier,
        asyncpg.create_pool(database_url, min_size=1, max_size=4) as pool,
        pool.acquire() as connection,
    ):
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS projects (id int PRIMARY KEY, title text);"
            "CREATE TABLE IF NOT EXISTS users (id int PRIMARY KEY, name text)"
        )
        for statement in (*OutboxSchema().create(), *SessionSchema().create()):
            await connection.execute(statement)
        api = Starlette()
        yield {
            "tier": tier,
            "cache": tier.cache,
            "pool": pool,
            "connection": connection,
            "database_url": database_url,
            "load_user": load_user,
            "load_missing": load_missing,
            "load_project": load_project,
            "Project": Project,
            "LIMITS": {"exempt": ["/healthz"]},
            "api": api,
            "app": api,
            "web": Starlette(routes=[Route("/healthz", _well, methods=["GET"])]),
            "router": _Routes(),
            "user_of": lambda scope: scope.get("user"),
            "key": "203.0.113.9",
            "address": "203.0.113.9",
            "client_address": "203.0.113.9",
            "cookie": None,
            "form": SimpleNamespace(email="ada@example.org", remember=False),
            "settings": SimpleNamespace(device_secret="s" * 32),
            "password_is_right": True,
            "secret": b"p" * 32,
            "browser": "b" * 22,
            "queue": asyncio.Queue(),
            "typed_address": "Ada@example.org",
            "user": SimpleNamespace(id=42),
            "done": 0,
            "waiting": 0,
            **_studio(),
        }


def _studio() -> Names:
    """What pages that quote FluxStudio's routes import."""
    from fluxstudio import keys
    from fluxstudio.http.answers import Json
    from fluxstudio.http.policy import for_caller, policy
    from fluxstudio.studio import studio_of

    return {
        "keys": keys,
        "Json": Json,
        "for_caller": for_caller,
        "policy": policy,
        "studio_of": studio_of,
        "Request": Request,
        "Response": Response,
    }


async def _well(request: Request) -> PlainTextResponse:
    return PlainTextResponse("well")


class _Routes(Router):
    """What a page calls `router`: it takes decorators, as FastAPI's does."""

    def post(self, path: str) -> Callable[[Any], Any]:
        return self._adding(path, "POST")

    def get(self, path: str) -> Callable[[Any], Any]:
        return self._adding(path, "GET")

    def _adding(self, path: str, method: str) -> Callable[[Any], Any]:
        def add(endpoint: Any) -> Any:
            self.add_route(path, endpoint, methods=[method])
            return endpoint

        return add


World = Callable[[str], AbstractAsyncContextManager[Names]]
SELF_CONTAINED = {"index.md", "tutorial.md", "recipes.md"}
"""Pages that a newcomer copies from: they are given nothing but what they call yours."""


def world_of(page: str) -> World:
    return nothing if page in SELF_CONTAINED else with_tier
