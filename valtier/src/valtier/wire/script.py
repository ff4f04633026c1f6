"""Lua scripts: read once from their `.lua` files, sent by hash, and in full only when the server forgot them."""

from __future__ import annotations

import hashlib
from importlib import resources

from valtier.errors import ReplyError
from valtier.wire.client import Valkey
from valtier.wire.connection import Argument, Reply


class Script:
    """One atomic step on the server."""

    __slots__ = ("_sha", "_source")

    def __init__(self, source: str) -> None:
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def load(cls, package: str, name: str) -> Script:
        """Reads `name` from the resources of `package`."""
        return cls(resources.files(package).joinpath(name).read_text("utf-8"))

    @property
    def sha(self) -> str:
        """The hash by which the server knows the script."""
        return self._sha

    @property
    def source(self) -> str:
        return self._source

    async def run(self, valkey: Valkey, keys: tuple[str, ...], args: tuple[Argument, ...]) -> Reply:
        """Runs the script. One round trip; two when the server does not know it yet.

        Raises:
            ValkeyError: as `Valkey.call` does.
        """
        try:
            return await valkey.call("EVALSHA", self._sha, len(keys), *keys, *args)
        except ReplyError as exc:
            if exc.code != "NOSCRIPT":
                raise
        return await valkey.call("EVAL", self._source, len(keys), *keys, *args)
