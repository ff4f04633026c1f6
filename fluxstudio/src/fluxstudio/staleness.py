"""What each write makes stale: the map from what has happened to the cache entries that no longer tell the truth.

    entry             shows
    roles:USER        the user's role in each project
    user:, account:   name, bio (and e-mail, second factor)
    projects:USER     titles, roles, numbers of members, the last message with its author's name, unread counts, whether
                      archived
    project:ID:ROLE   title, description, number of members, the showcase page's slug, whether archived
    members:ID        names and roles
    messages:ID:…     messages with their authors' names; tag messages:ID
    search:USER:…     titles, descriptions, messages with their authors' names, and boards; tag search:USER
    showcase:SLUG     headline, summary, the project's title, its owners' names
    asset:ID          what never changes

Answers that the response cache keeps are made of such entries, and have their names as tags: keys, where they are
invalidated by key, and tags. An entry has its own key as a tag, too: so it and all answers made of it end in one step,
and no answer is made of an entry that has ended elsewhere, not even where keys and tags lie on different nodes.

This is for FluxStudio's own writes, which know. Changes from outside, made with psql, are seen by triggers: the watches
in `fluxstudio.migrations`, which know the changed row only and say the rest by the coarse tags of `fluxstudio.keys`.

Pure functions. The facts that they take are read in the transaction of the write, under locks that keep others from
changing them before it commits (see `fluxstudio.projects.queries`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fluxstudio import keys
from fluxstudio.roles import ROLES


@dataclass(frozen=True, slots=True)
class Stale:
    """Cache keys and tags that have to go."""

    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of it as tags: a key's name is also the tag of its entry, and of every answer that was made of it."""
        return self.tags + self.keys

    def __or__(self, other: Stale) -> Stale:
        return Stale(self.keys + other.keys, self.tags + other.tags)


NOTHING = Stale()


@dataclass(frozen=True, slots=True)
class NameReach:
    """Where a user's name shows: `projects` that they belong to or wrote in, those projects' members and pages."""

    project_ids: tuple[int, ...]
    member_ids: tuple[int, ...]
    slugs: tuple[str, ...]


def account_changed(user_id: int) -> Stale:
    """What only the user sees of their account has changed."""
    return Stale((keys.account(user_id),))


def profile_changed(user_id: int, renamed: NameReach | None) -> Stale:
    """`renamed` says where the name shows, if it is the name that changed."""
    own = Stale((keys.user(user_id), keys.account(user_id)))
    if renamed is None:
        return own
    return (
        own
        | _seen_by(renamed.member_ids)
        | Stale(
            (*map(keys.members, renamed.project_ids), *map(keys.showcase, renamed.slugs)),
            tuple(map(keys.messages_tag, renamed.project_ids)),
        )
    )


def project_created(owner_id: int) -> Stale:
    return Stale((keys.roles(owner_id),)) | _seen_by([owner_id])


def project_changed(project_id: int, member_ids: Iterable[int], slug: str | None) -> Stale:
    """The title or the description has changed, or it went into the archive or came back."""
    return _project(project_id) | _pages(slug) | _seen_by(member_ids)


def membership_changed(project_id: int, user_id: int, member_ids: Iterable[int], slug: str | None) -> Stale:
    """`user_id` has joined, has left or has another role. `member_ids` are the others, before or after."""
    others = Stale(tuple(map(keys.projects, member_ids)))  # they see another number of members
    own = Stale((keys.roles(user_id), keys.members(project_id))) | _seen_by([user_id])
    return own | others | _project(project_id) | _pages(slug)


def project_deleted(project_id: int, member_id: int, asset_ids: Iterable[int], slug: str | None) -> Stale:
    """The project is gone, with its one member's place in it."""
    own = Stale((keys.roles(member_id), keys.members(project_id))) | _seen_by([member_id])
    rest = Stale(tuple(map(keys.asset, asset_ids)), (keys.messages_tag(project_id),))
    return own | rest | _project(project_id) | _pages(slug)


def message_posted(project_id: int, member_ids: Iterable[int]) -> Stale:
    return _seen_by(member_ids) | Stale(tags=(keys.messages_tag(project_id),))


def board_found(member_ids: Iterable[int]) -> Stale:
    """A board's title, folder or what is written on it has changed, or it is new or gone: the search shows it."""
    return Stale(tags=tuple(map(keys.search_tag, member_ids)))


def project_read(user_id: int) -> Stale:
    """The user's unread count has changed, and nobody else sees it."""
    return Stale((keys.projects(user_id),))


def showcase_changed(project_id: int, *slugs: str | None) -> Stale:
    """Published, changed or withdrawn. `slugs` are the page's addresses before and after."""
    return _project(project_id) | _pages(*slugs)


def _seen_by(user_ids: Iterable[int]) -> Stale:
    ids = tuple(user_ids)
    return Stale(tuple(map(keys.projects, ids)), tuple(map(keys.search_tag, ids)))


def _project(project_id: int) -> Stale:
    return Stale(tuple(keys.project(project_id, role) for role in ROLES))


def _pages(*slugs: str | None) -> Stale:
    return Stale(tuple(keys.showcase(slug) for slug in slugs if slug is not None))
