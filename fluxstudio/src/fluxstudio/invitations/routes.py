"""HTTP of invitations."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio.http.answers import Json, documented, no_content
from fluxstudio.http.inputs import Id
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import policy
from fluxstudio.invitations.schemas import Invitation, InvitationList, Joined, NewInvitation, ReceivedList
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["invitations"])


@router.get("/api/projects/{project_id}/invitations", responses=documented(InvitationList))
@policy("signed in")
async def list_invitations(request: Request, project_id: Id) -> Response:
    """Returns the invitations to a project that wait. For owners."""
    studio = studio_of(request)
    return Json(await studio.invitations.list_of(await studio.caller(request), project_id))


@router.post("/api/projects/{project_id}/invitations", status_code=202, responses=documented(Invitation, 202))
@policy("signed in", limit="mail")
async def invite(request: Request, project_id: Id, form: NewInvitation) -> Response:
    """Invites an address to a project, and writes to it. The same for addresses that have an account. For owners."""
    studio = studio_of(request)
    return Json(await studio.invitations.invite(await studio.caller(request), project_id, form), 202)


@router.delete("/api/projects/{project_id}/invitations/{invitation_id}", status_code=204)
@policy("signed in")
async def take_back(request: Request, project_id: Id, invitation_id: Id) -> Response:
    """Takes an invitation back. For owners."""
    studio = studio_of(request)
    await studio.invitations.take_back(await studio.caller(request), project_id, invitation_id)
    return no_content()


@router.get("/api/invitations", responses=documented(ReceivedList))
@policy("signed in")
async def list_received(request: Request) -> Response:
    """Returns the invitations that wait for the caller's address."""
    studio = studio_of(request)
    return Json(await studio.invitations.received(await studio.caller(request)))


@router.post("/api/invitations/{invitation_id}/accept", responses=documented(Joined))
@policy("signed in")
async def accept(request: Request, invitation_id: Id) -> Response:
    """Makes the caller a member of the project that they are invited to."""
    studio = studio_of(request)
    return Json(await studio.invitations.accept(await studio.caller(request), invitation_id))


@router.delete("/api/invitations/{invitation_id}", status_code=204)
@policy("signed in")
async def decline(request: Request, invitation_id: Id) -> Response:
    """Removes an invitation that the caller does not want."""
    studio = studio_of(request)
    await studio.invitations.decline(await studio.caller(request), invitation_id)
    return no_content()
