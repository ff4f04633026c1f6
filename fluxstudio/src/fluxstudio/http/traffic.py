"""Traffic: every request's id, and its duration by route, method and class of status.

This is outside of everything else, so that refusals by limits are counted too. It costs about 2 µs a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fluxstudio.http.request_ids import HEADER, RequestIds
from valtier.vitals import Durations, Timed

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_ROUTE = "none"
"""Answered before any route was found: unknown addresses, refusals by limits."""
_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


class _Cell:
    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0


class Traffic:
    """What this worker's requests took. Guarded by the event loop."""

    def __init__(self, ids: RequestIds) -> None:
        self._ids = ids
        self.open = 0
        """Requests that are being answered."""
        self._cells: dict[tuple[str, str, int], _Cell] = {}

    async def __call__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets `app` answer, and notes what it took."""
        status = 0
        request_id = self._ids.of(scope)

        def watch(message: Message) -> Awaitable[None]:
            nonlocal status
            if "status" in message:
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id)]
            return send(message)

        self.open += 1
        began = perf_counter()
        try:
            await app(scope, receive, watch)
        finally:
            self.open -= 1
            self.note(scope, status, perf_counter() - began)

    def note(self, scope: Scope, status: int, took_s: float) -> None:
        """Counts a request; `status` is 0 if it was not answered."""
        route = scope.get("route")
        key = (_NO_ROUTE if route is None else route.path, scope["method"], status // 100)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cell(key)
        cell.counts[bisect_left(BOUNDS_S, took_s)] += 1
        cell.total_s += took_s

    def _cell(self, key: tuple[str, str, int]) -> _Cell:
        path, method, kind = key
        if method not in _METHODS:  # whatever a client writes there
            key = (path, "other", kind)
        return self._cells.setdefault(key, _Cell())

    def durations(self) -> Durations:
        """Returns the durations of all, for the worker's report."""
        series = [
            Timed(
                [path, method, _CLASSES[kind] if kind < len(_CLASSES) else "none"],
                [*cell.counts],
                cell.total_s,
            )
            for (path, method, kind), cell in self._cells.items()
        ]
        return Durations(["route", "method", "status"], list(BOUNDS_S), series)
