"""HTTP of assets."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio import keys
from fluxstudio.assets.schemas import Asset
from fluxstudio.http.answers import Json, documented
from fluxstudio.http.inputs import Id
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import for_caller, policy
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["assets"])


@router.get("/api/assets/{asset_id}", responses=documented(Asset))
@policy("signed in", cache=for_caller(keys.ASSET_ANSWER_TTL_S, keys.of_asset))
async def read_asset(request: Request, asset_id: Id) -> Response:
    """Returns the metadata of a file in one of the caller's projects."""
    studio = studio_of(request)
    return Json(await studio.assets.get(await studio.caller(request), asset_id))
