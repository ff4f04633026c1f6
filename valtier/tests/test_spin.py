"""Spinning ends by itself: after its time, with the reply, and for good where it does not pay."""

import asyncio

from valtier.wire.spin import Spin


class Turns:
    """A loop that counts how often it was asked to call again."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def call_soon(self, callback: object) -> None:
        self.asked.append(callback)

    def run(self, limit: int) -> int:
        ran = 0
        while self.asked and ran < limit:
            self.asked.pop(0)()  # type: ignore[operator]
            ran += 1
        return ran


def spinning(spin_s: float, pending: list[int]) -> tuple[Spin, Turns]:
    turns = Turns()
    return Spin(turns, pending, spin_s), turns  # type: ignore[arg-type]


def test_it_ends_after_its_time() -> None:
    spin, turns = spinning(0.001, [1])
    spin.begin()
    assert turns.run(10_000_000) < 10_000_000
    assert not spin.active


def test_it_ends_with_the_reply_and_leaves_one_turn_at_most() -> None:
    spin, turns = spinning(60.0, [1])
    for _ in range(100):  # a reply comes and the next command goes before the last turn has run
        assert spin.worthwhile
        spin.begin()
        assert len(turns.asked) == 1
        turns.run(3)
        spin.end()
    assert turns.run(10) == 1


def test_where_it_does_not_pay_it_is_tried_only_now_and_then() -> None:
    spin, turns = spinning(1e-9, [1])
    tried = 0
    for _ in range(10_000):
        if spin.worthwhile:
            tried += 1
            spin.begin()
            turns.run(10)
    assert 8 < tried < 40


def test_it_comes_back_when_it_pays_again() -> None:
    spin, turns = spinning(1e-9, [1])
    for _ in range(100):
        if spin.worthwhile:
            spin.begin()
            turns.run(10)
    tried = 0
    for _ in range(1000):
        if spin.worthwhile:
            tried += 1
            spin.begin()
            spin.end()
            turns.run(10)
    assert tried > 400


def test_only_a_lonely_command_is_spun_for() -> None:
    assert not spinning(1.0, [1, 2])[0].worthwhile
    assert not spinning(0.0, [1])[0].worthwhile
    assert spinning(1.0, [1])[0].worthwhile


async def test_other_tasks_run_while_it_spins() -> None:
    spin = Spin(asyncio.get_running_loop(), [1], 0.2)
    spin.begin()
    steps = 0
    while spin.active and steps < 100:
        await asyncio.sleep(0)
        steps += 1
    assert steps == 100
    spin.end()
