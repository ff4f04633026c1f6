"""The gate: who asks, and whether the answer is kept already; between the limits and the edge.

Only GET and HEAD of routes that declare `cache=` for the tier pass the response cache. Everything else goes to the edge
as if there were none: writes, accounts and their security, health, the mailbox of development, streams. An answer for its
caller alone is looked for only once the session is known to be alive; who has none gets the edge's 401. So the cache never
decides who may see something: it keeps what the application said to this very user, until one of its names is invalidated.

`begin`, called by `valtier.asgi.Together`, sends the lookups of session and entry in the same write as that of the limit.
"""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from fluxstudio.accounts.sessions import IDENTITY, Doorkeeper
from fluxstudio.http.edge import Edge
from fluxstudio.http.kept import KEPT, UNCACHED
from fluxstudio.ops.counters import Counters
from valtier.http import ResponseCache
from valtier.sessions import SessionUnavailableError


class Gate:
    """ASGI: sessions, the response cache, and the edge behind them."""

    def __init__(
        self,
        edge: Edge,
        door: Doorkeeper,
        cache: ResponseCache | None,
        counters: Counters,
        *,
        private: bool = True,
    ) -> None:
        """`cache` is around `edge`; None: nothing is kept. `private` says whether answers for one caller are."""
        self._edge = edge
        self._door = door
        self._cache = cache
        self._counters = counters
        self._private = private

    def begin(self, scope: Scope) -> None:
        """Begins what can be looked up before the limit has decided. Never raises."""
        found = self._edge.lanes.of(scope)
        if found is None or (fields := found[0].fields) is None or UNCACHED in scope:
            return
        if not found[0].reads_query:
            scope["query_string"] = b""  # it makes no other page, and no other entry
        if fields.by_caller and not self._door.begin(scope):
            return
        if self._cache is not None and (self._private or not fields.by_caller):
            scope[KEPT] = not fields.by_caller or scope.get(IDENTITY) is not None
            self._cache.begin(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if KEPT in scope and self._cache is not None:
            if scope[KEPT] or await self._is_signed_in(scope):
                self._counters.requests += 1  # the edge counts the others
                await self._cache(scope, receive, send)
                return
            del scope[KEPT]
        await self._edge(scope, receive, send)

    async def _is_signed_in(self, scope: Scope) -> bool:
        try:
            session = await self._door.session(scope)
        except SessionUnavailableError:  # which the edge tells the client
            return False
        return session is not None and session.subject is not None
