"""Every cache key and tag of FluxStudio, and how long each entry lives. None is built anywhere else.

A key is the tag of its entry, too, and of the answers that are made of it (`fluxstudio.staleness`).

A key's part before the first colon is its namespace: hits and misses are counted by it.
"""

from __future__ import annotations

import hashlib

from fluxstudio.roles import ROLES

ROLES_TTL_S = 60
USER_TTL_S = 300
PROJECTS_TTL_S = 60
PROJECT_TTL_S = 300
MESSAGES_TTL_S = 60
SEARCH_TTL_S = 30
SHOWCASE_TTL_S = 3600
ASSET_TTL_S = 24 * 3600
ASSET_ANSWER_TTL_S = 300
"""Of the answer, which is kept for each caller: the entry that all share lasts longer."""

# Tags of everything that shows a thing, for changes from outside: a trigger sees the row that was changed, and neither
# who is a member nor where a name shows. The watches that say them are in the migrations.
LISTS = "lists"
"""All lists of projects, and all that was found."""
NAMES = "names"
"""All members and messages, which show names."""
PAGES = "pages"
"""All public pages."""


def roles(user_id: int) -> str:
    """The user's role in each of their projects."""
    return f"roles:{user_id}"


def user(user_id: int) -> str:
    """The user's profile, as others see it."""
    return f"user:{user_id}"


def account(user_id: int) -> str:
    """The user's profile, as they see it themselves."""
    return f"account:{user_id}"


def projects(user_id: int) -> str:
    """The list of the user's projects."""
    return f"projects:{user_id}"


def project(project_id: int, role: str) -> str:
    """One project, as its members of that role see it."""
    return f"project:{project_id}:{role}"


def members(project_id: int) -> str:
    """The members of a project."""
    return f"members:{project_id}"


def messages(project_id: int, place: str, message_id: int, limit: int) -> str:
    """One page of a project's messages: `newest`, or before, after or around a message."""
    return f"messages:{project_id}:{place}:{message_id}:{limit}"


def messages_tag(project_id: int) -> str:
    """All pages of a project's messages."""
    return f"messages:{project_id}"


def search(user_id: int, query: str, limit: int) -> str:
    """What a user found. The query is hashed: it is of any length and alphabet."""
    digest = hashlib.blake2b(query.encode(), digest_size=16).hexdigest()
    return f"search:{user_id}:{limit}:{digest}"


def search_tag(user_id: int) -> str:
    """All that a user found."""
    return f"search:{user_id}"


# What answers are made of: the names (keys and tags) whose invalidation makes them stale.


def of_projects(user_id: int) -> tuple[str, ...]:
    """Names of the list of a user's projects."""
    return (projects(user_id), LISTS)


def of_project(user_id: int, project_id: int) -> tuple[str, ...]:
    """Names of a project, as one of its members sees it."""
    return (roles(user_id), *(project(project_id, role) for role in ROLES))


def of_members(user_id: int, project_id: int) -> tuple[str, ...]:
    """Names of the members of a project, as one of them sees them."""
    return (members(project_id), NAMES, roles(user_id))


def of_messages(user_id: int, project_id: int) -> tuple[str, ...]:
    """Names of a page of a project's messages, as one of its members sees it."""
    return (messages_tag(project_id), NAMES, roles(user_id))


def of_search(user_id: int) -> tuple[str, ...]:
    """Names of what a user found."""
    return (search_tag(user_id), LISTS)


def of_asset(user_id: int, asset_id: int) -> tuple[str, ...]:
    """Names of an asset's metadata, as a member of its project sees them."""
    return (asset(asset_id), roles(user_id))


def of_profile(_: int, user_id: int) -> tuple[str, ...]:
    """Names of somebody's profile, whoever looks."""
    return (user(user_id),)


def of_showcase(slug: str) -> tuple[str, ...]:
    """Names of a public page."""
    return (showcase(slug), PAGES)


def showcase(slug: str) -> str:
    """A public page. `slug` has been checked: letters, digits and hyphens."""
    return f"showcase:{slug}"


def asset(asset_id: int) -> str:
    """An asset's metadata, and the project that it belongs to."""
    return f"asset:{asset_id}"


# The same as templates, for who has to take keys apart: they are loaded again by `fluxstudio.warming`. What a user has
# searched for is not among them: its key is a hash.
ROLES_KEY = "roles:{user_id}"
USER_KEY = "user:{user_id}"
ACCOUNT_KEY = "account:{user_id}"
PROJECTS_KEY = "projects:{user_id}"
PROJECT_KEY = "project:{project_id}:{role}"
MEMBERS_KEY = "members:{project_id}"
MESSAGES_KEY = "messages:{project_id}:{place}:{message_id}:{limit}"
MESSAGES_TAG = "messages:{project_id}"
SHOWCASE_KEY = "showcase:{slug}"
ASSET_KEY = "asset:{asset_id}"
