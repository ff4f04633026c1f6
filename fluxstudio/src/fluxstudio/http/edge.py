"""The edge: the outermost part of the application, which every request passes.

It answers GET requests through the lean lanes, lets unsafe requests in only from the same site and with a small JSON
body, and turns every exception into a problem.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fluxstudio.http.body import ClientGoneError, is_upload, read_body
from fluxstudio.http.kept import KEPT
from fluxstudio.http.lean import Lanes, parse_query
from fluxstudio.http.origin import SAFE_METHODS, is_cross_site
from fluxstudio.http.write_lanes import WriteLanes
from fluxstudio.ops.counters import Counters
from fluxstudio.problems import Problem, problem_of


class Edge:
    """ASGI: the lanes, and `app` for everything else."""

    def __init__(self, app: ASGIApp, lanes: Lanes, writes: WriteLanes, counters: Counters) -> None:
        self._app = app
        self.lanes = lanes
        self._writes = writes
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if KEPT not in scope:
            self._counters.requests += 1
        found = self.lanes.of(scope)
        if found is not None:
            lane, segments = found
            try:
                response = await lane(Request(scope, receive), segments)
                if lane.fields is not None:
                    response = lane.fields.declare(scope, response)
            except Exception as exc:  # noqa: BLE001 - the edge: every exception becomes an answer
                response = self._explain(exc).response()
            if scope["method"] == "HEAD":
                response.body = b""
            await response(scope, receive, send)
        else:
            await self._pass(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = complete = False

        async def watch(message: Message) -> None:
            nonlocal started, complete
            started = True
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            receive = await _admit(scope, receive)
            called = self._writes.call(scope, receive, send)
            if called is not None:
                response = await called
                started = True  # what goes wrong from here on is the server's
                await response(scope, receive, send)
                return
            await self._app(scope, receive, watch)
        except ClientGoneError:  # whether anybody is still there to read the answer, the server does not tell
            await _incomplete().response()(scope, receive, send)
        except Exception as exc:
            if complete:  # FastAPI's handler of unforeseen exceptions has answered, and raises them again
                return
            if started:
                raise
            await self._explain(exc).response()(scope, receive, send)

    async def explain(self, _: Request, exc: Exception) -> Response:
        """Answers an exception: the handler that FastAPI is given."""
        return self._explain(exc).response()

    def _explain(self, exc: Exception) -> Problem:
        problem = problem_of(exc)
        if problem.status >= 500:
            self._counters.failures += 1
        return problem


def _incomplete() -> Problem:
    return Problem(
        400,
        "incomplete-body",
        "The body ended before it was complete, or its chunks are malformed.",
        headers={"connection": "close"},
    )


async def _admit(scope: Scope, receive: Receive) -> Receive:
    """Checks what has to be right whatever the address is. Returns the `receive` to go on with."""
    if "\0" in scope["path"] or not scope["path"].isprintable() or "\ufffd" in scope["path"]:
        raise Problem(
            400, "malformed-address", "The address is not percent-encoded UTF-8 without control characters."
        )
    if scope["query_string"]:
        parse_query(scope["query_string"])
    if scope["method"] in SAFE_METHODS:
        return receive
    if is_cross_site(scope["headers"]):
        raise Problem(
            403, "cross-site", "This request comes from another site's page, and was not carried out."
        )
    return receive if is_upload(scope) else await read_body(scope, receive)
