"""HTTP of accounts: signing up, in and out, and profiles."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio import keys
from fluxstudio.accounts.schemas import (
    Account,
    EmailVerification,
    ForgottenPassword,
    MailSent,
    PasswordReset,
    Profile,
    ProfileChange,
    SecondFactor,
    SecondFactorNeeded,
    SignIn,
    SignInCode,
    SignInCodeRequest,
    SignUp,
    Token,
)
from fluxstudio.accounts.sessions import Doorkeeper, Visitor
from fluxstudio.accounts.signing import SignedIn
from fluxstudio.http.answers import Json, documented, encode, no_content
from fluxstudio.http.inputs import Id
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import for_caller, policy
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["accounts"])

_TWO_ENDINGS = {**documented(Account), 202: {"model": SecondFactorNeeded}}


def _mail_sent(what: str) -> Json:
    return Json(encode(MailSent(f"If {what}, a mail is on its way. Look into your mailbox.")), 202)


def _signed_in(door: Doorkeeper, visitor: Visitor, outcome: SignedIn, status: int = 200) -> Response:
    response = Json(outcome.body, 202 if outcome.session is None else status)
    door.know_browser(response, visitor)
    door.know_device(response, outcome.device)
    if outcome.session is not None:
        door.give(response, outcome.session)
    return response


# -- up ----------------------------------------------------------------------------------------------------


@router.post("/api/sign-up", status_code=202, responses=documented(MailSent, 202))
@policy("anyone", limit="mail")
async def sign_up(request: Request, form: SignUp) -> Response:
    """Begins an account: sends a mail that confirms the address. The same for addresses that have an account."""
    studio = studio_of(request)
    visitor = await studio.door.visitor(request.scope)
    await studio.signing.sign_up(form, visitor)
    response = _mail_sent("mail reaches this address")
    studio.door.know_browser(response, visitor)
    return response


@router.post("/api/verify-email", status_code=201, responses=documented(Account, 201))
@policy("anyone", limit="code")
async def verify_email(request: Request, form: EmailVerification) -> Response:
    """Makes the account whose mail was read, and signs in."""
    studio = studio_of(request)
    visitor = await studio.door.visitor(request.scope)
    return _signed_in(studio.door, visitor, await studio.signing.verify_email(form, visitor), 201)


# -- in and out --------------------------------------------------------------------------------------------


@router.post("/api/sign-in", responses=_TWO_ENDINGS)
@policy("anyone", limit="sign-in")
async def sign_in(request: Request, form: SignIn) -> Response:
    """Signs in with a password: sets the session's cookie, or asks for the second factor (202)."""
    studio = studio_of(request)
    visitor = await studio.door.visitor(request.scope)
    return _signed_in(studio.door, visitor, await studio.signing.sign_in(form, visitor))


@router.post("/api/sign-in/code", status_code=202, responses=documented(MailSent, 202))
@policy("anyone", limit="mail")
async def send_sign_in_code(request: Request, form: SignInCodeRequest) -> Response:
    """Sends a code by mail, if the address has an account."""
    studio = studio_of(request)
    visitor = await studio.door.visitor(request.scope)
    await studio.signing.send_code(form.email, visitor)
    response = _mail_sent("this address has an account")
    studio.door.know_browser(response, visitor)
    return response


@router.post("/api/sign-in/code/verify", responses=_TWO_ENDINGS)
@policy("anyone", limit="code")
async def sign_in_with_code(request: Request, form: SignInCode) -> Response:
    """Signs in with a code from a mail, in the browser that asked for it."""
    studio = studio_of(request)
    visitor = await studio.door.visitor(request.scope)
    return _signed_in(studio.door, visitor, await studio.signing.sign_in_with_code(form, visitor))


@router.post("/api/sign-in/second-factor", responses=documented(Account))
@policy("anyone", limit="code")
async def second_factor(request: Request, form: SecondFactor) -> Response:
    """Takes the second step: a code of the authenticator app, or a recovery code."""
    studio = studio_of(request)
    visitor = await studio.door.visitor(request.scope)
    return _signed_in(studio.door, visitor, await studio.signing.second_factor(form, visitor))


@router.post("/api/sign-out", status_code=204)
@policy("anyone")
async def sign_out(request: Request) -> Response:
    """Ends the session, if there is one."""
    studio = studio_of(request)
    session = await studio.door.session(request.scope)
    if session is not None:
        await studio.signing.sign_out(session)
    response = no_content()
    studio.door.take_back(response)
    return response


# -- forgotten passwords, new addresses --------------------------------------------------------------------


@router.post("/api/forgot-password", status_code=202, responses=documented(MailSent, 202))
@policy("anyone", limit="mail")
async def forgot_password(request: Request, form: ForgottenPassword) -> Response:
    """Sends a link to set a new password, if the address has an account."""
    studio = studio_of(request)
    visitor = await studio.door.visitor(request.scope)
    await studio.recovery.forgot(form.email, visitor)
    return _mail_sent("this address has an account")


@router.post("/api/reset-password", status_code=204)
@policy("anyone", limit="code")
async def reset_password(request: Request, form: PasswordReset) -> Response:
    """Sets a new password with the token from a mail. Nobody is signed in by it; a second factor stays on."""
    studio = studio_of(request)
    visitor = await studio.door.visitor(request.scope)
    await studio.recovery.reset(form, visitor)
    return no_content()


@router.post("/api/change-email", status_code=204)
@policy("anyone", limit="code")
async def confirm_email(request: Request, form: Token) -> Response:
    """Gives an account the address whose mail was read. Both addresses are told."""
    await studio_of(request).recovery.confirm_email(form.token)
    return no_content()


# -- profiles ----------------------------------------------------------------------------------------------


@router.get("/api/me", responses=documented(Account))
@policy("signed in")
async def read_account(request: Request) -> Response:
    """Returns the caller's own account."""
    studio = studio_of(request)
    return Json(await studio.accounts.account(await studio.caller(request)))


@router.patch("/api/me", responses=documented(Account))
@policy("signed in")
async def change_profile(request: Request, form: ProfileChange) -> Response:
    """Changes the caller's name or bio."""
    studio = studio_of(request)
    return Json(await studio.accounts.change_profile(await studio.caller(request), form))


@router.get("/api/users/{user_id}", responses=documented(Profile))
@policy("signed in", cache=for_caller(keys.USER_TTL_S, keys.of_profile))
async def read_profile(request: Request, user_id: Id) -> Response:
    """Returns the profile of any user."""
    studio = studio_of(request)
    await studio.caller(request)
    return Json(await studio.accounts.profile(user_id))
