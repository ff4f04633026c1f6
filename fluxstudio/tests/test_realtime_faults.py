"""Boards and chat while workers and Valkey are killed: everybody ends with the same, and nothing acknowledged is lost."""

from __future__ import annotations

import pytest

from fluxstudio.testing_boards import ordeal
from valtier.embedded import EmbeddedValkey


@pytest.mark.timeout(300)
async def test_twenty_editors_on_four_workers_end_with_the_same_board_and_nothing_is_lost(
    database_url: str, own_valkey: EmbeddedValkey
) -> None:
    outcome = await ordeal(database_url, own_valkey)
    assert outcome.edits > 20 * 4
    assert outcome.messages
    assert len(outcome.faults) == 3
