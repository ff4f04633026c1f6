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
from valtier.cache.mirror import Record, all_alive
from valtier.cache.spaces import Space
from valtier.cache.store import entry_suffix, tag_suffix
from valtier.errors import ValkeyError
from valtier.http import rules
from valtier.http.records import Stored
from valtier.http.request import Found, Request
from valtier.http.rules import Action, Decision, Kind, Options, RequestFacts, StoredPolicy

_SERVE = Action.SERVE
_PLAIN = RequestFacts()
_HOST = Kind.HOST
_CREDENTIAL = Kind.CREDENTIAL
_TAGS = Kind.IF_NONE_MATCH
_MOST_KEYS = 20_000
_MOST_SEEN = 5_000
_MOST_VARIANTS = 20_000
_LONGEST = 500
"""Bytes of the fields that select a variant: those of longer ones, and credentials, are not remembered."""
_MOST_GUESSES = 10_000

Uri = tuple[str, bytes | None, bytes | str, bytes, tuple[tuple[bytes, bytes], ...]]
Selecting = tuple[str | None, tuple[tuple[bytes, bytes], ...]]


class Leaving:
    """A stored response as it leaves now."""

    __slots__ = (
        "_unchanged",
        "body",
        "etag",
        "fields",
        "own",
        "shareable",
        "status",
        "stored",
        "until",
        "until_here",
    )

    def __init__(
        self, stored: Stored, own: tuple[Header, Header], until: float, until_here: float = 0.0
    ) -> None:
        policy = stored.policy
        self.stored = stored
        self.status = policy.status
        self.body = stored.body
        self.etag = policy.etag if 200 <= policy.status < 300 else None  # RFC 9110 §13.2.1
        self.shareable = policy.shareable
        self.own = own
        self.fields: list[Header] = [*stored.headers, *own]
        self.until = until  # then `Age` or `ttl` is another, or it is not fresh any more
        self.until_here = until_here  # the same by the monotonic clock
        self._unchanged: list[Header] | None = None

    @classmethod
    def of(
        cls, stored: Stored, decision: Decision, now: float, options: Options, here: float = 0.0
    ) -> Leaving:
        """Returns it as it leaves at the moment `now`, which is `here` by the monotonic clock."""
        until = _changes_at(stored.policy, decision, now)
        return cls(stored, rules.hit_headers(decision, options), until, here + until - now)

    def unchanged(self, options: Options) -> list[Header]:
        """Returns the fields of the 304 for a client that has this very entity tag."""
        fields = self._unchanged
        if fields is None:
            asked = rules.RequestFacts("GET", b"", plain=False, if_none_match=self.etag)
            policy, headers = self.stored.policy, list(self.stored.headers)
            made = rules.answer(asked, policy, headers, len(self.body), options, boundary=b"")
            fields = self._unchanged = [*made.headers, *self.own]
        return fields


