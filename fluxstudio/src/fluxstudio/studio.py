"""The studio: what the application is made of, as the routes find it."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Scope

from fluxstudio.accounts.factors import Factors
from fluxstudio.accounts.recovery import Recovery
from fluxstudio.accounts.service import Accounts
from fluxstudio.accounts.sessions import Doorkeeper
from fluxstudio.accounts.signing import Signing
from fluxstudio.assets.service import Assets
from fluxstudio.boards.images import Images
from fluxstudio.boards.links import Links
from fluxstudio.boards.service import Boards
from fluxstudio.db.pool import Pool
from fluxstudio.invitations.service import Invitations
from fluxstudio.library.service import Libraries
from fluxstudio.mail.mailbox import Mailbox
from fluxstudio.mail.service import Post
from fluxstudio.messages.service import Messages
from fluxstudio.ops.pulse import Pulse
from fluxstudio.ops.service import Operations
from fluxstudio.problems import forbidden
from fluxstudio.projects.service import Projects
from fluxstudio.realtime import Realtime
from fluxstudio.search.service import Search
from fluxstudio.showcase.service import Showcase
from fluxstudio.writes import Writes
from valtier import Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """Everything that a route may use. Made by `fluxstudio.opening` when the worker starts."""

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
    links: Links
    images: Images
    libraries: Libraries
    realtime: Realtime
    operations: Operations
    pulse: Pulse
    post: Post
    mailbox: Mailbox | None

    async def caller(self, request: Request) -> int:
        """Returns the signed-in user's id. Raises a 401 problem."""
        return await self.door.user_id(request.scope)

    async def operator(self, request: Request) -> int:
        """Returns the signed-in operator's id. Raises a 401 problem, or 403 for everybody else."""
        user_id = await self.caller(request)
        if not await self.accounts.is_operator(user_id):
            raise forbidden("This is for operators: `fluxstudio operator EMAIL` makes an account one.")
        return user_id

    async def is_operator(self, scope: Scope) -> bool:
        """Whether a request is an operator's. Never raises: whoever can't be known is none."""
        try:
            return await self.accounts.is_operator(await self.door.user_id(scope))
        except Exception:  # noqa: BLE001 - the request itself will tell what is wrong
            return False


def studio_of(request: Request) -> Studio:
    """Returns the studio that answers this request."""
    studio: Studio = request.scope["app"].studio
    return studio
