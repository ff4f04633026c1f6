"""HTTP of public pages."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio import keys
from fluxstudio.http.answers import Html, Json, documented, no_content
from fluxstudio.http.inputs import Id
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import for_all, policy
from fluxstudio.problems import problem_of
from fluxstudio.showcase import page
from fluxstudio.showcase.schemas import NewPage, Page
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["showcase"])

_NOT_FOUND = page.HEADERS | {"cache-control": "no-store"}
_DAY_S = 86_400


@router.get("/p/{slug}", include_in_schema=False)
@policy("anyone", cache=for_all(keys.SHOWCASE_TTL_S, keys.of_showcase, if_error_s=_DAY_S))
async def read_page(request: Request, slug: str) -> Response:
    """Shows a public page to everybody."""
    try:
        return Html(await studio_of(request).showcase.html(slug), page.HEADERS)
    except Exception as exc:  # noqa: BLE001 - whatever it is, people see a page
        problem = problem_of(exc)
        title = {404: "Nothing is shown here", 503: "Back in a moment"}.get(
            problem.status, "Something went wrong"
        )
        html = page.render_error(problem.status, title, problem.detail)
        return Response(html, problem.status, _NOT_FOUND | problem.headers, "text/html; charset=utf-8")


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
