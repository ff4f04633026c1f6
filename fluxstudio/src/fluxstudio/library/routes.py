"""HTTP of libraries."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio.http.answers import Json, documented
from fluxstudio.http.inputs import Id, Version
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import policy
from fluxstudio.library.schemas import Library, LibraryChange
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["library"])


@router.get("/api/me/library", responses=documented(Library))
@policy("signed in")
async def read_library(request: Request, account: Id | None = None, since: Version = 0) -> Response:
    """Returns the caller's library of shapes; with `since`, what has changed in it after that version."""
    studio = studio_of(request)
    return Json(await studio.libraries.read(await studio.caller(request), account, since))


@router.patch("/api/me/library", responses=documented(Library))
@policy("signed in")
async def change_library(request: Request, form: LibraryChange) -> Response:
    """Adds, changes and removes shapes of the caller's library, and returns what others have changed in it."""
    studio = studio_of(request)
    return Json(await studio.libraries.change(await studio.caller(request), form))
