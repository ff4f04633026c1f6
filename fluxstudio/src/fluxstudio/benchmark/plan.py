"""The request file: what the clients of one load will ask, drawn once and played by both sides.

A client is a place at which users sit down in turn. Each visit is one of them, drawn by Zipf's law from all users (or,
with `online`, from so many who were drawn once for the whole run), who makes `VISIT` requests with their own session: to their own projects,
those projects' assets, messages and people, and to public pages. So every answer is expected to be 2xx, and anything
else counts as an error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar
from urllib.parse import quote

import msgspec

from fluxstudio.benchmark import mix
from fluxstudio.benchmark.world import Membership, World

T = TypeVar("T")


class Request(msgspec.Struct, frozen=True, array_like=True):
    """One request, as the driver reads it. `cookie` is an index into the plan's cookies; -1: none."""

    kind: int
    cookie: int
    method: str
    path: str
    body: str | None


class Plan(msgspec.Struct, frozen=True):
    """A request file."""

    kinds: tuple[str, ...]
    cookies: list[str]
    requests: list[Request]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request before it is bound to a session."""

    kind: str
    user_id: int
    path: str
    body: dict[str, object] | None = None


class Dice:
    """Draws who comes and what they ask for; the same seed draws the same."""

    def __init__(self, world: World, online: Sequence[int], seed: str) -> None:
        self._world = world
        self._online = online
        self._user_weights = mix.zipf_weights(len(world.users))
        self._random = Random(seed)
        self._slug_weights = mix.zipf_weights(len(world.slugs))
        self._asks: Mapping[str, Callable[[int], Ask | None]] = {
            mix.LIST_PROJECTS: self._list_projects,
            mix.LIST_MESSAGES: self._list_messages,
            mix.GET_USER: self._get_user,
            mix.GET_ASSET: self._get_asset,
            mix.SEARCH: self._search,
            mix.SHOWCASE: self._showcase,
            mix.GET_PROJECT: self._get_project,
            mix.POST_MESSAGE: self._post_message,
            mix.MARK_READ: self._mark_read,
            mix.UPDATE_PROFILE: self._update_profile,
            mix.UPDATE_PROJECT: self._update_project,
        }

    def _visitor(self) -> int:
        if self._online:
            return self._random.choice(self._online)
        return self._random.choices(self._world.users, cum_weights=self._user_weights)[0]

    def visit(self) -> list[Ask]:
        """One user's requests."""
        user = self._visitor()
        kinds = self._random.choices(mix.KINDS, weights=tuple(mix.MIX.values()), k=mix.VISIT)
        return [self._ask(kind, user) for kind in kinds]

    def _ask(self, kind: str, user: int) -> Ask:
        """What this user asks of that kind or, where they have nothing to ask it of, another read or write."""
        ask = self._asks[kind](user)
        if ask is not None:
            return ask
        if kind in mix.WRITES:
            return self._mark_read(user) or self._update_profile(user)
        return self._list_projects(user)

    def _list_projects(self, user: int) -> Ask:
        return Ask(kind=mix.LIST_PROJECTS, user_id=user, path="/api/projects")

    def _favourite(self, values: Sequence[T]) -> T:
        """People go where they went before: Zipf over their own few, too."""
        return self._random.choices(values, cum_weights=mix.zipf_weights(len(values)))[0]

    def _project(self, user: int, wanted: Callable[[Membership], bool] = lambda _: True) -> int | None:
        mine = [membership.project_id for membership in self._world.memberships[user] if wanted(membership)]
        return self._favourite(mine) if mine else None

    def _list_messages(self, user: int) -> Ask | None:
        project = self._project(user)
        if project is None:
            return None
        path = f"/api/projects/{project}/messages"
        cursors = self._world.cursors.get(project)
        if cursors and self._random.random() < mix.OLDER_PAGE:
            path += f"?before={self._favourite(cursors)}"
        return Ask(kind=mix.LIST_MESSAGES, user_id=user, path=path)

    def _get_user(self, user: int) -> Ask | None:
        project = self._project(user)
        if project is None:
            return None
        other = self._favourite(self._world.members[project])
        return Ask(kind=mix.GET_USER, user_id=user, path=f"/api/users/{other}")

    def _get_asset(self, user: int) -> Ask | None:
        project = self._project(user, lambda membership: membership.project_id in self._world.assets)
        if project is None:
            return None
        asset = self._favourite(self._world.assets[project])
        return Ask(kind=mix.GET_ASSET, user_id=user, path=f"/api/assets/{asset}")

    def _search(self, user: int) -> Ask | None:
        project = self._project(user, lambda membership: bool(self._world.words.get(membership.project_id)))
        if project is None:
            return None
        word = self._favourite(self._world.words[project])
        return Ask(kind=mix.SEARCH, user_id=user, path=f"/api/search?q={quote(word)}")

    def _showcase(self, user: int) -> Ask:
        slug = self._random.choices(self._world.slugs, cum_weights=self._slug_weights)[0]
        return Ask(kind=mix.SHOWCASE, user_id=user, path=f"/p/{slug}")

    def _get_project(self, user: int) -> Ask | None:
        project = self._project(user)
        return Ask(kind=mix.GET_PROJECT, user_id=user, path=f"/api/projects/{project}") if project else None

    def _post_message(self, user: int) -> Ask | None:
        project = self._project(user, lambda membership: membership.may_write)
        if project is None:
            return None
        body: dict[str, object] = {"body": f"A note from the bench, number {self._random.randrange(10**6)}."}
        return Ask(kind=mix.POST_MESSAGE, user_id=user, path=f"/api/projects/{project}/messages", body=body)

    def _mark_read(self, user: int) -> Ask | None:
        project = self._project(user, lambda membership: membership.project_id in self._world.newest)
        if project is None:
            return None
        body: dict[str, object] = {"message_id": self._world.newest[project]}
        return Ask(kind=mix.MARK_READ, user_id=user, path=f"/api/projects/{project}/read", body=body)

    def _update_profile(self, user: int) -> Ask:
        body: dict[str, object] = {"bio": f"Bench visitor, version {self._random.randrange(10**6)}."}
        return Ask(kind=mix.UPDATE_PROFILE, user_id=user, path="/api/me", body=body)

    def _update_project(self, user: int) -> Ask | None:
        project = self._project(user, lambda membership: membership.may_write)
        if project is None:
            return None
        body: dict[str, object] = {
            "description": f"As the bench left it, version {self._random.randrange(10**6)}."
        }
        return Ask(kind=mix.UPDATE_PROJECT, user_id=user, path=f"/api/projects/{project}", body=body)


