"""A request as it passes through the response cache: what it says, its keys, and what was found for it."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from valtier.asgi import Scope
from valtier.cache.ask import in_order
from valtier.cache.mirror import Record as LocalRecord
from valtier.cache.reading import Looking
from valtier.cache.store import Versions
from valtier.http import naming, rules
from valtier.http.records import Index, Record
from valtier.http.rules import Options, RequestFacts


class Found:
    """What lies under a key."""

    __slots__ = ("head", "raw", "tags", "value", "versions")

    def __init__(
        self,
        value: Record | None,
        *,
        raw: bytes | None = None,
        head: bytes = b"",
        tags: tuple[str, ...] = (),
        versions: Versions = (),
    ) -> None:
        self.value = value  # None: nothing that may be used
        self.raw = raw  # how that begins which lies there, whatever it is
        self.head = head  # of the entry that holds the value
        self.tags = tags
        self.versions = versions  # those of `tags` now


class Request:
    """One request. `key` is where its response lies, as far as is known: it changes once, when an index is found."""

    __slots__ = (
        *("by_identity", "facts", "groups", "headers", "identity", "key", "looking", "names", "options"),
        *(
            "own_tags",
            "own_waits",
            "part",
            "part_key",
            "primary",
            "record",
            "scope",
            "told",
            "under_index",
            "uri_key",
            "_uri_tags",
        ),
    )

    def __init__(
        self,
        scope: Scope,
        facts: RequestFacts,
        primary: bytes,
        options: Options,
        identity: str | None,
        told: tuple[str, ...] = (),
    ) -> None:
        self.scope = scope
        self.told = told  # the tags that the application expects of the response
        self.facts = facts
        self.headers = scope["headers"]
        self.primary = primary
        self.options = options
        self.identity = identity  # of who asks; None: nobody in particular
        self.part = rules.variant_key(facts, (), self.headers, options) if facts.keyed else b""
        self.uri_key = naming.uri_key(primary)
        self.key = self.part_key = naming.part_key(primary, self.part) if self.part else self.uri_key
        self._uri_tags: tuple[str, ...] | None = None
        self.under_index = False
        self.names: tuple[bytes, ...] = ()
        self.groups: tuple[str, ...] = ()
        self.record: LocalRecord | None = None
        self.looking: Looking | None = None
        self.own_tags: tuple[str, ...] = ()
        self.own_waits: list[asyncio.Future[Any]] | None = None  # None: nothing was asked for yet
        self.by_identity = False

    def follow(self, index: Index) -> None:
        """Takes the key of this request's variant."""
        self.under_index = True
        self.names = index.names
        self.groups = index.groups
        self.by_identity = index.by_identity
        self.key = self.variant(index.names, by_identity=index.by_identity)

    @property
    def shared_key(self) -> str:
        """The key of what is for all, where `key` is for one identity only."""
        return self.variant(self.names, by_identity=False)

    def variant(self, names: tuple[bytes, ...], *, by_identity: bool) -> str:
        """Returns the key of the variant that this request selects."""
        identity = self.identity if by_identity else None
        variant = rules.variant_key(self.facts, names, self.headers, self.options, identity=identity)
        return naming.variant_key(self.primary, variant)

    def base_tags(self, key: str) -> tuple[str, ...]:
        """Returns the tags that a record has because of where it lies."""
        if key == self.uri_key:
            return ()
        if self._uri_tags is None:
            self._uri_tags = (naming.uri_tag(self.primary),)
        return self._uri_tags

    def expected_tags(self, key: str) -> tuple[str, ...]:
        """Returns the tags that a response there will have, as far as is known before it comes."""
        base = self.base_tags(key)
        return in_order((*base, *self.told)) if self.told else base


def raw_path(scope: Scope) -> bytes:
    """Returns the path as it is on the wire."""
    path: bytes | None = scope.get("raw_path")
    if path is None:
        return quote(scope["path"], safe="/:@!$&'()*+,;=~-._").encode("ascii")
    return path.partition(b"?")[0]
