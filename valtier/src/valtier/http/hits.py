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
from valtier.cache.store import entry_suffix
from valtier.errors import ValkeyError
from valtier.http import rules
from valtier.http.records import Stored
from valtier.http.request import Identify
from valtier.http.rules import Action, Decision, Options, RequestFacts, StoredPolicy

_SERVE = Action.SERVE
_MOST_KEYS = 20_000
_MOST_SEEN = 5_000

Uri = tuple[str, bytes | None, bytes | str, bytes]


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


class Seen:
    """An entry in Valkey that was decoded before: all of it but the body."""

    __slots__ = ("head", "leaving", "length")

    def __init__(self, head: bytes, leaving: Leaving, length: int) -> None:
        self.head = head
        self.leaving = leaving
        self.length = length


class Hits:
    """What this process remembers of keys and entries. Bounded: the oldest are forgotten. Guarded by the event loop."""

    def __init__(
        self,
        engine: Engine,
        options: Options,
        space: Space,
        *,
        now: Callable[[], float],
        identify: Identify,
        local: bool,
    ) -> None:
        self.local = local
        self._keys: dict[Uri, str] = {}
        self._seen: dict[str, Seen] = {}
        self._engine = engine
        self._mirror = engine.mirror
        self._records = engine.mirror.records
        self._monotonic = engine.clock.monotonic
        self._options = options
        self._space = space
        self._counters = space.counters
        self._now = now
        self._identify = identify

    # -- remembering ---------------------------------------------------------------------------------------

    @staticmethod
    def uri_of(scope: Scope, facts: RequestFacts) -> Uri:
        return (scope["scheme"], facts.host, scope.get("raw_path") or scope["path"], scope["query_string"])

    def note_key(self, scope: Scope, facts: RequestFacts, key: str) -> None:
        """Remembers the key of a URI, so that it need not be made again."""
        if len(self._keys) >= _MOST_KEYS:
            del self._keys[next(iter(self._keys))]
        self._keys[self.uri_of(scope, facts)] = key

    def note_entry(self, key: str, head: bytes, leaving: Leaving) -> None:
        """Remembers an entry that was found in Valkey."""
        if self.local or not head:
            return
        if len(self._seen) >= _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        stored = leaving.stored
        without = Leaving(Stored(stored.policy, stored.headers, b""), leaving.own, leaving.until)
        self._seen[key] = Seen(head, without, len(stored.body))

    # -- looking -------------------------------------------------------------------------------------------

    def peek(self, scope: Scope, facts: RequestFacts) -> Leaving | None:
        """Returns what answers a request from this process."""
        if facts.bypass is not None or facts.keyed:
            return None
        uri = (scope["scheme"], facts.host, scope.get("raw_path") or scope["path"], scope["query_string"])
        key = self._keys.get(uri)
        if key is None:
            return None
        record = self._records.get(key)
        if record is None or record.quiet_until <= self._monotonic():
            return None
        leaving: Leaving | None = record.derived
        if leaving is None or (record.cells and not all_alive(record.cells)):
            return None
        leaving = self._fit(scope, facts, leaving)
        if leaving is not None:
            record.uses += 1
            record.derived = leaving
            self._counters.local_hits += 1
        return leaving

    async def fetch(self, scope: Scope, facts: RequestFacts) -> tuple[Leaving, bytes] | None:
        """Returns what answers a request from Valkey, and the body. One round trip, none if it was not seen there before."""
        if facts.bypass is not None or facts.keyed:
            return None
        key = self._keys.get(self.uri_of(scope, facts))
        if key is None or (seen := self._seen.get(key)) is None:
            return None
        store = self._engine.store
        if store is None or not self._engine.serving.trusts(key) or self._mirror.doubts(key):
            return None
        leaving = self._fit(scope, facts, seen.leaving)
        if leaving is None:
            return None
        suffix = entry_suffix(key)
        try:
            name = store.name(suffix)
            raw: bytes | None = await store.valkey.call("GET", name)
        except ValkeyError as exc:
            self._engine.spaces.note_error(self._counters, exc)
            return None
        if raw is None or not raw.startswith(seen.head) or not store.is_current(name, suffix):
            self._seen.pop(key, None)
            return None
        seen.leaving = leaving
        self._counters.remote_hits += 1
        return leaving, raw[len(raw) - seen.length :]

    def _fit(self, scope: Scope, facts: RequestFacts, leaving: Leaving) -> Leaving | None:
        """Returns it as it leaves now, or None if it is not what this request may have."""
        policy, now = leaving.stored.policy, self._now()
        if not policy.shareable and (facts.credentials or self._identify(scope) is not None):
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
