"""HTTP of an account's security: sudo mode, devices, passwords, the second factor, the address, and the end.

What changes security wants sudo mode: the caller has signed in, or shown their password, within ten minutes.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import StringConstraints

from fluxstudio.accounts.schemas import (
    DeviceList,
    EmailChange,
    MailSent,
    PasswordChange,
    Reauthentication,
    RecoveryCodes,
    Sudo,
    TotpConfirmation,
    TotpSetup,
)
from fluxstudio.accounts.sessions import StudioSession
from fluxstudio.http.answers import Json, documented, encode, no_content
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import policy
from fluxstudio.problems import Problem
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["security"])

DeviceId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


async def _sudo(request: Request) -> StudioSession:
    """Returns the caller's session, in sudo mode. Raises a 401 or 403 problem."""
    session = await studio_of(request).door.require(request.scope)
    if not session.is_sudo:
        raise Problem(403, "sudo-needed", "Show your password again first: POST /api/me/sudo.")
    return session


def _user_id(session: StudioSession) -> int:
    return int(session.subject or 0)


@router.post("/api/me/sudo", responses=documented(Sudo))
@policy("signed in", limit="sign-in")
async def enter_sudo(request: Request, form: Reauthentication) -> Response:
    """Opens changes of the account's security for ten minutes. The session gets a new cookie."""
    studio = studio_of(request)
    session = await studio.door.require(request.scope)
    visitor = await studio.door.visitor(request.scope)
    await studio.signing.confirm(session, form.password, form.code, visitor)
    response = Json(encode(Sudo(session.sudo_until or session.expires)))
    studio.door.give(response, session)
    return response


# -- devices -----------------------------------------------------------------------------------------------


@router.get("/api/me/devices", responses=documented(DeviceList))
@policy("signed in")
async def list_devices(request: Request) -> Response:
    """Returns where the caller is signed in."""
    studio = studio_of(request)
    return Json(await studio.accounts.devices(await studio.door.require(request.scope)))


@router.delete("/api/me/devices/{device_id}", status_code=204)
@policy("sudo")
async def sign_out_device(request: Request, device_id: DeviceId) -> Response:
    """Signs one of the caller's devices out."""
    session = await _sudo(request)
    await studio_of(request).accounts.sign_out_device(session, device_id)
    return no_content()


@router.delete("/api/me/devices", status_code=204)
@policy("sudo")
async def sign_out_others(request: Request) -> Response:
    """Signs all of the caller's devices out but this one."""
    session = await _sudo(request)
    await studio_of(request).accounts.sign_out_others(session)
    return no_content()


# -- the password and the address --------------------------------------------------------------------------


@router.put("/api/me/password", status_code=204)
@policy("signed in", limit="sign-in")
async def change_password(request: Request, form: PasswordChange) -> Response:
    """Sets a new password. The session gets a new cookie."""
    studio = studio_of(request)
    session = await studio.door.require(request.scope)
    visitor = await studio.door.visitor(request.scope)
    await studio.recovery.change_password(session, form, visitor)
    response = no_content()
    studio.door.give(response, session)
    return response


@router.put("/api/me/email", status_code=202, responses=documented(MailSent, 202))
@policy("sudo", limit="mail")
async def change_email(request: Request, form: EmailChange) -> Response:
    """Sends a mail to the new address that confirms it; the old one is told."""
    studio = studio_of(request)
    session = await _sudo(request)
    visitor = await studio.door.visitor(request.scope)
    await studio.recovery.ask_for_email(_user_id(session), form.email, visitor)
    return Json(encode(MailSent("A mail is on its way to the new address. Open the link in it.")), 202)


# -- the second factor -------------------------------------------------------------------------------------


@router.post("/api/me/totp", responses=documented(TotpSetup))
@policy("sudo")
async def set_up_totp(request: Request) -> Response:
    """Returns what an authenticator app needs; it is on once a code of it is confirmed."""
    session = await _sudo(request)
    return Json(await studio_of(request).factors.set_up(_user_id(session)))


@router.post("/api/me/totp/confirm", responses=documented(RecoveryCodes))
@policy("sudo", limit="code")
async def confirm_totp(request: Request, form: TotpConfirmation) -> Response:
    """Switches two-step sign-in on, and returns recovery codes. They are shown once."""
    session = await _sudo(request)
    codes = await studio_of(request).factors.confirm(session, form.code, sign_out_others=form.sign_out_others)
    return Json(codes)


@router.delete("/api/me/totp", status_code=204)
@policy("sudo")
async def remove_totp(request: Request) -> Response:
    """Switches two-step sign-in off."""
    session = await _sudo(request)
    await studio_of(request).factors.remove(_user_id(session))
    return no_content()


@router.post("/api/me/recovery-codes", responses=documented(RecoveryCodes))
@policy("sudo")
async def renew_recovery_codes(request: Request) -> Response:
    """Returns new recovery codes; the old ones are void."""
    session = await _sudo(request)
    return Json(await studio_of(request).factors.renew_recovery_codes(_user_id(session)))


# -- the end -----------------------------------------------------------------------------------------------


@router.delete("/api/me", status_code=204)
@policy("sudo")
async def delete_account(request: Request) -> Response:
    """Deletes the caller's account. What they wrote in projects of others stays, without their name."""
    studio = studio_of(request)
    session = await _sudo(request)
    await studio.accounts.delete(_user_id(session))
    response = no_content()
    studio.door.take_back(response)
    return response