def draw_online(world: World, *, count: int, seed: str) -> list[int]:
    """Who is there during a run; who is drawn several times is there with several devices. 0: anybody."""
    return Random(seed).choices(world.users, cum_weights=mix.zipf_weights(len(world.users)), k=count)


def draw(world: World, online: Sequence[int], *, seed: str, count: int) -> list[Ask]:
    """At least `count` requests of the people who are there (nobody named: of anybody), in whole visits."""
    dice = Dice(world, online, seed)
    asks: list[Ask] = []
    while len(asks) < count:
        asks += dice.visit()
    return asks


def bind(asks: Sequence[Ask], cookies: Mapping[int, str]) -> Plan:
    """The request file for these sessions (a Cookie header by user)."""
    numbers = {kind: number for number, kind in enumerate(mix.KINDS)}
    places = {user_id: place for place, user_id in enumerate(cookies)}
    requests = [
        Request(
            kind=numbers[ask.kind],
            cookie=-1 if ask.kind == mix.SHOWCASE else places[ask.user_id],
            method=ask.kind.split(" ", 1)[0],
            path=ask.path,
            body=None if ask.body is None else msgspec.json.encode(ask.body).decode(),
        )
        for ask in asks
    ]
    return Plan(kinds=mix.KINDS, cookies=list(cookies.values()), requests=requests)


def write_plan(plan: Plan, path: Path) -> None:
    """Writes the request file."""
    path.write_bytes(msgspec.json.encode(plan))
