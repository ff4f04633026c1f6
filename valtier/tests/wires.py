"""Opens a wire of a test's own: no cache, no canary, nothing but what the test sends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from valtier.wire import Address, Backoff, Valkey, WireOptions, parse_url

QUICK = WireOptions(
    deadline_s=0.2,
    connect_timeout_s=0.5,
    drop_after_s=1.0,
    backoff=Backoff(base_s=0.02, cap_s=0.1, probe_s=0.1),
)


@asynccontextmanager
async def open_wire(address: str | Address, options: WireOptions = QUICK) -> AsyncIterator[Valkey]:
    """A started client, closed at the end; options in a URL's query are not read."""
    made = Valkey.open(address if isinstance(address, Address) else Address.parse(address), options)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def open_url(url: str, **options: Any) -> AsyncIterator[Valkey]:
    """A started client with the options of the URL's query and of the keywords, closed at the end."""
    address, parsed = parse_url(url, **options)
    async with open_wire(address, WireOptions(**parsed)) as made:
        yield made
