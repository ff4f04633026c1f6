"""HTTP of the search."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio import keys
from fluxstudio.http.answers import Json, documented
from fluxstudio.http.inputs import Limit
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import for_caller, policy
from fluxstudio.search.schemas import Query, SearchResult
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["search"])


@router.get("/api/search", responses=documented(SearchResult))
@policy("signed in", cache=for_caller(keys.SEARCH_TTL_S, keys.of_search))
async def search(request: Request, q: Query, limit: Limit = 20) -> Response:
    """Looks for words in the projects, messages and boards that the caller may see."""
    studio = studio_of(request)
    return Json(await studio.search.search(await studio.caller(request), q, limit))
