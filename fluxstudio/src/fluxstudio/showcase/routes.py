"""HTTP of public pages."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Request, Response

from fluxstudio.http.answers import Json, documented, no_content
from fluxstudio.http.inputs import Id
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import policy
from fluxstudio.problems import problem_of
from fluxstudio.showcase import page
from fluxstudio.showcase.schemas import NewPage, Page
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["showcase"])

_HTML = "text/html; charset=utf-8"
_FOUND = page.HEADERS | {"cache-control": "public, no-cache"}
"""Others may keep a page, and ask each time whether it still stands: one that was withdrawn is gone at once."""
_NOT_FOUND = page.HEADERS | {"cache-control": "no-store"}


@router.get("/p/{slug}", include_in_schema=False)
@policy("anyone", cache="public, no-cache")
async def read_page(request: Request, slug: str) -> Response:
    """Shows a public page to everybody."""
    try:
        html = await studio_of(request).showcase.html(slug)
    except Exception as exc:  # noqa: BLE001 - whatever it is, people see a page
        problem = problem_of(exc)
        title = {404: "Nothing is shown here", 503: "Back in a moment"}.get(
            problem.status, "Something went wrong"
        )
        html = page.render_error(problem.status, title, problem.detail)
        return Response(html, problem.status, _NOT_FOUND | problem.headers, _HTML)
    tag = f'"{hashlib.blake2b(html, digest_size=16).hexdigest()}"'
    headers = _FOUND | {"etag": tag}
    if _has(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(html, 200, headers, _HTML)


def _has(request: Request, tag: str) -> bool:
    """Whether the client says that it has the page with this tag (RFC 9110, 13.1.2)."""
    given = [item.strip() for line in request.headers.getlist("if-none-match") for item in line.split(",")]
    return "*" in given or any(item.removeprefix("W/") == tag for item in given)


@router.put("/api/projects/{project_id}/showcase", responses=documented(Page))
@policy("signed in")
async def publish(request: Request, project_id: Id, form: NewPage) -> Response:
    """Publishes a project at /p/SLUG, or changes its page. For owners and editors."""
    studio = studio_of(request)
    return Json(await studio.showcase.publish(await studio.caller(request), project_id, form))


@router.delete("/api/projects/{project_id}/showcase", status_code=204)
@policy("signed in")
async def withdraw(request: Request, project_id: Id) -> Response:
    """Takes a project's public page off the web. For owners and editors."""
    studio = studio_of(request)
    await studio.showcase.withdraw(await studio.caller(request), project_id)
    return no_content()
