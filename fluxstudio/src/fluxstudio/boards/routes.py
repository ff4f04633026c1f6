"""HTTP of boards: the REST twins of what Socket.IO carries, and what only HTTP does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import StringConstraints
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from fluxstudio.boards.access import Actor, guest
from fluxstudio.boards.elements import parse_batch
from fluxstudio.boards.schemas import (
    Applied,
    Batch,
    Board,
    BoardChange,
    BoardList,
    Guest,
    Image,
    LinkList,
    NewBoard,
    NewLink,
    NewLinkCreated,
    NewRevision,
    Revision,
    RevisionList,
    Scene,
)
from fluxstudio.http.answers import Json, documented, encode, no_content
from fluxstudio.http.body import ClientGoneError
from fluxstudio.http.inputs import Id, Version
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import policy
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["boards"])

FileId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]

_IMAGE_HEADERS = {
    "cache-control": "private, max-age=31536000, immutable",
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


async def actor_of(request: Request) -> Actor:
    """Returns who sends a request: a guest with `Authorization: Share TOKEN`, or the signed-in user."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "share":
        return guest(token.strip())
    return Actor(await studio_of(request).caller(request))


@router.get("/api/projects/{project_id}/boards", responses=documented(BoardList))
@policy("signed in")
async def list_boards(request: Request, project_id: Id) -> Response:
    """Returns the boards of one of the caller's projects."""
    studio = studio_of(request)
    return Json(await studio.boards.list_of(await studio.caller(request), project_id))


@router.post("/api/projects/{project_id}/boards", status_code=201, responses=documented(Board, 201))
@policy("signed in")
async def create_board(request: Request, project_id: Id, form: NewBoard) -> Response:
    """Makes an empty board. For owners and editors."""
    studio = studio_of(request)
    board_id, body = await studio.boards.create(
        await studio.caller(request), project_id, form.title, form.folder
    )
    response = Json(body, 201)
    response.headers["location"] = f"/api/boards/{board_id}/scene"
    return response


@router.patch("/api/boards/{board_id}", responses=documented(Board))
@policy("signed in")
async def change_board(request: Request, board_id: Id, form: BoardChange) -> Response:
    """Renames a board, or moves it to a folder. For owners and editors."""
    studio = studio_of(request)
    return Json(await studio.boards.change(await studio.caller(request), board_id, form))


@router.delete("/api/boards/{board_id}", status_code=204)
@policy("signed in")
async def delete_board(request: Request, board_id: Id) -> Response:
    """Deletes a board with all its revisions. For owners and editors."""
    studio = studio_of(request)
    await studio.boards.delete(await studio.caller(request), board_id)
    return no_content()


@router.get("/api/boards/{board_id}/scene", responses=documented(Scene))
@policy("member or guest")
async def read_scene(request: Request, board_id: Id, since: Version = 0) -> Response:
    """Returns the elements of a board; with `since`, those that have changed after that version."""
    studio = studio_of(request)
    return Json(await studio.boards.scene(await actor_of(request), board_id, since))


@router.post("/api/boards/{board_id}/elements", responses=documented(Applied))
@policy("member or guest")
async def change_elements(request: Request, board_id: Id, form: Batch) -> Response:
    """Merges states of elements into the board: of two, the higher version holds, then the lower nonce."""
    actor = await actor_of(request)
    elements = parse_batch(form.elements)
    return Json(encode(await studio_of(request).boards.apply(actor, board_id, elements)))


@router.get("/api/boards/{board_id}/revisions", responses=documented(RevisionList))
@policy("signed in")
async def list_revisions(request: Request, board_id: Id) -> Response:
    """Returns the revisions of a board, the newest first."""
    studio = studio_of(request)
    return Json(await studio.boards.list_revisions(await studio.caller(request), board_id))


@router.post("/api/boards/{board_id}/revisions", status_code=201, responses=documented(Revision, 201))
@policy("signed in")
async def keep_revision(request: Request, board_id: Id, form: NewRevision) -> Response:
    """Keeps the board as it is under a name. For owners and editors."""
    studio = studio_of(request)
    return Json(await studio.boards.keep(await studio.caller(request), board_id, form.name), 201)


@router.get("/api/boards/{board_id}/revisions/{revision_id}", responses=documented(list[dict]))  # type: ignore[type-arg]
@policy("signed in")
async def read_revision(request: Request, board_id: Id, revision_id: Id) -> Response:
    """Returns the elements of a revision."""
    studio = studio_of(request)
    return Json(await studio.boards.revision(await studio.caller(request), board_id, revision_id))


@router.post("/api/boards/{board_id}/revisions/{revision_id}/restore", responses=documented(Applied))
@policy("signed in")
async def restore_revision(request: Request, board_id: Id, revision_id: Id) -> Response:
    """Makes the board what it was, for everybody; what it is now is kept as a revision. For owners and editors."""
    studio = studio_of(request)
    return Json(encode(await studio.boards.restore(await studio.caller(request), board_id, revision_id)))


@router.get("/api/boards/{board_id}/links", responses=documented(LinkList))
@policy("signed in")
async def list_links(request: Request, board_id: Id) -> Response:
    """Returns the links for guests. For owners and editors."""
    studio = studio_of(request)
    return Json(await studio.links.list_links(await studio.caller(request), board_id))


@router.post("/api/boards/{board_id}/links", status_code=201, responses=documented(NewLinkCreated, 201))
@policy("signed in")
async def create_link(request: Request, board_id: Id, form: NewLink) -> Response:
    """Makes a link for guests. Its token is told once. For owners and editors."""
    studio = studio_of(request)
    body = await studio.links.share(
        await studio.caller(request), board_id, may_edit=form.may_edit, expires_in_s=form.expires_in_s
    )
    return Json(body, 201)


@router.delete("/api/boards/{board_id}/links/{link_id}", status_code=204)
@policy("signed in")
async def revoke_link(request: Request, board_id: Id, link_id: Id) -> Response:
    """Makes a link open nothing any more. For owners and editors."""
    studio = studio_of(request)
    await studio.links.revoke(await studio.caller(request), board_id, link_id)
    return no_content()


@router.get("/api/shared", responses=documented(Guest))
@policy("anyone")
async def open_link(request: Request) -> Response:
    """Returns the board that a link opens. Its token comes as `Authorization: Share TOKEN`, never in an address."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    actor = guest(token.strip() if kind.lower() == "share" else "")
    return Json(await studio_of(request).links.open_link(actor))


@router.put("/api/boards/{board_id}/images/{file_id}", responses=documented(Image))
@policy("member or guest")
async def put_image(request: Request, board_id: Id, file_id: FileId) -> Response:
    """Stores an image: a PNG, JPEG, GIF or WebP file as the body."""
    length = request.headers.get("content-length", "")
    body = await studio_of(request).images.put(
        await actor_of(request),
        board_id,
        file_id,
        _chunks(request),
        int(length) if length.isdigit() else None,
    )
    return Json(body)


@router.get("/api/boards/{board_id}/images/{file_id}")
@policy("member or guest", cache="private, max-age=31536000, immutable")
async def read_image(request: Request, board_id: Id, file_id: FileId) -> Response:
    """Returns an image of a board."""
    image, content = await studio_of(request).images.get(await actor_of(request), board_id, file_id)
    etag = f'"{image.sha256}"'
    headers = {**_IMAGE_HEADERS, "etag": etag}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    headers["content-length"] = str(image.size_bytes)
    return StreamingResponse(content, headers=headers, media_type=image.content_type)


@policy("signed in")
async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise ClientGoneError from None
