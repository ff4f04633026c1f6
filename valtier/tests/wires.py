"""Opens a wire of a test's own: no cache, no canary, nothing but what the test sends."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from valtier.embedded import EmbeddedCluster
from valtier.wire import Address, Backoff, Valkey, WireOptions, parse_url
from valtier.wire.cluster import Cluster

QUICK = WireOptions(
    deadline_s=0.2,
    connect_timeout_s=0.5,
    drop_after_s=1.0,
    backoff=Backoff(base_s=0.02, cap_s=0.1, probe_s=0.1),
)
CALM = replace(QUICK, deadline_s=0.5, connect_timeout_s=1.0)
"""For tests in which nothing is frozen: a busy machine shall not look like a slow server."""
PATIENT = replace(QUICK, deadline_s=10.0, connect_timeout_s=5.0, drop_after_s=20.0)
"""For tests in which a deadline has no part."""


@asynccontextmanager
async def open_wire(
    address: str | Address, options: WireOptions = QUICK, **keywords: Any
) -> AsyncIterator[Valkey]:
    """A started client, closed at the end; options in a URL's query that concern the wire are not read."""
    made = Valkey.open(
        address if isinstance(address, Address) else Address.parse(address, **keywords), options
    )
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def open_calm(
    address: str | Address, options: WireOptions = CALM, **keywords: Any
) -> AbstractAsyncContextManager[Valkey]:
    """As `open_wire`, and calm."""
    return open_wire(address, options, **keywords)


@asynccontextmanager
async def open_url(url: str, options: WireOptions | None = None, **keywords: Any) -> AsyncIterator[Valkey]:
    """A started client with the options of the URL's query and of the keywords, closed at the end."""
    address, parsed = parse_url(url, **keywords)
    async with open_wire(address, replace(options or WireOptions(), **parsed)) as made:
        yield made


def open_patient(url: str, **keywords: Any) -> AbstractAsyncContextManager[Valkey]:
    """As `open_url`, and patient."""
    return open_url(url, PATIENT, **keywords)


@asynccontextmanager
async def open_cluster(
    servers: EmbeddedCluster, options: WireOptions = PATIENT, **fields: Any
) -> AsyncIterator[Cluster]:
    """A started client of a cluster, closed at the end; `fields` are those of `Address`."""
    async with open_wire(replace(Address.parse(servers.url), **fields), options) as made:
        assert isinstance(made, Cluster)
        yield made