Kept = tuple[Record, Leaving, bool, str | None]
"""What answers a request from this process for as long as the record is kept; whether its client has it already, and whom
it is for."""


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
        other_clock: bool = False,
    ) -> None:
        """`other_clock`: whether `now` is not the engine's time."""
        self.local = local
        self._other_clock = other_clock
        self._routes: dict[Uri, Route] = {}
        self._variants = 0  # of all routes
        self._seen: dict[str, Seen] = {}
        self._guesses: dict[int, str] = {}
        self._credential_names = frozenset(name.lower().encode() for name in options.credentials)
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
            selecting = self._selecting(request.scope, route, names, request.identity)
            if (
                self._credential_names.isdisjoint(names)
                and sum([len(line[1]) for line in selecting[1]]) <= _LONGEST
            ):
                self._variants += 1
                route.variants[selecting] = request.key

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
        return (scope.get("scheme", "http"), facts.host, path, scope["query_string"], facts.keyed)

    @staticmethod
    def _selecting(scope: Scope, route: Route, names: frozenset[bytes], identity: str | None) -> Selecting:
        """Returns what selects a variant, as it is on the wire."""
        lines = tuple([(line[0], line[1]) for line in scope["headers"] if line[0] in names]) if names else ()
        return (identity if route.by_identity else None, lines)

    def where(self, scope: Scope, facts: RequestFacts, identity: str | None) -> str | None:
        """Returns the key of what such a request had found the last time."""
        if facts.bypass is not None:
            return None
        path = scope.get("raw_path") or scope["path"]
        route = self._routes.get(
            (scope.get("scheme", "http"), facts.host, path, scope["query_string"], facts.keyed)
        )
        if route is None:
            return None
        if route.names is None:
            return route.key
        return route.variants.get(self._selecting(scope, route, route.names, identity))

    def key_of(
        self, scope: Scope, facts: RequestFacts, identity: str | None, names: tuple[bytes, ...]
    ) -> str | None:
        """Returns the key of one identity's response that varies by these names, if it was noted before."""
        route = self._routes.get(self._uri_of(scope, facts))
        if route is None or not route.by_identity or route.names is None or route.names != frozenset(names):
            return None
        return route.variants.get(self._selecting(scope, route, route.names, identity))

    # -- looking -------------------------------------------------------------------------------------------

    def guess(self, scope: Scope, identity: str | None) -> None:
        """Remembers whose credentials these were, to look early for the right response the next time.

        A guess only says where to look: what is found is used if the application names the same identity. Of the
        credentials no more is kept than a hash of this process.
        """
        secret = self._secret_of(scope)
        if identity is None:
            self._guesses.pop(secret, None)
        else:
            if len(self._guesses) >= _MOST_GUESSES:
                del self._guesses[next(iter(self._guesses))]
            self._guesses[secret] = identity

    def kept(  # noqa: C901 - a call costs a tenth of it
        self, scope: Scope, identity: str | None, *, guesses: bool = False
    ) -> Kept | None:
        """Returns what answers a request at once. In one go, as this is what a hit costs: about 1 µs.

        `guesses`: where it is not known who asks, for whom these credentials were the last time.
        """
        if scope["method"] != "GET":
            return None
        host: bytes | None = None
        tag: bytes | None = None
        secret = 0
        credentials = identity is not None
        matters = self._options.matters
        for name, value in scope["headers"]:
            kind = matters.get(name)
            if kind is None:
                continue
            if kind is _HOST and host is None:
                host = value
            elif kind is _CREDENTIAL:
                credentials = True
                if guesses:
                    secret = hash((secret, value))
            elif kind is _TAGS and tag is None:
                tag = value
            else:
                return None
        if secret and identity is None:
            identity = self._guesses.get(secret)
        route = self._routes.get(
            (
                scope.get("scheme", "http"),
                host,
                scope.get("raw_path") or scope["path"],
                scope["query_string"],
                (),
            )
        )
        if route is None:
            return None
        if route.names is None:
            key: str | None = route.key
        else:
            key = route.variants.get(self._selecting(scope, route, route.names, identity))
        record = self._records.get(key)  # type: ignore[arg-type]
        if record is None:
            return None
        moment = self._monotonic()
        leaving: Leaving | None = record.derived
        if leaving is None or record.quiet_until <= moment:
            return None
        if (credentials and not leaving.shareable) or (tag is not None and tag != leaving.etag):
            return None
        if record.cells and not all_alive(record.cells):
            return None
        if leaving.until_here <= moment or self._other_clock:
            leaving = self._renew(record, leaving, moment)
            if leaving is None:
                return None
        return record, leaving, tag is not None, identity

    def _renew(self, record: Record, leaving: Leaving, moment: float) -> Leaving | None:
        """Returns a kept response as it leaves now: its age is another each second. None if it is not fresh any more."""
        now = self._now()
        if now >= leaving.until:
            decision = rules.reuse(leaving.stored.policy, _PLAIN, now, self._options)
            if decision.action is not _SERVE:
                return None
            leaving = record.derived = Leaving.of(leaving.stored, decision, now, self._options, moment)
        return leaving

    def stands(self, kept: Kept, identity: str | None) -> bool:
        """Whether that is still kept, and for him who asks."""
        record, leaving, _, whose = kept
        return (
            whose == identity
            and self._records.get(record.key) is record
            and record.derived is leaving
            and record.quiet_until > self._monotonic()
            and (not record.cells or all_alive(record.cells))
        )

    def guessed(self, scope: Scope) -> str | None:
        """Returns for whom these credentials were the last time."""
        return self._guesses.get(self._secret_of(scope))

    def _secret_of(self, scope: Scope) -> int:
        matters, secret = self._options.matters, 0
        for name, value in scope["headers"]:
            if matters.get(name) is _CREDENTIAL:
                secret = hash((secret, value))
        return secret

    def holds(self, scope: Scope, facts: RequestFacts, identity: str | None) -> bool:
        """Whether this process keeps something for such a request, fresh or not."""
        key = self.where(scope, facts, identity)
        record = None if key is None else self._records.get(key)
        return record is not None and record.derived is not None and all_alive(record.cells)

    def count(self, record: Record) -> None:
        """Counts a hit."""
        record.uses += 1
        self._counters.local_hits += 1

    def peek(self, scope: Scope, facts: RequestFacts, identity: str | None) -> Leaving | None:
        """Returns what answers a request from this process, whatever conditions it has."""
        key = self.where(scope, facts, identity)
        record = None if key is None else self._records.get(key)
        if record is None or record.quiet_until <= self._monotonic():
            return None
        leaving: Leaving | None = record.derived
        if leaving is None or (record.cells and not all_alive(record.cells)):
            return None
        leaving = self._fit(facts, leaving, identity)
        if leaving is not None:
            record.derived = leaving
            self.count(record)
        return leaving

    async def fetch(
        self, scope: Scope, facts: RequestFacts, identity: str | None
    ) -> tuple[Leaving, bytes] | None:
        """Returns what answers a request from Valkey, and the body. One round trip, none if it was not seen there before."""
        key = self.where(scope, facts, identity)
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
        if now < leaving.until:
            return leaving
        return Leaving.of(leaving.stored, decision, now, self._options, self._monotonic())


def with_credentials(facts: RequestFacts) -> RequestFacts:
    """Returns the facts of a request of which the application knows who asks."""
    return facts if facts.credentials else msgspec.structs.replace(facts, credentials=True)
