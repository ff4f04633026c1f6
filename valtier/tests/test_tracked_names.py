"""Which names a node would tell the changes of: all that were read on it and not told since, as far as memory goes."""

from hypothesis import given
from hypothesis import strategies as st

from valtier.wire.cluster.slots import slot_of
from valtier.wire.cluster.tracked import TrackedNames

NAMES = [b"%d" % number for number in range(12)]
steps = st.lists(st.tuples(st.sampled_from(["read", "told", "moved"]), st.sampled_from(NAMES)), max_size=60)


@given(steps, st.integers(0, 15))
def test_what_is_taken_is_what_was_read_or_everything(steps: list[tuple[str, bytes]], most: int) -> None:
    tracked, truth = TrackedNames(most), set[bytes]()
    for what, name in steps:
        slot = slot_of(name)
        if what == "read":
            tracked.add(slot, [name])
            truth.add(name)
        elif what == "told":
            tracked.discard([name])
            truth.discard(name)
        else:
            names = tracked.take([slot])
            mine = {each for each in truth if slot_of(each) == slot}
            assert names is None or set(names) == mine
            if most >= len(NAMES):
                assert names is not None
            truth -= mine
    names = tracked.take_all()
    assert names is None or set(names) == truth
    assert tracked.take_all() == []


def test_what_is_told_makes_room() -> None:
    tracked = TrackedNames(2)
    for name in NAMES:
        tracked.add(slot_of(name), [name])
        tracked.discard([name])
    assert tracked.take_all() == []
