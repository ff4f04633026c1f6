"""Prefixes: which applications there are on a Valkey, found by their workers' reports. A bounded look at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from valtier.errors import ConfigurationError, ReplyError
from valtier.keys import check_prefix
from valtier.vitals.fleet import index_key
from valtier.wire import Valkey

_ENDS = index_key("")
_PATTERN = f"*{_ENDS}"
_COUNT = 1000
MOST_STEPS = 50


class Prefixes:
    """The prefixes that were met. Guarded by one event loop."""

    def __init__(self) -> None:
        self.found: list[str] = []
        """In the order of the alphabet."""
        self.refused = ""
        """Why they can't be looked for: SCAN has to be permitted."""
        self._cursor = b"0"

    async def look(self, valkey: Valkey, *, steps: int = MOST_STEPS) -> bool:
        """Looks at some thousand keys more; returns whether all have been looked at. One round trip for each thousand.

        In a cluster all that it looks for lies on one node.

        Raises:
            ValkeyError: the server can't be asked.
        """
        link = valkey.link_for(index_key("valtier"))
        for _ in range(steps):
            try:
                self._cursor, names = await link.send(
                    "SCAN", self._cursor, "MATCH", _PATTERN, "COUNT", _COUNT
                )
            except ReplyError as exc:
                self.refused = str(exc)
                return True
            self._add(name.decode("utf-8", "replace") for name in names)
            if self._cursor == b"0":
                return True
        return False

    def _add(self, names: Iterable[str]) -> None:
        for prefix in (name.removesuffix(_ENDS) for name in names if name.endswith(_ENDS)):
            with contextlib.suppress(ConfigurationError):  # somebody else's key
                self.found = sorted({*self.found, check_prefix(prefix)})


async def prefix_of(valkey: Valkey, default: str) -> str:
    """Returns the prefix of the application whose workers report there; `default` if there is none, or it is among several.

    Looks at 50,000 keys at most.

    Raises:
        ValkeyError: the server can't be asked.
    """
    prefixes = Prefixes()
    await prefixes.look(valkey)
    found = prefixes.found
    return default if not found or default in found else found[0]
