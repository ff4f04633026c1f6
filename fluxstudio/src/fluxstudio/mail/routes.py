"""HTTP of the mailbox of development. In production these addresses do not exist."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import policy
from fluxstudio.mail import page
from fluxstudio.mail.mailbox import Mailbox
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, include_in_schema=False)

_HTML = "text/html; charset=utf-8"


def _mailbox(request: Request) -> Mailbox:
    mailbox = studio_of(request).mailbox
    if mailbox is None:
        raise TypeError("these routes are for an application with a mailbox")
    return mailbox


@router.get("/dev/mail")
@policy("anyone")
async def list_mail(request: Request) -> Response:
    """Shows the mail that has arrived."""
    return Response(page.render_list(_mailbox(request).newest()), 200, page.HEADERS, _HTML)


@router.get("/dev/mail/{name}")
@policy("anyone")
async def read_mail(request: Request, name: str) -> Response:
    """Shows one mail."""
    mail = _mailbox(request).find(name)
    if mail is None:
        return Response(page.render_missing(), 404, page.HEADERS, _HTML)
    return Response(page.render_mail(mail), 200, page.HEADERS, _HTML)
