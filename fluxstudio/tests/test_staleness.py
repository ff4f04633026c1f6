"""Every write is seen by the next read, on any worker; and this test can tell.

Two applications stand for two workers: one writes, the other reads what it has cached before, as soon as Valkey's
message about the change has reached it. A third one, without a cache, tells the truth. Each write is carried out once as it is, when no read may differ from the truth, and then once
without each kind of its invalidations, when some read must: so no invalidation is missing, and none goes untested.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.routing import APIRoute

from fluxstudio.app import ROUTERS, Application
from fluxstudio.testing import (
    Caller,
    Database,
    Person,
    World,
    kind_of,
    make_world,
    project_of,
    read_all,
    running,
    settings_for,
)
from valtier.embedded import EmbeddedValkey

Write = Callable[[World, Callable[[Person], Caller]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Workers:
    """Applications over the same servers."""

    writing: Application
    reading: Application
    truth: Application
    database: Database


@pytest.fixture
async def workers(shared_database_url: str, valkey: EmbeddedValkey) -> AsyncIterator[Workers]:
    patient = (
        f"{valkey.url}?deadline=10s"  # on a busy machine too: what is not delivered in time is drained later
    )
    cached = settings_for(shared_database_url, patient, pool_size=2)
    async with AsyncExitStack() as stack:
        yield Workers(
            writing=await stack.enter_async_context(running(cached)),
            reading=await stack.enter_async_context(running(cached)),
            truth=await stack.enter_async_context(
                running(settings_for(shared_database_url, None, pool_size=2))
            ),
            database=await stack.enter_async_context(Database.open(shared_database_url)),
        )


WRITES: dict[str, Write] = {
    "change one's name": lambda w, by: by(w.ben).patch("/api/me", {"name": "Benjamin"}),
    "change one's name, as an owner": lambda w, by: by(w.ada).patch("/api/me", {"name": "Ada Lovelace"}),
    "change one's name, having left": lambda w, by: by(w.eve).patch("/api/me", {"name": "Evelyn"}),
    "change one's bio": lambda w, by: by(w.ben).patch("/api/me", {"bio": "Paints harbours."}),
    "create a project": lambda w, by: by(w.ben).post("/api/projects", {"title": "A second lighthouse"}),
    "change a title": lambda w, by: by(w.ben).patch(project_of(w), {"title": "Lighthouse poster"}),
    "change a description": lambda w, by: by(w.ada).patch(project_of(w), {"description": "No lighthouse."}),
    "add a member": lambda w, by: by(w.ada).put(f"{project_of(w)}/members/{w.dora.id}", {"role": "editor"}),
    "change a role": lambda w, by: by(w.ada).put(f"{project_of(w)}/members/{w.cy.id}", {"role": "owner"}),
    "remove a member": lambda w, by: by(w.ada).delete(f"{project_of(w)}/members/{w.ben.id}"),
    "leave": lambda w, by: by(w.cy).delete(f"{project_of(w)}/members/{w.cy.id}"),
    "post a message": lambda w, by: by(w.ben).post(
        f"{project_of(w)}/messages", {"body": "The lighthouse is done"}
    ),
    "mark as read": lambda w, by: by(w.cy).put(f"{project_of(w)}/read", {"message_id": w.newest_message}),
    "change a page": lambda w, by: by(w.ben).put(
        f"{project_of(w)}/showcase", {"slug": w.slug, "headline": "Done"}, status=200
    ),
    "move a page": lambda w, by: by(w.ben).put(
        f"{project_of(w)}/showcase", {"slug": f"{w.slug}-moved", "headline": "Moved"}, status=200
    ),
    "publish": lambda w, by: by(w.dora).put(
        f"/api/projects/{w.other_project}/showcase", {"slug": f"{w.slug}-too", "headline": "New"}, status=200
    ),
    "withdraw": lambda w, by: by(w.ada).delete(f"{project_of(w)}/showcase"),
    "archive a project": lambda w, by: by(w.ada).patch(project_of(w), {"archived": True}),
    "make a board": lambda w, by: by(w.ben).post(f"{project_of(w)}/boards", {"title": "Lighthouse"}),
    "rename a board": lambda w, by: by(w.ben).patch(f"/api/boards/{w.board.id}", {"title": "Lighthouse"}),
    "move a board": lambda w, by: by(w.ben).patch(f"/api/boards/{w.board.id}", {"folder": "Lighthouse"}),
    "write on a board": lambda w, by: by(w.ben).post(
        f"/api/boards/{w.board.id}/elements",
        {"elements": [{"id": "t", "type": "text", "version": 1, "versionNonce": 1, "text": "Lighthouse"}]},
        status=200,
    ),
}

KINDS: dict[str, set[str]] = {
    "change one's name": {"user", "account", "projects", "members", "messages#", "search#"},
    "change one's name, as an owner": {"user", "account", "members", "showcase"},
    "change one's name, having left": {"user", "account", "messages#", "search#"},
    "change one's bio": {"user", "account"},
    "create a project": {"roles", "projects", "search#"},
    "change a title": {"projects", "project", "search#", "showcase"},
    "change a description": {"projects", "project", "search#"},
    "add a member": {"roles", "projects", "project", "members", "search#"},
    "change a role": {"roles", "projects", "members", "showcase"},
    "remove a member": {"roles", "projects", "project", "members", "search#"},
    "leave": {"roles", "projects", "project", "members", "search#"},
    "post a message": {"projects", "messages#", "search#"},
    "mark as read": {"projects"},
    "change a page": {"showcase"},
    "move a page": {"project", "showcase"},
    "publish": {"project"},
    "withdraw": {"project", "showcase"},
    "archive a project": {"projects", "project"},
    "make a board": {"search#"},
    "rename a board": {"search#"},
    "move a board": {"search#"},
    "write on a board": {"search#"},
}
"""Which kinds of entries each write must make stale: namespaces of keys, and of tags with a #. What is a key is a tag, too."""


