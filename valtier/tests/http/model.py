"""The smallest cache that follows the rules: a dictionary, no I/O, one request at a time. The cases run on it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from runner import Ask, Got, Origin, OriginAnswer

from valtier.http.rules import (
    Action,
    Decision,
    Header,
    Options,
    Refused,
    RequestFacts,
    StoredPolicy,
    answer,
    cache_status,
    complete,
    end_to_end,
    fill_headers,
    freshen,
    group_key,
    head_outdates,
    hit_headers,
    invalidation,
    judge,
    missed,
    primary_key,
    read_request,
    reuse,
    selects,
    serves_error,
    storable_headers,
    validation_headers,
    variant_key,
)

BOUNDARY = b"a-boundary"


class Entry(NamedTuple):
    """A stored response, and the keys of its groups."""

    policy: StoredPolicy
    headers: list[Header]
    body: bytes
    groups: frozenset[bytes] = frozenset()


class ModelDriver:
    """A driver over `Model`."""

    name = "model"

    async def begin(self, origin: Origin, options: Mapping[str, Any]) -> None:
        self._model = Model(origin, Options(**options))

    async def set_time(self, now: float) -> None:
        self._model.now = now

    async def ask(self, ask: Ask) -> Got:
        status, headers, body = self._model.ask(ask)
        if ask.method == "HEAD" or status in (204, 304):
            body = b""
        return Got(
            status=status, headers=tuple((n.decode(), v.decode("latin-1")) for n, v in headers), body=body
        )

    async def settle(self) -> None:
        self._model.settle()

    async def end(self) -> None:
        pass


class Model:
    """One request at a time; what goes on in the background waits for `settle`."""

    def __init__(self, origin: Origin, options: Options) -> None:
        self.now = 0.0
        self._origin = origin
        self._options = options
        self._entries: dict[bytes, dict[tuple[tuple[bytes, ...], bytes], Entry]] = {}
        self._later: list[tuple[Ask, list[Header], RequestFacts, str | None, bytes, Entry]] = []

    def ask(self, ask: Ask) -> tuple[int, list[Header], bytes]:
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in ask.headers]
        identity = next((value.decode() for name, value in headers if name == b"x-identity"), None)
        facts = read_request(ask.method, headers, self._options)
        path, _, query = ask.target.encode("latin-1").partition(b"?")
        primary = primary_key("http", facts.host, path, query, self._options)
        if facts.bypass is not None or primary is None:
            decision = missed(facts, self._options)
            if decision.action is Action.UNAVAILABLE:
                return self._unavailable(decision)
            response = self._forward(ask, headers)
            self._invalidate(facts, path, query, response)
            return self._pass_on(response, decision, detail=decision.detail)
        entry = self._find(primary, facts, headers, identity)
        if entry is None:
            decision = missed(facts, self._options, vary=primary in self._entries)
        else:
            decision = reuse(entry.policy, facts, self.now, self._options)
        if decision.action is Action.UNAVAILABLE:
            return self._unavailable(decision)
        if entry is not None and decision.action in (Action.SERVE, Action.SERVE_STALE):
            if decision.action is Action.SERVE_STALE:
                self._later.append((ask, headers, facts, identity, primary, entry))
            return self._serve(entry, facts, hit_headers(decision, self._options))
        return self._fetch(ask, headers, facts, identity, primary, entry, decision)

    def settle(self) -> None:
        later, self._later = self._later, []
        for ask, headers, facts, identity, primary, entry in later:
            decision = Decision(Action.VALIDATE, fwd="stale")
            self._fetch(ask, headers, facts, identity, primary, entry, decision)

    def _unavailable(self, decision: Decision) -> tuple[int, list[Header], bytes]:
        return 504, [cache_status(self._options, detail=decision.detail)], b""

    def _find(
        self, primary: bytes, facts: RequestFacts, headers: list[Header], identity: str | None
    ) -> Entry | None:
        found = [
            entry
            for (names, key), entry in self._entries.get(primary, {}).items()
            for who in (None, identity)
            if key == variant_key(facts, names, headers, self._options, identity=who)
            and entry.policy.private == (who is not None)
        ]
        return max(found, key=lambda entry: entry.policy.response_time, default=None)

    def _forward(self, ask: Ask, headers: list[Header]) -> OriginAnswer:
        sent = tuple((name.decode(), value.decode("latin-1")) for name, value in end_to_end(headers))
        return self._origin(Ask(method=ask.method, target=ask.target, headers=sent, body=ask.body))

    def _fetch(
        self,
        ask: Ask,
        headers: list[Header],
        facts: RequestFacts,
        identity: str | None,
        primary: bytes,
        entry: Entry | None,
        decision: Decision,
    ) -> tuple[int, list[Header], bytes]:
        validating = entry is not None and decision.action is Action.VALIDATE and not facts.head
        sent = (
            validation_headers(headers, entry.policy)
            if entry is not None and validating
            else fill_headers(headers)
        )
        response = self._forward(ask, headers if facts.head else sent)
        failed = None if response.fails else response.status
        if entry is not None and serves_error(decision, failed, self.now):
            policy = entry.policy
            status = cache_status(
                self._options,
                fwd=decision.fwd,
                fwd_status=failed,
                ttl=policy.ttl(self.now),
                detail="stale-if-error",
            )
            return self._serve(entry, facts, ((b"age", b"%d" % policy.age(self.now)), status))
        received = _lines(response)
        if entry is not None and validating and response.status == 304:
            if not selects(entry.policy, received):
                again = Decision(Action.FORWARD, fwd=decision.fwd)
                return self._fetch(ask, headers, facts, identity, primary, entry, again)
            fields = freshen(entry.policy, entry.headers, received, now=self.now)
            kept = self._judge(facts, entry.policy.status, fields, entry.body, identity, primary, headers)
            stored = kept or Entry(
                entry.policy, storable_headers(fields, self._options, now=self.now), entry.body
            )
            status = cache_status(self._options, fwd=decision.fwd, fwd_status=304, stored=kept is not None)
            return self._serve(stored, facts, ((b"age", b"%d" % stored.policy.age(self.now)), status))
        if (
            facts.head
            and entry is not None
            and head_outdates(entry.policy, len(entry.body), response.status, received)
        ):
            self._entries.pop(primary, None)
        kept = self._judge(facts, response.status, received, response.body, identity, primary, headers)
        if kept is not None:
            status = cache_status(self._options, fwd=decision.fwd, fwd_status=response.status, stored=True)
            return self._serve(kept._replace(headers=self._passed(response)), facts, (status,))
        return self._pass_on(response, decision, detail=None)

    def _judge(
        self,
        facts: RequestFacts,
        status: int,
        fields: list[Header],
        body: bytes,
        identity: str | None,
        primary: bytes,
        headers: list[Header],
    ) -> Entry | None:
        policy = judge(
            facts,
            status,
            fields,
            self._options,
            request_time=self.now,
            response_time=self.now,
            identified=identity is not None,
        )
        if isinstance(policy, Refused):
            return None
        if not complete(fields, len(body)) or len(body) > self._options.max_body:
            return None
        who = identity if policy.private else None
        key = variant_key(facts, policy.vary, headers, self._options, identity=who)
        groups = frozenset(filter(None, (group_key("http", facts.host, group) for group in policy.groups)))
        entry = Entry(policy, storable_headers(fields, self._options, now=self.now), body, groups)
        self._entries.setdefault(primary, {})[policy.vary, key] = entry
        return entry

    def _serve(
        self, entry: Entry, facts: RequestFacts, more: tuple[Header, ...]
    ) -> tuple[int, list[Header], bytes]:
        policy, headers, body, _ = entry
        if facts.plain:
            return policy.status, [*headers, *more], body
        made = answer(facts, policy, headers, len(body), self._options, boundary=BOUNDARY)
        if made.parts is not None:
            body = b"".join(part if isinstance(part, bytes) else body[slice(*part)] for part in made.parts)
        return made.status, [*made.headers, *more], body

    def _pass_on(
        self, response: OriginAnswer, decision: Decision, *, detail: str | None
    ) -> tuple[int, list[Header], bytes]:
        if response.fails:
            return 502, [cache_status(self._options, fwd=decision.fwd, detail=detail)], b""
        status = cache_status(self._options, fwd=decision.fwd, fwd_status=response.status, detail=detail)
        return response.status, [*self._passed(response), status], response.body

    def _passed(self, response: OriginAnswer) -> list[Header]:
        return [line for line in end_to_end(_lines(response)) if line[0] not in self._options.hidden_names]

    def _invalidate(self, facts: RequestFacts, path: bytes, query: bytes, response: OriginAnswer) -> None:
        if response.fails:
            return
        outdated = invalidation(facts, "http", path, query, response.status, _lines(response), self._options)
        if outdated is None:
            return
        groups = set(outdated.group_keys)
        for key in outdated.primary_keys:
            for entry in self._entries.pop(key, {}).values():
                groups.update(entry.groups)
        for key, variants in list(self._entries.items()):
            self._entries[key] = {
                k: entry for k, entry in variants.items() if groups.isdisjoint(entry.groups)
            }


def _lines(response: OriginAnswer) -> list[Header]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers]
