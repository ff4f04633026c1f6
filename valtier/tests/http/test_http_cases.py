"""Every case holds for the response cache: called in process, and over real sockets through the proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cases import ALL
from drivers import InProcess, OverSockets, RawOrigin
from runner import Case, run

from valtier import Tier
from valtier.embedded import EmbeddedValkey

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tier(valkey_server: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey_server.url, deadline=5, prefix="cases-in-process") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tier_behind_sockets(valkey_server: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey_server.url, deadline=5, prefix="cases-sockets") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origin() -> AsyncIterator[RawOrigin]:
    async with RawOrigin() as made:
        yield made


def cases_for(driver: str) -> list[Case]:
    return [case for case in ALL if case.only in (None, driver)]


@pytest.mark.parametrize("case", cases_for(InProcess.name), ids=lambda case: case.id)
async def test_in_process(case: Case, tier: Tier) -> None:
    await run(case, InProcess(tier))


@pytest.mark.parametrize("case", cases_for(OverSockets.name), ids=lambda case: case.id)
async def test_over_sockets(case: Case, tier_behind_sockets: Tier, origin: RawOrigin) -> None:
    await run(case, OverSockets(tier_behind_sockets, origin))
