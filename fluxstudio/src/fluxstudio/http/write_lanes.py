"""Lean writes: POST, PUT, PATCH and DELETE endpoints that are called without FastAPI's machinery, where all is in order.

An endpoint that takes the request, parameters of its path and at most one model as its JSON body is compiled once. A
request whose parameters and body are right is handed to it directly: to find the route among all, to solve no dependencies,
to parse the body once more and to enter two stacks of contexts costs FastAPI more than all else of the edge. Whatever is
wrong with a request is FastAPI's to tell, as ever: nothing has been called by then.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, get_type_hints

from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxstudio.http.body import JSON
from fluxstudio.http.strict_json import UNREADABLE
from fluxstudio.http.tree import Tree

Endpoint = Callable[..., Awaitable[Response]]


class WriteLane:
    """A compiled endpoint."""

    __slots__ = ("_body", "_body_name", "_in_path", "endpoint", "methods", "path")

    def __init__(
        self, path: str, methods: Iterable[str], endpoint: Endpoint, hints: dict[str, Any], body: str | None
    ) -> None:
        self.path = path
        self.methods = frozenset(methods)
        self.endpoint = endpoint
        self._in_path = [(name, TypeAdapter[Any](hints[name])) for name in _names(path)]
        self._body_name = body
        self._body = None if body is None else TypeAdapter[Any](hints[body])

    @classmethod
    def of(cls, route: APIRoute) -> WriteLane | None:
        """Compiles a route's endpoint; None if it takes more than that, or answers with something else than a response."""
        endpoint, needs, methods = route.endpoint, route.dependant, route.methods or set()
        if "GET" in methods or ":" in route.path or not inspect.iscoroutinefunction(endpoint):
            return None
        if needs.dependencies or needs.query_params or needs.header_params or needs.cookie_params:
            return None
        hints = get_type_hints(endpoint, include_extras=True)
        first, *others = inspect.signature(endpoint).parameters
        bodies = [name for name in others if name not in _names(route.path)]
        answers, body = hints.get("return"), bodies[0] if bodies else None
        if (
            hints.get(first) is not Request
            or len(bodies) > 1
            or len(others) - len(bodies) != len(_names(route.path))
        ):
            return None
        if not (isinstance(answers, type) and issubclass(answers, Response)):
            return None
        if body is not None and not (isinstance(hints[body], type) and issubclass(hints[body], BaseModel)):
            return None
        return cls(route.path, methods, endpoint, hints, body)

    def arguments(self, scope: Scope, segments: Sequence[str]) -> dict[str, Any] | None:
        """Returns the endpoint's arguments; None if anything is wrong with them."""
        given: dict[str, Any] = {}
        try:
            for (name, adapter), segment in zip(self._in_path, segments, strict=True):
                given[name] = adapter.validate_python(segment)
            if self._body is not None and self._body_name is not None:
                value = scope[JSON]
                if value is UNREADABLE or value is None:
                    return None
                given[self._body_name] = self._body.validate_python(value, from_attributes=True)
        except ValidationError:
            return None
        return given


class WriteLanes:
    """All lean writes, by method and path."""

    def __init__(self, lanes: Iterable[WriteLane]) -> None:
        lanes = list(lanes)
        methods = {method for lane in lanes for method in lane.methods}
        self._trees = {method: Tree([lane for lane in lanes if method in lane.methods]) for method in methods}

    def call(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[Response] | None:
        """Calls the endpoint of a request whose body was read; None if that is for FastAPI to do."""
        tree = self._trees.get(scope["method"])
        if tree is None or JSON not in scope or (found := tree.find(scope["path"])) is None:
            return None
        lane, segments = found
        arguments = lane.arguments(scope, segments)
        if arguments is None:
            return None
        scope["route"] = lane
        return lane.endpoint(Request(scope, receive, send), **arguments)


def _names(path: str) -> list[str]:
    return [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]
