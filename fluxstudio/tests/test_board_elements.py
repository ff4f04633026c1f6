"""Elements of boards: the merge is the same in whatever order, and what can't be stored is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxstudio.boards.elements import (
    MAX_BATCH,
    MAX_ELEMENT_BYTES,
    MAX_NONCE,
    MAX_VERSION,
    Element,
    merge,
    parse_batch,
)
from fluxstudio.boards.revisions import back_to, pack, unpack
from fluxstudio.problems import Problem


def raw(element_id: str = "a", version: int = 1, nonce: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": element_id, "type": "rectangle", "version": version, "versionNonce": nonce, **more}


@st.composite
def states(draw: st.DrawFn) -> Element:
    version, nonce = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    element_id = draw(st.sampled_from("abc"))
    # As in Excalidraw, version and nonce say which state it is: equal ones are equal.
    one = raw(element_id, version, nonce, isDeleted=nonce % 2 == 1)
    return parse_batch([one])[0]


def merged(batches: Iterable[Iterable[Element]]) -> dict[str, Element]:
    known: dict[str, Element] = {}
    for batch in batches:
        known = merge(known, batch)
    return known


@given(st.lists(st.lists(states(), max_size=4), max_size=6), st.randoms(use_true_random=False))
def test_the_merge_is_commutative(batches: list[list[Element]], random: Any) -> None:
    shuffled = [element for batch in batches for element in batch]
    random.shuffle(shuffled)
    assert merged(batches) == merge({}, shuffled)


@given(st.lists(states()), st.lists(states()), st.lists(states()))
def test_the_merge_is_associative_and_idempotent(
    one: list[Element], two: list[Element], three: list[Element]
) -> None:
    left = merge(merge(merge({}, one), two), three)
    right = merge(merge({}, one), merge(merge({}, two), three).values())
    assert left == right == merge(left, [*one, *three, *two])


def test_the_higher_version_holds_and_then_the_lower_nonce() -> None:
    [old] = parse_batch([raw(version=1, nonce=1)])
    [new] = parse_batch([raw(version=2, nonce=9)])
    [newest] = parse_batch([raw(version=2, nonce=8)])
    assert merge({}, [newest, new, old])["a"] is newest
    assert parse_batch([raw(version=1), raw(version=3), raw(version=2)])[0].version == 3


deep: Any = 1
for _ in range(30):
    deep = [deep]


@pytest.mark.parametrize(
    "batch",
    [
        None,
        {},
        "x",
        [1],
        [[]],
        [raw("")],
        [raw("a b")],
        [raw("x" * 65)],
        [raw(7)],  # type: ignore[arg-type]
        [raw(version=-1)],
        [raw(version=MAX_VERSION + 1)],
        [raw(version=1.5)],  # type: ignore[arg-type]
        [raw(version=True)],
        [raw(nonce=MAX_NONCE + 1)],
        [{**raw(), "versionNonce": None}],
        [{**raw(), "type": "script"}],
        [{**raw(), "type": None}],
        [raw(isDeleted=1)],
        [raw(fileId="../../etc/passwd")],
        [raw(link="javascript:alert(1)")],
        [raw(link=" java\nscript:alert(1)")],
        [raw(link="data:text/html,x")],
        [raw(link=7)],
        [raw(text="a\0b")],
        [raw(text="\ud800")],
        [raw(points=[[float("nan"), 0]])],
        [raw(points=[[float("inf"), 0]])],
        [raw(x=10**400)],
        [raw(customData=deep)],
        [{**raw(), "\0": 1}],
        [raw(text="x" * MAX_ELEMENT_BYTES)],
        [raw(str(n)) for n in range(MAX_BATCH + 1)],
    ],
)
def test_what_can_not_be_stored_is_refused(batch: Any) -> None:
    with pytest.raises(Problem) as caught:
        parse_batch(batch)
    assert caught.value.status == 422


def test_a_batch_that_is_too_large_is_refused() -> None:
    with pytest.raises(Problem) as caught:
        parse_batch([raw(str(n), text="x" * 100_000) for n in range(6)])
    assert caught.value.status == 413


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_input_raises_anything_but_a_problem(value: Any) -> None:
    for batch in (value, [value], [{**raw(), "customData": value}], [{**raw(), "link": value}]):
        try:
            for element in parse_batch(batch):
                json.loads(element.data)
        except Problem as exc:
            assert exc.status in {413, 422}  # noqa: PT017 - every other exception fails the test


@given(st.lists(states(), max_size=8), st.lists(states(), max_size=8))
def test_going_back_makes_the_board_what_it_was(then: list[Element], later: list[Element]) -> None:
    old = merge({}, then)
    scene, _ = pack(list(old.values()))
    today = merge(old, later)
    restored = merge(today, back_to(unpack(scene), list(today.values())))

    def alive(elements: dict[str, Element]) -> dict[str, Any]:
        shown = {}
        for element in elements.values():
            if not element.is_deleted:
                shown[element.id] = msgspec.json.decode(element.data)
                del shown[element.id]["version"], shown[element.id]["versionNonce"]
        return shown

    assert alive(restored) == alive(old)