async def told(worker: Application) -> None:
    """Returns when the worker knows of every change so far: Valkey tells it in order with its replies."""
    await worker.studio.tier.valkey.call_tracked("GET", "nothing")  # type: ignore[union-attr]


async def run(workers: Workers, write: Write, *, without: str | None = None) -> tuple[set[Any], set[str]]:
    """Reads, writes, reads. Returns which reads are not the truth, and the kinds that were invalidated."""
    world = await make_world(workers.database)
    await read_all(workers.reading, world)
    cache = workers.writing.studio.tier.cache  # type: ignore[union-attr]
    invalidate = cache.invalidate
    kinds: set[str] = set()

    async def observed(*keys: str, tags: Iterable[str] = ()) -> None:
        tags = list(tags)
        kinds.update(map(kind_of, keys), (f"{kind_of(tag)}#" for tag in tags))
        await invalidate(
            *(key for key in keys if kind_of(key) != without),
            tags=[tag for tag in tags if without not in {kind_of(tag), f"{kind_of(tag)}#"}],
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "invalidate", observed)
        result = await write(world, lambda person: Caller(workers.writing, person))
    await told(workers.reading)
    more = [f"/api/projects/{result['id']}"] if isinstance(result, dict) and "member_count" in result else []
    seen = await read_all(workers.reading, world, *more)
    truth = await read_all(workers.truth, world, *more)
    return {place for place in seen if seen[place] != truth[place]}, kinds


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_is_seen_by_every_next_read_on_any_worker(name: str, workers: Workers) -> None:
    stale, kinds = await run(workers, WRITES[name])
    assert stale == set()
    assert kinds >= KINDS[name]
    for kind in sorted(KINDS[name]):
        stale, _ = await run(workers, WRITES[name], without=kind)
        assert stale, f"nothing notices that {name!r} does not invalidate {kind!r}"


NOTHING_CACHED = {
    "POST /api/sign-up",
    "POST /api/verify-email",  # nobody has read of an account that did not exist
    "POST /api/sign-in",
    "POST /api/sign-in/code",
    "POST /api/sign-in/code/verify",
    "POST /api/sign-in/second-factor",
    "POST /api/sign-out",
    "POST /api/forgot-password",
    "POST /api/reset-password",
    "POST /api/me/sudo",
    "POST /api/me/totp",
    "POST /api/me/recovery-codes",
    "PATCH /api/me/library",
    "PUT /api/me/password",
    "PUT /api/me/email",
    "DELETE /api/me/devices",
    "DELETE /api/me/devices/{device_id}",
    "POST /api/projects/{project_id}/invitations",
    "DELETE /api/projects/{project_id}/invitations/{invitation_id}",
    "DELETE /api/invitations/{invitation_id}",
}
"""Writes that make no entry of the cache stale: what they change is not cached, or only in sessions."""

OF_THE_ACCOUNT = {
    "POST /api/change-email",
    "POST /api/me/totp/confirm",
    "DELETE /api/me/totp",
    "DELETE /api/me",
    "POST /api/invitations/{invitation_id}/accept",  # test_invitations
}
"""Writes of several steps: see test_account_flows and test_account_security."""


def test_every_write_is_in_the_matrix() -> None:
    """A new way to write can't be added without a row in the matrix."""
    writes = {
        f"{method} {route.path}"
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
        if method not in {"GET", "HEAD"}
        and "board" not in route.path  # of boards only the search tells: see above
    }
    assert writes == {
        *NOTHING_CACHED,
        *OF_THE_ACCOUNT,
        "PATCH /api/me",
        "POST /api/projects",
        "PATCH /api/projects/{project_id}",
        "PUT /api/projects/{project_id}/members/{user_id}",
        "DELETE /api/projects/{project_id}/members/{user_id}",
        "PUT /api/projects/{project_id}/read",
        "POST /api/projects/{project_id}/messages",
        "PUT /api/projects/{project_id}/showcase",
        "DELETE /api/projects/{project_id}/showcase",
    }
    assert WRITES.keys() == KINDS.keys()
