"""Lean routes: found by their segments, arguments checked, and answering exactly as FastAPI would."""

from __future__ import annotations

import json
import re
from typing import Annotated

import pytest
from fastapi import Depends, Header, Request, Response
from starlette.routing import Match

from fluxstudio.app import ROUTERS, Application
from fluxstudio.http.inputs import Id, Limit
from fluxstudio.http.lean import Lane, Lanes, LeanRoute
from fluxstudio.http.write_lanes import WriteLanes
from fluxstudio.problems import Problem
from fluxstudio.projects.schemas import NewProject
from fluxstudio.testing import Caller, World, expect


async def page(request: Request, thing_id: Id, before: Id | None = None, limit: Limit = 50) -> Response:
    return Response()


async def needed(request: Request, q: str) -> Response:
    return Response()


PAGE = Lane("/api/things/{thing_id}/pages", page)


def errors_of(lane: Lane, segments: list[str], query: bytes) -> dict[str, str]:
    with pytest.raises(Problem) as caught:
        lane.arguments(segments, query)
    return {error.field: error.message for error in caught.value.errors}


def test_arguments_are_taken_from_path_query_and_defaults() -> None:
    assert PAGE.arguments(["7"], b"") == {"thing_id": 7, "before": None, "limit": 50}
    assert PAGE.arguments(["7"], b"limit=2&before=12") == {"thing_id": 7, "before": 12, "limit": 2}
    assert Lane("/api/n", needed).arguments([], b"q=a+b%20%C3%A9") == {"q": "a b \u00e9"}


def test_every_mistake_is_told_at_once() -> None:
    assert errors_of(PAGE, ["x"], b"limit=0&limits=3&before=1&before=2").keys() == {
        "path.thing_id",
        "query.limit",
        "query.limits",
        "query.before",
    }
    assert errors_of(Lane("/api/n", needed), [], b"") == {"query.q": "is required"}


def test_only_addresses_of_the_api_refuse_unknown_parameters() -> None:
    async def shown(request: Request, slug: str) -> Response:
        return Response()

    assert Lane("/p/{slug}", shown).arguments(["a"], b"utm_source=%ff") == {"slug": "a"}


def test_a_signature_that_a_lane_cannot_serve_is_refused_when_it_is_declared() -> None:
    async def no_request(thing_id: Id) -> Response:
        return Response()

    async def no_parameter(request: Request) -> Response:
        return Response()

    async def dependent(request: Request, user: Annotated[int, Depends(lambda: 1)]) -> Response:
        return Response()

    async def with_body(request: Request, form: NewProject) -> Response:
        return Response()

    async def with_header(request: Request, accept: Annotated[str, Header()]) -> Response:
        return Response()

    for endpoint in (no_request, no_parameter, dependent, with_body, with_header):
        with pytest.raises(TypeError):
            LeanRoute("/api/t/{thing_id}" if endpoint in (no_request, no_parameter) else "/api/t", endpoint)


def test_lanes_are_found_by_their_segments() -> None:
    one, many, literal = (
        Lane("/a/{thing_id}", page),
        Lane("/a/{thing_id}/b", page),
        Lane("/a/{thing_id}/c", page),
    )
    lanes = Lanes([one, many, literal])
    assert lanes.find("/a/7") == (one, ["7"])
    assert lanes.find("/a/7/b") == (many, ["7"])
    assert lanes.find("/a/7/c") == (literal, ["7"])
    for path in ("", "/", "/a", "/a/", "/a//b", "/a/7/", "/a/7/d", "/b/7", "a/7", "/a/7/b/"):
        assert lanes.find(path) is None, path


async def test_a_lane_answers_as_fastapi_would(app: Application, world: World) -> None:
    """The same request, once through the lanes and once without them."""
    paths = [
        "/api/me",
        "/api/projects",
        f"/api/projects/{world.project}",
        f"/api/projects/{world.project}/messages?limit=1&before={world.newest_message}",
        f"/api/projects/{world.other_project}",
        "/api/search?q=lighthouse",
        "/api/projects/abc",
        "/api/search?q=",
        f"/p/{world.slug}",
        "/p/none",
    ]
    routes = {route.path for router in ROUTERS for route in router.routes if isinstance(route, LeanRoute)}
    assert len(routes) > 10
    caller = Caller(app, world.ben)
    lean = [await caller.call("GET", path) for path in paths]
    edge = app._edge
    lanes, edge.lanes = edge.lanes, Lanes([])
    plain = [await caller.call("GET", path) for path in paths]
    edge.lanes = lanes
    for path, one, other in zip(paths, lean, plain, strict=True):
        assert (one.status_code, one.text) == (other.status_code, other.text), path
        for name in (
            "cache-control",
            "etag",
            "cache-status",
            "x-request-id",
        ):  # which the edge writes, for lanes
            one.headers.pop(name, None)
            other.headers.pop(name, None)
        assert one.headers == other.headers, path


