"""HTTP of messages."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio import keys
from fluxstudio.http.answers import Json, documented
from fluxstudio.http.inputs import Id, Limit
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import for_caller, policy
from fluxstudio.messages.schemas import Message, MessagePage, NewMessage
from fluxstudio.messages.service import Place
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["messages"])


@router.get("/api/projects/{project_id}/messages", responses=documented(MessagePage))
@policy("signed in", cache=for_caller(keys.MESSAGES_TTL_S, keys.of_messages))
async def list_messages(
    request: Request,
    project_id: Id,
    before: Id | None = None,
    after: Id | None = None,
    around: Id | None = None,
    limit: Limit = 50,
) -> Response:
    """Returns messages, the newest first: the newest, those `before` or `after` a message, or those `around` one."""
    studio = studio_of(request)
    place = Place.parse(before, after, around)
    return Json(await studio.messages.page(await studio.caller(request), project_id, place, limit))


@router.post("/api/projects/{project_id}/messages", status_code=201, responses=documented(Message, 201))
@policy("signed in")
async def post_message(request: Request, project_id: Id, form: NewMessage) -> Response:
    """Adds a message. For owners and editors."""
    studio = studio_of(request)
    return Json(await studio.messages.post(await studio.caller(request), project_id, form), 201)
