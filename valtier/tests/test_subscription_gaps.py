"""A gap comes when its channels are heard again and before the first message of any of them; one does for many."""

import asyncio

import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from valtier.wire.subscription import Gap, Message, Subscription
from valtier.wire.topics import SHARD, Topic

A, B, C = TOPICS = tuple(Topic(SHARD, name) for name in (b"a", b"b", b"c"))


class Exchange:
    def join(self, subscription: Subscription) -> None: ...

    async def leave(self, subscription: Subscription) -> None: ...


async def entered() -> Subscription:
    made = Subscription(Exchange(), TOPICS, max_queue=1000, patience_s=None)
    entering = asyncio.ensure_future(made.__aenter__())
    await asyncio.sleep(0)
    for topic in TOPICS:
        made.confirmed(topic)
    await entering
    return made


@pytest_asyncio.fixture
async def heard() -> Subscription:
    return await entered()


def message(topic: Topic, number: int = 0) -> Message:
    return Message(topic.name, b"%d" % number)


async def test_one_gap_stands_for_all_that_was_lost_together(heard: Subscription) -> None:
    gap = Gap("reconnected")
    for topic in TOPICS:
        heard.lost(topic, gap)
    for topic in TOPICS:
        assert not heard._queue
        heard.confirmed(topic)
    assert list(heard._queue) == [gap]


async def test_a_message_that_comes_before_the_last_confirmation_stands_behind_a_gap(
    heard: Subscription,
) -> None:
    """And what is confirmed after it has a gap of its own."""
    gap = Gap("reconnected")
    for topic in TOPICS:
        heard.lost(topic, gap)
    heard.confirmed(A)
    heard.heard(A, message(A, 1))
    heard.heard(A, message(A, 2))
    heard.confirmed(B)
    heard.confirmed(C)
    heard.heard(C, message(C))
    assert list(heard._queue) == [gap, message(A, 1), message(A, 2), gap, message(C)]


async def test_channels_that_were_not_lost_go_on_meanwhile(heard: Subscription) -> None:
    gap = Gap("moved")
    heard.lost(A, gap)
    heard.heard(B, message(B))
    heard.confirmed(A)
    heard.heard(A, message(A))
    assert list(heard._queue) == [message(B), gap, message(A)]


@given(
    st.lists(
        st.tuples(st.sampled_from(TOPICS), st.sampled_from(["lost", "lost with it", "confirmed", "message"])),
        max_size=40,
    )
)
def test_whatever_happens_no_loss_goes_untold_before_a_message(steps: list[tuple[Topic, str]]) -> None:
    """Between a loss of a channel and the next message of it there is a gap; and none where nothing was lost."""

    async def run() -> None:
        heard, gap, number = await entered(), Gap("reconnected"), 0
        live, untold = set(TOPICS), set[Topic]()
        for topic, what in steps:
            if what.startswith("lost") and topic in live:
                if what == "lost":
                    gap = Gap("reconnected")
                live.discard(topic)
                untold.add(topic)
                heard.lost(topic, gap)
            elif what == "confirmed" and topic not in live:
                live.add(topic)
                heard.confirmed(topic)
            elif what == "message" and topic in live:
                number += 1
                heard.heard(topic, message(topic, number))
            while heard._queue:
                item = heard._queue.popleft()
                if isinstance(item, Gap):
                    assert untold & live
                    untold -= live
                else:
                    assert topic not in untold
        for topic in TOPICS:
            if topic not in live:
                live.add(topic)
                heard.confirmed(topic)
        gaps = list(heard._queue)
        assert bool(gaps) >= bool(untold)
        assert all(isinstance(item, Gap) for item in gaps)

    asyncio.run(run())
