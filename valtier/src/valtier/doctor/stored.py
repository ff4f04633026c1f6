"""What lies there: whether sessions are in Valkey alone, or copies of durable ones. A bounded look."""

from __future__ import annotations

import re

from valtier.errors import ReplyError
from valtier.wire import Link

_STEPS, _COUNT = 20, 1000
"""A server is asked for so many steps over about so many keys each: at most 20,000 keys, some milliseconds of its time."""


async def sessions_of(link: Link, prefix: str) -> str:
    """Returns `alone`, `copies` or `none`, of the sessions on a server; `unknown` where SCAN is not permitted.

    `none` may be wrong on a server with very many keys: only the first 20,000 are looked at.

    Raises:
        ValkeyError: the server can't be asked.
    """
    found = "none"
    cursor = b"0"
    for _ in range(_STEPS):
        try:
            cursor, names = await link.send("SCAN", cursor, "MATCH", f"{prefix}:s:{{*", "COUNT", _COUNT)
        except ReplyError:
            return "unknown"
        kinds = {kind_of(name.decode("utf-8", "replace"), prefix) for name in names}
        if "alone" in kinds:
            return "alone"
        if "copies" in kinds:
            found = "copies"
        if cursor == b"0":
            break
    return found


def kind_of(name: str, prefix: str) -> str:
    """Returns what a key is: a session that lies in Valkey `alone`, one of the `copies`, or nothing of both. Pure.

    A copy's name holds its server's reign, twelve hexadecimal digits; a user's index holds `u`.
    """
    rest = re.fullmatch(rf"{re.escape(prefix)}:s:\{{[^}}]*\}}:(.+)", name)
    if rest is None:
        return ""
    first, separator, _ = rest[1].partition(":")
    if not separator:
        return "alone"
    return "copies" if re.fullmatch(r"[0-9a-f]{12}", first) else ""
