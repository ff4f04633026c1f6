"""Purging: what is invalidated, by responses to unsafe requests or by whoever operates the cache.

A URI's key and its tag go together, and with them the groups of what is stored there (RFC 9875 §2.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from valtier import keys as _keys
from valtier.asgi import Header
from valtier.cache.codec import CorruptEntryError
from valtier.cache.engine import Engine
from valtier.cache.reading import read_entry
from valtier.errors import ConfigurationError, ValkeyError
from valtier.http import naming, rules
from valtier.http.lookup import Lookup
from valtier.http.records import Index, Record, Stored, decode_record
from valtier.http.request import Request, raw_path
from valtier.http.rules import Options

_GROUP_MARK = "group "


class Purging:
    """Removes responses. What Valkey can't take now is delivered later, as for any invalidation of the cache."""

    def __init__(self, engine: Engine, lookup: Lookup, options: Options) -> None:
        self._engine = engine
        self._lookup = lookup
        self._options = options

    async def heed(self, request: Request, stored: Stored | None, status: int, fields: list[Header]) -> None:
        """Invalidates what a response outdates: to an unsafe request, or to HEAD where what is stored is another."""
        if request.facts.head:
            if stored is not None and rules.head_outdates(stored.policy, len(stored.body), status, fields):
                await self._remove([request.primary], [])
            return
        scope = request.scope
        outdated = rules.invalidation(
            request.facts,
            scope.get("scheme", "http"),
            raw_path(scope),
            scope["query_string"],
            status,
            fields,
            self._options,
        )
        if outdated is not None:
            await self._remove(outdated.primary_keys, map(naming.group_tag, outdated.group_keys))

    async def purge(
        self, uri: str | None = None, *, tag: str | None = None, group: tuple[str, str] | None = None
    ) -> None:
        """See `ResponseCache.purge`."""
        if uri is None and tag is None and group is None:
            raise ConfigurationError("purge takes a uri, a tag or a group")
        tags: list[str] = []
        if tag is not None:
            tags.append(_keys.check(tag, what="tag"))
        if group is not None:
            origin, name = group
            parts = urlsplit(origin)
            key = rules.group_key(parts.scheme, parts.netloc.encode(), name) if parts.netloc else None
            if key is None:
                raise ConfigurationError(
                    f"a group is of an origin such as https://example.org, not {origin!r}"
                )
            tags.append(naming.group_tag(key))
        await self._remove([] if uri is None else [self._primary_of(uri)], tags)

    def _primary_of(self, uri: str) -> bytes:
        key: bytes | None = None
        scheme = ""
        try:
            parts = urlsplit(uri)
            scheme = parts.scheme
            host, path = parts.netloc.rpartition("@")[2].encode("ascii"), (parts.path or "/").encode("ascii")
            key = rules.primary_key(scheme, host, path, parts.query.encode("ascii"), self._options)
        except ValueError:
            pass
        if key is None or scheme not in ("http", "https"):
            raise ConfigurationError(
                f"a URI is absolute, percent-encoded and http or https, such as https://example.org/a; not {uri!r}"
            )
        return key

    async def _remove(self, primaries: Iterable[bytes], tags: Iterable[str]) -> None:
        removal = self._engine.removal
        all_tags = list(tags)
        keys = list(dict.fromkeys(primaries))
        for primary in keys:
            all_tags += await self._groups_of(primary)
            all_tags.append(naming.uri_tag(primary))
        await removal.remove([naming.uri_key(primary) for primary in keys], list(dict.fromkeys(all_tags)))

    async def _groups_of(self, primary: bytes) -> list[str]:
        """Returns the tags of the groups of what is stored for a URI. One round trip, none where this process has it."""
        key = naming.uri_key(primary)
        record = self._engine.mirror.records.get(key)
        if record is not None and isinstance(record.value, Stored):
            return [tag for tag in record.tags if tag.startswith(_GROUP_MARK)]
        store = self._engine.store
        if store is None or not store.available:
            return []
        try:
            raw, _ = await store.look(key)
            entry = read_entry(raw)
        except (ValkeyError, CorruptEntryError):
            return []
        if entry is None:
            return []
        tags = [tag for tag in entry.tags if tag.startswith(_GROUP_MARK)]
        try:
            value: Record = decode_record(entry.body.data)
        except CorruptEntryError:
            return tags
        return [*tags, *(value.groups if isinstance(value, Index) else ())]
