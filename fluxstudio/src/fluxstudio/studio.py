"""The studio: what the application is made of, as the routes find it."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from fluxstudio.accounts.factors import Factors
from fluxstudio.accounts.recovery import Recovery
from fluxstudio.accounts.service import Accounts
from fluxstudio.accounts.sessions import Doorkeeper
from fluxstudio.accounts.signing import Signing
from fluxstudio.assets.service import Assets
from fluxstudio.boards.images import Images
from fluxstudio.boards.service import Boards
from fluxstudio.db.pool import Pool
from fluxstudio.invitations.service import Invitations
from fluxstudio.mail.mailbox import Mailbox
from fluxstudio.mail.service import Post
from fluxstudio.messages.service import Messages
from fluxstudio.ops.service import Operations
from fluxstudio.projects.service import Projects
from fluxstudio.realtime import Realtime
from fluxstudio.search.service import Search
from fluxstudio.showcase.service import Showcase
from fluxstudio.writes import Writes
from valtier import Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """Everything that a route may use. Made by `fluxstudio.app` when the worker starts."""

    pool: Pool
    tier: Tier
    writes: Writes
    door: Doorkeeper
    signing: Signing
    recovery: Recovery
    factors: Factors
    accounts: Accounts
    projects: Projects
    invitations: Invitations
    messages: Messages
    search: Search
    showcase: Showcase
    assets: Assets
    boards: Boards
    images: Images
    realtime: Realtime
    operations: Operations
    post: Post
    mailbox: Mailbox | None

    async def caller(self, request: Request) -> int:
        """Returns the signed-in user's id. Raises a 401 problem."""
        return await self.door.user_id(request.scope)


def studio_of(request: Request) -> Studio:
    """Returns the studio that answers this request."""
    studio: Studio = request.scope["app"].studio
    return studio
