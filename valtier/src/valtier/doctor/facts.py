"""Facts: what a server tells of itself by INFO and CONFIG GET, read once for all checks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from valtier.errors import ReplyError
from valtier.wire import Link, Reply

_SETTINGS = (
    *("maxmemory", "maxmemory-policy", "maxclients", "tracking-table-max-keys", "timeout", "tcp-keepalive"),
    *(
        "client-output-buffer-limit",
        "save",
        "appendonly",
        "stop-writes-on-bgsave-error",
        "proto-max-bulk-len",
    ),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What one server tells."""

    where: str
    """Its address."""
    info: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    """Settings; those that can't be asked for are missing."""
    info_refused: str = ""
    """Why there is no `info`."""
    config_refused: str = ""
    """Why there is no `config`: not permitted, or a managed server."""

    def number(self, name: str, default: int = 0) -> int:
        """Returns a number of INFO."""
        try:
            return int(float(self.info.get(name, default)))
        except ValueError:
            return default

    def setting(self, name: str) -> str | None:
        """Returns a setting, also where only INFO tells it."""
        return self.config.get(name) or self.info.get(name.replace("-", "_"))

    @property
    def refusal(self) -> str:
        """What to allow, where something is not told."""
        said = self.config_refused or self.info_refused or "this server does not tell it"
        return f"allow +info and +config|get to see it ({said})"

    def setting_number(self, name: str) -> int | None:
        told = self.setting(name)
        return int(told) if told is not None and told.lstrip("-").isdigit() else None


async def ask(link: Link) -> Facts:
    """Asks a server. One round trip.

    Raises:
        ValkeyError: there was no answer.
    """
    info, *settings = await asyncio.gather(
        link.send("INFO"), *(link.send("CONFIG", "GET", name) for name in _SETTINGS), return_exceptions=True
    )
    for reply in (info, *settings):
        if isinstance(reply, BaseException) and not isinstance(reply, ReplyError):
            raise reply
    config: dict[str, str] = {}
    refused = ""
    for reply in settings:
        if isinstance(reply, ReplyError):
            refused = said_by(reply)
        else:
            config |= pairs(reply)
    return Facts(
        where=str(link.endpoint),
        info={} if isinstance(info, ReplyError) else parse_info(info),
        config=config,
        info_refused=said_by(info) if isinstance(info, ReplyError) else "",
        config_refused=refused,
    )


def said_by(error: ReplyError) -> str:
    """Returns what the server said, without what valtier's errors advise: the doctor has its own."""
    return str(error).partition(" (")[0]


def parse_info(reply: Reply) -> dict[str, str]:
    """Reads what INFO says, whatever the section."""
    lines = reply.decode("utf-8", "replace").splitlines() if isinstance(reply, bytes) else []
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def pairs(reply: Reply) -> dict[str, str]:
    """Reads names and values, as RESP3 and RESP2 tell them."""
    if isinstance(reply, list):
        reply = dict(zip(reply[::2], reply[1::2], strict=False))
    if not isinstance(reply, dict):
        return {}
    return {_text(name): _text(value) for name, value in reply.items()}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
