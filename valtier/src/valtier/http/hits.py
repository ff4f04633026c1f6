"""Hits: the short ways to an answer, for what was asked for and found before.

    local    the process keeps the response: nothing is awaited, and nothing is made anew but what changes each second
    remote   the process keeps none (`local=False`, or no room for any), but remembers how the entry begins and what it
             decoded from it; one GET, and if it is still that very entry (each has an id of its own), only the body is taken

Whatever does not fit takes the long way (`flow`), which decides the same.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from valtier.asgi import Header, Scope
from valtier.cache.engine import Engine
from valtier.cache.mirror import all_alive
from valtier.cache.spaces import Space
from valtier.cache.store import entry_suffix, tag_suffix
from valtier.errors import ValkeyError
from valtier.http import rules
from valtier.http.records import Stored
from valtier.http.request import Found, Request
from valtier.http.rules import Action, Decision, Options, RequestFacts, StoredPolicy

_SERVE = Action.SERVE
_MOST_KEYS = 20_000
_MOST_SEEN = 5_000
_MOST_VARIANTS = 100_000

Uri = tuple[str, bytes | None, bytes | str, bytes, tuple[tuple[bytes, bytes], ...]]
Selecting = tuple[str | None, tuple[tuple[bytes, bytes], ...]]


class Leaving:
    """A stored response as it leaves now."""

    __slots__ = ("fields", "own", "status", "stored", "until")

    def __init__(self, stored: Stored, own: tuple[Header, Header], until: float) -> None:
        self.stored = stored
        self.status = stored.policy.status
        self.own = own
        self.fields: list[Header] = [*stored.headers, *own]
        self.until = until  # then `Age` or `ttl` is another, or it is not fresh any more

    @classmethod
    def of(cls, stored: Stored, decision: Decision, now: float, options: Options) -> Leaving:
        return cls(stored, rules.hit_headers(decision, options), _changes_at(stored.policy, decision, now))


def _changes_at(policy: StoredPolicy, decision: Decision, now: float) -> float:
    older = policy.response_time - policy.initial_age + decision.age + 1
    shorter = policy.fresh_until - decision.ttl
    return min(older, max(now, shorter), policy.serve_until)


class Route:
    """Where the responses of a URI lie, as far as it was found out."""

    __slots__ = ("by_identity", "key", "names", "variants")

    def __init__(self, key: str, names: frozenset[bytes] | None, *, by_identity: bool) -> None:
        self.key = key
        self.names = names  # None: there is one response
        self.by_identity = by_identity
        self.variants: dict[Selecting, str] = {}


class Seen:
    """An entry in Valkey that was decoded before: all of it but the body."""

    __slots__ = ("head", "leaving", "length", "tags", "versions")

    def __init__(
        self, head: bytes, leaving: Leaving, length: int, tags: tuple[str, ...], versions: list[bytes | None]
    ) -> None:
        self.head = head
        self.leaving = leaving
        self.length = length
        self.tags = tags
        self.versions = versions


class Hits:
    """What this process remembers of keys and entries. Bounded: the oldest are forgotten. Guarded by the event loop."""

    def __init__(
        self,
        engine: Engine,
        options: Options,
        space: Space,
        *,
        now: Callable[[], float],
        local: bool,
    ) -> None:
        self.local = local
        self._routes: dict[Uri, Route] = {}
        self._variants = 0  # of all routes
        self._seen: dict[str, Seen] = {}
        self._engine = engine
        self._mirror = engine.mirror
        self._removal = engine.removal
        self._records = engine.mirror.records
        self._monotonic = engine.clock.monotonic
        self._options = options
        self._space = space
        self._counters = space.counters
        self._now = now

    # -- remembering ---------------------------------------------------------------------------------------

    def note(self, request: Request) -> None:
        """Remembers where the response to such a request lies, so that its key need not be made again."""
        routes, facts = self._routes, request.facts
        uri = self._uri_of(request.scope, facts)
        route = routes.get(uri)
        names = frozenset(request.names) if request.under_index else None
        if self._variants >= _MOST_VARIANTS:
            routes.clear()
            route, self._variants = None, 0
        if route is None or route.names != names or route.by_identity != request.by_identity:
            if len(routes) >= _MOST_KEYS:
                del routes[next(iter(routes))]
            route = routes[uri] = Route(request.part_key, names, by_identity=request.by_identity)
        if names is not None:
            self._variants += 1
            route.variants[self._selecting(request.scope, route, names, request.identity)] = request.key

    def note_entry(self, key: str, found: Found, leaving: Leaving) -> None:
        """Remembers an entry that was found in Valkey."""
        if self.local or not found.head:
            return
        if len(self._seen) >= _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        stored = leaving.stored
        without = Leaving(Stored(stored.policy, stored.headers, b""), leaving.own, leaving.until)
        self._seen[key] = Seen(found.head, without, len(stored.body), found.tags, list(found.versions))

    @staticmethod
    def _uri_of(scope: Scope, facts: RequestFacts) -> Uri:
        path = scope.get("raw_path") or scope["path"]
        return (scope["scheme"], facts.host, path, scope["query_string"], facts.keyed)

    @staticmethod
    def _selecting(scope: Scope, route: Route, names: frozenset[bytes], identity: str | None) -> Selecting:
        """Returns what selects a variant, as it is on the wire."""
        lines = tuple([(line[0], line[1]) for line in scope["headers"] if line[0] in names]) if names else ()
        return (identity if route.by_identity else None, lines)

    def _key_of(self, scope: Scope, facts: RequestFacts, identity: str | None) -> str | None:
        if facts.bypass is not None:
            return None
        path = scope.get("raw_path") or scope["path"]
        route = self._routes.get((scope["scheme"], facts.host, path, scope["query_string"], facts.keyed))
        if route is None:
            return None
        if route.names is None:
            return route.key
        return route.variants.get(self._selecting(scope, route, route.names, identity))

    # -- looking -------------------------------------------------------------------------------------------

    def kept(self, scope: Scope, facts: RequestFacts, identity: str | None) -> str | None:
        """Returns the key of what this process keeps for such a request, as far as can be told without reading it."""
        key = self._key_of(scope, facts, identity)
        if key is None or (record := self._records.get(key)) is None or record.derived is None:
            return None
        return key if record.quiet_until > self._monotonic() and all_alive(record.cells) else None

    def peek(
        self, scope: Scope, facts: RequestFacts, identity: str | None, key: str | None = None
    ) -> Leaving | None:
        """Returns what answers a request from this process. `key` is where that was said to be a moment ago."""
        if key is None and (key := self._key_of(scope, facts, identity)) is None:
            return None
        record = self._records.get(key)
        if record is None or record.quiet_until <= self._monotonic():
            return None
        leaving: Leaving | None = record.derived
        if leaving is None or (record.cells and not all_alive(record.cells)):
            return None
        leaving = self._fit(facts, leaving, identity)
        if leaving is not None:
            record.uses += 1
            record.derived = leaving
            self._counters.local_hits += 1
        return leaving

    async def fetch(
        self, scope: Scope, facts: RequestFacts, identity: str | None
    ) -> tuple[Leaving, bytes] | None:
        """Returns what answers a request from Valkey, and the body. One round trip, none if it was not seen there before."""
        key = self._key_of(scope, facts, identity)
        if key is None or (seen := self._seen.get(key)) is None:
            return None
        store, tags = self._engine.store, seen.tags
        if store is None or self._mirror.doubts(key) or self._removal.owes(key, tags):
            return None
        leaving = self._fit(facts, seen.leaving, identity)
        if leaving is None:
            return None
        suffix = entry_suffix(key)
        raw: bytes | None
        versions: list[bytes | None] = []
        try:
            name = store.name(suffix)
            if tags:
                raw, *versions = await store.valkey.call(
                    "MGET", name, *(store.name(tag_suffix(t)) for t in tags)
                )
            else:
                raw = await store.valkey.call("GET", name)
        except ValkeyError as exc:
            self._engine.spaces.note_error(self._counters, exc)
            return None
        current = raw is not None and versions == seen.versions and store.is_current(name, suffix)
        if raw is None or not current or not raw.startswith(seen.head):
            self._seen.pop(key, None)
            return None
        seen.leaving = leaving
        self._counters.remote_hits += 1
        return leaving, raw[len(raw) - seen.length :]

    def _fit(self, facts: RequestFacts, leaving: Leaving, identity: str | None) -> Leaving | None:
        """Returns it as it leaves now, or None if it is not what this request may have."""
        policy, now = leaving.stored.policy, self._now()
        if not policy.shareable and (facts.credentials or identity is not None):
            return None
        if facts.plain and now < leaving.until:
            return leaving
        decision = rules.reuse(policy, facts, now, self._options)
        if decision.action is not _SERVE:
            return None
        return leaving if now < leaving.until else Leaving.of(leaving.stored, decision, now, self._options)


def with_credentials(facts: RequestFacts) -> RequestFacts:
    """Returns the facts of a request of which the application knows who asks."""
    return facts if facts.credentials else msgspec.structs.replace(facts, credentials=True)
