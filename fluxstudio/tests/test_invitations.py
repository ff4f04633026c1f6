"""Invitations by e-mail: nobody learns who has an account, and nobody belongs anywhere before they say so."""

from __future__ import annotations

import itertools
from typing import Any

from fluxstudio.app import Application
from fluxstudio.testing import Caller, Database, Inbox, World, expect, project_of

_numbers = itertools.count(1)


def stranger() -> str:
    """An address that nobody has an account with."""
    return f"nobody.{next(_numbers)}@invited.example"


async def invite(app: Application, world: World, email: str, role: str = "editor", status: int = 202) -> Any:
    path = f"{project_of(world)}/invitations"
    return await Caller(app, world.ada).post(path, {"email": email, "role": role}, status=status)


async def waiting(app: Application, world: World) -> list[str]:
    listed = await Caller(app, world.ada).get(f"{project_of(world)}/invitations")
    return [one["email"] for one in listed["invitations"]]


async def test_29_addresses_with_and_without_an_account_are_answered_listed_and_written_to_alike(
    app: Application, world: World, inbox: Inbox
) -> None:
    unknown = stranger()
    answers = [await invite(app, world, email) for email in (world.dora.email, unknown)]
    assert [set(answer) for answer in answers] == [{"id", "email", "role", "created_at"}] * 2
    assert await waiting(app, world) == [world.dora.email, unknown]
    letters = [await inbox.letter(email, "invited") for email in (world.dora.email, unknown)]
    assert letters[0].text == letters[1].text
    members = await Caller(app, world.ada).get(f"{project_of(world)}/members")
    assert world.dora.id not in {member["id"] for member in members["members"]}


async def test_who_proves_the_address_accepts_and_belongs(app: Application, world: World) -> None:
    await invite(app, world, world.dora.email.upper(), "viewer")
    dora = Caller(app, world.dora)
    [received] = (await dora.get("/api/invitations"))["invitations"]
    assert (received["project_title"], received["role"], received["invited_by"]) == (
        "Harbour poster",
        "viewer",
        "Ada",
    )
    expect(await dora.call("GET", project_of(world)), 404)
    path = f"/api/invitations/{received['id']}/accept"
    await Caller(app, world.eve).post(path, status=404)
    assert await dora.post(path, status=200) == {"project_id": world.project}
    assert (await dora.get(project_of(world)))["role"] == "viewer"
    assert await waiting(app, world) == []
    await dora.post(path, status=404)


async def test_what_was_taken_back_or_declined_opens_nothing(app: Application, world: World) -> None:
    dora = Caller(app, world.dora)
    first = await invite(app, world, world.dora.email)
    await Caller(app, world.ben).delete(f"{project_of(world)}/invitations/{first['id']}", status=403)
    await Caller(app, world.ada).delete(f"{project_of(world)}/invitations/{first['id']}")
    await dora.post(f"/api/invitations/{first['id']}/accept", status=404)
    second = await invite(app, world, world.dora.email)
    await Caller(app, world.eve).delete(f"/api/invitations/{second['id']}", status=404)
    await dora.delete(f"/api/invitations/{second['id']}")
    await dora.post(f"/api/invitations/{second['id']}/accept", status=404)
    assert (await dora.get("/api/invitations"))["invitations"] == []


async def test_an_invitation_holds_only_while_its_sender_owns_the_project(
    app: Application, world: World, database: Database
) -> None:
    made = await invite(app, world, world.dora.email)
    ada = Caller(app, world.ada)
    await ada.put(f"{project_of(world)}/members/{world.ben.id}", {"role": "owner"})
    await Caller(app, world.ben).put(f"{project_of(world)}/members/{world.ada.id}", {"role": "editor"})
    await Caller(app, world.dora).post(f"/api/invitations/{made['id']}/accept", status=404)
    await database.connection.execute(
        "UPDATE invitations SET invited_by = $2, created_at = now() - interval '31 days' WHERE id = $1",
        made["id"],
        world.ben.id,
    )
    await Caller(app, world.dora).post(f"/api/invitations/{made['id']}/accept", status=404)


async def test_only_owners_invite_and_inviting_again_renews(app: Application, world: World) -> None:
    path, form = f"{project_of(world)}/invitations", {"email": stranger(), "role": "editor"}
    await Caller(app, world.ben).post(path, form, status=403)
    expect(await Caller(app, world.ben).call("GET", path), 403)
    await Caller(app, world.dora).post(path, form, status=404)
    first = await invite(app, world, form["email"])
    again = await invite(app, world, form["email"], "viewer")
    assert (first["id"], again["role"]) == (again["id"], "viewer")
    for email in ("", "no address", "a@b"):
        await invite(app, world, email, status=422)


async def test_nobody_is_buried_in_invitations(app: Application, world: World) -> None:
    """An address gets ten mails an hour, whoever sends them."""
    email = stranger()
    for _ in range(10):
        await invite(app, world, email)
    problem = await invite(app, world, email, status=429)
    assert problem["code"] == "too-many-attempts"


async def test_people_of_ones_projects_are_known_by_name_and_nobody_else(
    app: Application, world: World
) -> None:
    known = (await Caller(app, world.cy).get("/api/people"))["people"]
    assert known == [{"id": world.ada.id, "name": "Ada"}, {"id": world.ben.id, "name": "Ben"}]
    assert (await Caller(app, world.dora).get("/api/people"))["people"] == []