def test_every_write_is_found_as_fastapi_finds_it(app: Application) -> None:
    """The tree prefers literal segments, FastAPI what was declared first: for no address does that differ."""
    writes = app._edge._writes
    for router in app.routers:
        for route in router.routes:
            if not isinstance(route, LeanRoute) or "GET" in (route.methods or ()):
                continue
            assert route.write_lane is not None, route.path  # or think about why FastAPI has to serve it
            path = re.sub(r"{\w+}", "7", route.path)
            for method in route.methods or ():
                scope = {"type": "http", "method": method, "path": path, "root_path": ""}
                first = next(
                    one for part in app.routers for one in part.routes if one.matches(scope)[0] is Match.FULL
                )
                found = writes._trees[method].find(path)
                assert found is not None
                assert found[0].endpoint is getattr(first, "endpoint", None) is route.endpoint, (method, path)


async def test_a_lean_write_answers_as_fastapi_would(
    app: Application, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request, once through the lanes and once without them, whatever is wrong with it."""
    project, message = f"/api/projects/{world.project}", {"body": "Hello"}
    asked: list[tuple[str, str, bytes | None]] = [
        ("PATCH", project, b'{"title": "New"}'),
        ("PATCH", project, b'\xef\xbb\xbf{"title": "With a BOM"}'),
        ("PATCH", project, b'{"title": 7}'),
        ("PATCH", project, b"{}"),
        ("PATCH", project, b"null"),
        ("PATCH", project, b"[1]"),
        ("PATCH", project, b'"text"'),
        ("PATCH", project, b"{"),
        ("PATCH", project, b'{"title": "a", "title": "b"}'),
        ("PATCH", project, b'{"title": "a", "more": 1}'),
        ("PATCH", project, None),
        ("PATCH", "/api/projects/abc", b'{"title": "New"}'),
        ("PATCH", "/api/projects/0", b"nonsense"),
        ("PATCH", f"/api/projects/{world.other_project}", b'{"title": "New"}'),
        ("PATCH", f"{project}?unknown=1", b'{"title": "New"}'),
        ("PUT", f"{project}/read", b'{"message_id": "7"}'),
        ("PUT", f"{project}/read", b'{"message_id": 1e400}'),
        ("PUT", f"{project}/read", json.dumps({"message_id": world.newest_message}).encode()),
        ("POST", f"{project}/messages", json.dumps({**message, "client_id": "no uuid"}).encode()),
        ("POST", f"{project}/messages/", json.dumps(message).encode()),
        ("POST", project, json.dumps(message).encode()),
        ("DELETE", f"{project}/members/{world.dora.id}", None),
        ("DELETE", f"{project}/members/x", None),
        ("POST", "/api/sign-out", b'{"ignored": true}'),
    ]

    async def answers() -> list[tuple[int, str, dict[str, str]]]:
        found = []
        for method, path, body in asked:
            person = world.dora if path == "/api/sign-out" else world.ada
            headers = {"content-type": "application/json"} if body is not None else {}
            response = await Caller(app, person).call(method, path, content=body, headers=headers)
            response.headers.pop("x-request-id", None)
            text = re.sub(r'"updated_at":"[^"]*"', "", response.text)
            found.append((response.status_code, text, dict(response.headers)))
        return found

    lean = await answers()
    assert {status for status, _, _ in lean} >= {200, 204, 400, 404, 405, 422}
    monkeypatch.setattr(app._edge, "_writes", WriteLanes([]))
    for question, one, other in zip(asked, lean, await answers(), strict=True):
        assert one == other, question


async def test_a_right_write_does_not_pass_fastapi_and_is_counted_by_its_route(
    app: Application, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("FastAPI was asked")

    monkeypatch.setattr(app._edge, "_app", never)
    posted = await Caller(app, world.ada).call(
        "POST", f"/api/projects/{world.project}/messages", json={"body": "Hello"}
    )
    assert posted.status_code == 201
    series = app.traffic.durations().series
    assert any(timed.labels == ["/api/projects/{project_id}/messages", "POST", "2xx"] for timed in series)


async def test_an_unforeseen_error_tells_nothing_and_is_logged(
    app: Application, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> bytes:
        raise ValueError("secret detail")

    studio = app.studio
    assert studio is not None
    monkeypatch.setattr(type(studio.projects), "list_of", broken)
    monkeypatch.setattr(type(studio.projects), "create", broken)
    caller = Caller(app, world.ada)
    for response in (
        await caller.call("GET", "/api/projects"),
        await caller.call("POST", "/api/projects", {"title": "x"}),
    ):
        assert expect(response, 500).json()["code"] == "internal-error"
        assert "secret" not in response.text
    assert caplog.text.count("ValueError: secret detail") == 2
    assert caplog.text.count("Traceback") == 2
    assert app.counters.failures == 2
