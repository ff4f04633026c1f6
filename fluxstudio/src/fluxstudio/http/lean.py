"""Lean routes: endpoints that are called without FastAPI's machinery around each request. Here GET; see `write_lanes`.

A route declared through `LeanRoute` is documented and matched by FastAPI as any other, and its endpoint has the same
signature: the request, then parameters of the path and of the query. For the requests of production its signature is
compiled once, and `Lanes` finds and calls it directly. A cached answer then costs 17 to 33 µs of CPU in all, lookups
included; through FastAPI 110 to 170 µs.

Decided purely: `Lane.arguments` maps path segments and a query string to arguments, or says what is wrong with them.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from fluxstudio.http.kept import Fields
from fluxstudio.http.policy import policy_of
from fluxstudio.http.tree import Tree
from fluxstudio.http.write_lanes import WriteLane
from fluxstudio.problems import FieldError, Problem, field_error, invalid

_MAX_QUERY_FIELDS = 20
_REQUIRED = inspect.Parameter.empty
_METHODS = frozenset({"GET", "HEAD"})
_FOUND = "fluxstudio.lane"

Endpoint = Callable[..., Awaitable[Response]]


class LeanRoute(APIRoute):
    """An APIRoute whose endpoint may also be called directly."""

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.lane: Lane | None = None
        if "GET" in (self.methods or ()):
            needs = self.dependant
            if needs.dependencies or needs.header_params or needs.cookie_params or needs.body_params:
                raise TypeError(
                    f"{endpoint.__name__}: a lean GET endpoint takes the request, path and query only"
                )
            self.lane = Lane(path, endpoint)
        self.write_lane = WriteLane.of(self)


class Lane:
    """A compiled endpoint.

    Raises (when it is made):
        TypeError: the signature takes something else than the request, path and query parameters.
    """

    def __init__(self, path: str, endpoint: Endpoint) -> None:
        self.path = path
        self.endpoint = endpoint
        self._strict = path.startswith("/api/")
        hints = get_type_hints(endpoint, include_extras=True)
        first, *parameters = inspect.signature(endpoint).parameters.values()
        if hints.get(first.name) is not Request:
            raise TypeError(f"{endpoint.__name__}: a GET endpoint's first parameter is `request: Request`")
        in_path = [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]
        adapters = {p.name: TypeAdapter(hints[p.name]) for p in parameters}
        missing = set(in_path) - adapters.keys()
        if missing:
            raise TypeError(f"{endpoint.__name__} has no parameter for {', '.join(missing)} of {path}")
        self._in_path = [(name, adapters[name]) for name in in_path]
        self._in_query = {p.name: (adapters[p.name], p.default) for p in parameters if p.name not in in_path}
        self._defaults = {name: default for name, (_, default) in self._in_query.items()}
        self._has_required = _REQUIRED in self._defaults.values()
        self.reads_query = self._strict or bool(self._in_query)
        declared = policy_of(endpoint)
        kept = declared is not None and declared.cache.tier is not None
        self.fields = Fields(declared.cache) if declared is not None and kept else None
        """What its answers say of caching; None: nobody may keep them."""

    async def __call__(self, request: Request, segments: Sequence[str]) -> Response:
        return await self.endpoint(request, **self.arguments(segments, request.scope["query_string"]))

    def arguments(self, segments: Sequence[str], query: bytes) -> dict[str, Any]:
        """Returns the endpoint's arguments.

        Raises:
            Problem: 400, the query is not percent-encoded UTF-8; 422, a parameter is missing, unknown, given twice or
                not acceptable.
        """
        errors: list[FieldError] = []
        given: dict[str, Any] = {}
        for (name, adapter), segment in zip(self._in_path, segments, strict=True):
            _read(given, errors, "path", name, adapter, segment)
        if query and self.reads_query:
            self._read_query(given, errors, query)
        if self._has_required:
            for name, default in self._defaults.items():
                if default is _REQUIRED and name not in given and not _names(errors, name):
                    errors.append(FieldError(f"query.{name}", "is required"))
        if errors:
            raise invalid(errors)
        return {**self._defaults, **given}

    def _read_query(self, given: dict[str, Any], errors: list[FieldError], query: bytes) -> None:
        seen: set[str] = set()
        for name, text in parse_query(query):
            if name in seen:
                errors.append(field_error(("query", name), "is given more than once"))
            elif name in self._in_query:
                _read(given, errors, "query", name, self._in_query[name][0], text)
            elif self._strict:
                errors.append(field_error(("query", name), "is not a parameter of this address"))
            seen.add(name)


def _read(
    given: dict[str, Any],
    errors: list[FieldError],
    place: str,
    name: str,
    adapter: TypeAdapter[Any],
    text: str,
) -> None:
    try:
        given[name] = adapter.validate_python(text)
    except ValidationError as exc:
        errors.extend(field_error((place, name), error["msg"]) for error in exc.errors(include_url=False))


def _names(errors: list[FieldError], name: str) -> bool:
    return any(error.field == f"query.{name}" for error in errors)


def parse_query(query: bytes) -> list[tuple[str, str]]:
    """Returns the names and values of a query string.

    Raises:
        Problem: 400, it is not percent-encoded UTF-8, or has very many fields.
    """
    if query.count(b"&") >= _MAX_QUERY_FIELDS:
        raise Problem(400, "too-many-fields", f"The query may have {_MAX_QUERY_FIELDS} fields at most.")
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError as exc:
        raise Problem(400, "malformed-query", "The query is not percent-encoded UTF-8.") from exc


class Lanes:
    """All lanes, by path."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._tree = Tree(lanes)

    def of(self, scope: Scope) -> tuple[Lane, list[str]] | None:
        """Returns the lane of a request, as `find` does, and notes it as its route; it is looked for once."""
        if _FOUND in scope:
            known: tuple[Lane, list[str]] | None = scope[_FOUND]
            return known
        found = scope[_FOUND] = self.find(scope["path"]) if scope["method"] in _METHODS else None
        if found is not None:
            scope["route"] = found[0]  # whoever counts requests counts those that the cache answers too
        return found

    def names(self, scope: Scope, caller: str | None) -> tuple[str, ...]:
        """Returns what the answer to a request will be made of: the response cache asks before it looks for one."""
        found = self.of(scope)
        return () if found is None or found[0].fields is None else found[0].fields.names(caller, found[1])

    def find(self, path: str) -> tuple[Lane, list[str]] | None:
        """Returns the lane of a path, and the segments that stand for its parameters."""
        return self._tree.find(path)
