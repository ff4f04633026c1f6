"""HTTP of projects and their members."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio import keys
from fluxstudio.http.answers import Json, documented, no_content
from fluxstudio.http.inputs import Id
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import for_caller, policy
from fluxstudio.projects.schemas import (
    MemberList,
    NewProject,
    PersonList,
    Project,
    ProjectChange,
    ProjectList,
    ReadMark,
    RoleChange,
)
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["projects"])


@router.get("/api/projects", responses=documented(ProjectList))
@policy("signed in", cache=for_caller(keys.PROJECTS_TTL_S, keys.of_projects))
async def list_projects(request: Request) -> Response:
    """Returns the caller's projects, the one with the latest activity first."""
    studio = studio_of(request)
    return Json(await studio.projects.list_of(await studio.caller(request)))


@router.post("/api/projects", status_code=201, responses=documented(Project, 201))
@policy("signed in")
async def create_project(request: Request, form: NewProject) -> Response:
    """Makes a project, which the caller owns."""
    studio = studio_of(request)
    project_id, body = await studio.projects.create(await studio.caller(request), form)
    response = Json(body, 201)
    response.headers["location"] = f"/api/projects/{project_id}"
    return response


@router.get("/api/projects/{project_id}", responses=documented(Project))
@policy("signed in", cache=for_caller(keys.PROJECT_TTL_S, keys.of_project))
async def read_project(request: Request, project_id: Id) -> Response:
    """Returns one of the caller's projects."""
    studio = studio_of(request)
    return Json(await studio.projects.get(await studio.caller(request), project_id))


@router.patch("/api/projects/{project_id}", responses=documented(Project))
@policy("signed in")
async def change_project(request: Request, project_id: Id, form: ProjectChange) -> Response:
    """Changes title or description, for owners and editors; archives and un-archives, for owners."""
    studio = studio_of(request)
    return Json(await studio.projects.change(await studio.caller(request), project_id, form))


@router.get("/api/projects/{project_id}/members", responses=documented(MemberList))
@policy("signed in", cache=for_caller(keys.PROJECT_TTL_S, keys.of_members))
async def list_members(request: Request, project_id: Id) -> Response:
    """Returns the members of one of the caller's projects."""
    studio = studio_of(request)
    return Json(await studio.projects.members_of(await studio.caller(request), project_id))


@router.get("/api/people", responses=documented(PersonList))
@policy("signed in")
async def list_people(request: Request) -> Response:
    """Returns the people with whom the caller shares a project: who can be added to another by name."""
    studio = studio_of(request)
    return Json(await studio.projects.people_of(await studio.caller(request)))


@router.put("/api/projects/{project_id}/members/{user_id}", status_code=204)
@policy("signed in")
async def set_role(request: Request, project_id: Id, user_id: Id, form: RoleChange) -> Response:
    """Adds a member, or changes what one is. For owners."""
    studio = studio_of(request)
    await studio.projects.set_role(await studio.caller(request), project_id, user_id, form.role)
    return no_content()


@router.delete("/api/projects/{project_id}/members/{user_id}", status_code=204)
@policy("signed in")
async def remove_member(request: Request, project_id: Id, user_id: Id) -> Response:
    """Removes a member. For owners, and for those who leave themselves; the last owner can't."""
    studio = studio_of(request)
    await studio.projects.remove_member(await studio.caller(request), project_id, user_id)
    return no_content()


@router.put("/api/projects/{project_id}/read", status_code=204)
@policy("signed in")
async def mark_read(request: Request, project_id: Id, form: ReadMark) -> Response:
    """Notes up to which message the caller has read."""
    studio = studio_of(request)
    await studio.projects.mark_read(await studio.caller(request), project_id, form.message_id)
    return no_content()
