"""HTTP of accounts."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio.accounts.schemas import Account, Profile, ProfileChange, SignIn, SignUp
from fluxstudio.http.answers import Json, documented, no_content
from fluxstudio.http.inputs import Id
from fluxstudio.http.lean import LeanRoute
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["accounts"])


@router.post("/api/sign-up", status_code=201, responses=documented(Account, 201))
async def sign_up(request: Request, form: SignUp) -> Response:
    """Makes an account and signs it in."""
    studio = studio_of(request)
    account, token = await studio.accounts.sign_up(
        form, replaces=studio.sessions.token_hash(request.headers.raw)
    )
    response = Json(account, 201)
    studio.sessions.give(response, token)
    return response


@router.post("/api/sign-in", responses=documented(Account))
async def sign_in(request: Request, form: SignIn) -> Response:
    """Signs in: sets the session's cookie."""
    studio = studio_of(request)
    account, token = await studio.accounts.sign_in(
        form, replaces=studio.sessions.token_hash(request.headers.raw)
    )
    response = Json(account)
    studio.sessions.give(response, token)
    return response


@router.post("/api/sign-out", status_code=204)
async def sign_out(request: Request) -> Response:
    """Ends the session, if there is one."""
    studio = studio_of(request)
    token_hash = studio.sessions.token_hash(request.headers.raw)
    if token_hash is not None:
        await studio.accounts.sign_out(token_hash)
    response = no_content()
    studio.sessions.take_back(response)
    return response


@router.get("/api/me", responses=documented(Account))
async def read_account(request: Request) -> Response:
    """Returns the caller's own account."""
    studio = studio_of(request)
    return Json(await studio.accounts.account(await studio.caller(request)))


@router.patch("/api/me", responses=documented(Account))
async def change_profile(request: Request, form: ProfileChange) -> Response:
    """Changes the caller's name or bio."""
    studio = studio_of(request)
    return Json(await studio.accounts.change_profile(await studio.caller(request), form))


@router.get("/api/users/{user_id}", responses=documented(Profile))
async def read_profile(request: Request, user_id: Id) -> Response:
    """Returns the profile of any user."""
    studio = studio_of(request)
    await studio.caller(request)
    return Json(await studio.accounts.profile(user_id))
