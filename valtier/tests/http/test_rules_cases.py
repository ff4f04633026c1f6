"""Every case holds for the rules alone, in the smallest cache that follows them."""

import collections

import pytest
from cases import ALL
from model import ModelDriver
from runner import Case, run


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.id)
async def test_the_rules_alone_keep_the_promise(case: Case) -> None:
    await run(case, ModelDriver())


def test_each_case_has_a_name_of_its_own_and_there_are_enough() -> None:
    names = collections.Counter(case.id for case in ALL)
    assert not [name for name, count in names.items() if count > 1]
    assert len(ALL) >= 350
