"""The watchdog names commands that are late, each once, whatever was taken out of the queue meanwhile."""

from collections.abc import Callable

from valtier.wire.watchdog import Watchdog

DEADLINE_S = 1.0
TICKS = 10


class Timers:
    """A loop whose timers run when the test says so."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> object:
        self.due.append(callback)
        return self

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            due, self.due = self.due, []
            for callback in due:
                callback()


class Queue:
    """Commands by number: answered, written, waiting to be written."""

    def __init__(self) -> None:
        self.answered = 0
        self.written = 0
        self.unsent = 0
        self.expired: list[int] = []
        self.stalls = 0

    @property
    def sent(self) -> int:
        return self.written + self.unsent

    def expire(self, upto: int) -> tuple[int, int]:
        self.expired.append(upto)
        removed = max(0, upto - self.written)
        assert removed <= self.unsent
        self.unsent -= removed
        return 1, removed

    def stall(self) -> None:
        self.stalls += 1

    def forget_heard(self) -> None:
        pass


def watched() -> tuple[Watchdog, Queue, Timers]:
    queue, timers = Queue(), Timers()
    watchdog = Watchdog(queue, timers, DEADLINE_S)  # type: ignore[arg-type]
    watchdog.enabled = True
    return watchdog, queue, timers


def test_a_command_without_a_reply_is_late_once() -> None:
    watchdog, queue, timers = watched()
    queue.written = 1
    watchdog.start()
    timers.run(5 * TICKS)
    assert queue.expired == [1]


def test_one_that_is_answered_is_not_late() -> None:
    watchdog, queue, timers = watched()
    queue.written = 1
    watchdog.start()
    timers.run(5)
    queue.answered = 1
    timers.run(5 * TICKS)
    assert queue.expired == []
    assert not watchdog.running


def test_numbers_that_are_gone_with_what_never_left_are_late_no_more() -> None:
    """Else the breaker opens on a server that answers all that it was sent."""
    watchdog, queue, timers = watched()
    queue.written = 1
    watchdog.start()
    for _ in range(3):  # what can't leave piles up over several ticks, each with its mark
        queue.unsent += 100
        timers.run(1)
    while queue.unsent:
        timers.run(1)
    timers.run(3)  # the last of them are told, and nobody is told again
    told = len(queue.expired)
    queue.answered = queue.written  # the server reads again, and answers
    for _ in range(10 * TICKS):  # from now on each command is answered before the next tick but one
        queue.written += 1
        timers.run(1)
        queue.answered = queue.written - 1
    assert len(queue.expired) == told
    assert len(watchdog._marks) <= TICKS + 1


def test_while_nothing_new_is_late_nobody_is_told() -> None:
    watchdog, queue, timers = watched()
    queue.written, queue.unsent = 1, 300
    watchdog.start()
    timers.run(2)
    queue.unsent += 300
    timers.run(20 * TICKS)
    assert queue.expired == [301, 301]  # the second 300 have moved up to the numbers of the first
    assert queue.unsent == 0


def test_no_whole_reply_for_two_deadlines_is_a_stall_told_once_in_each_two() -> None:
    """Whatever bytes come in: a reply that never ends is no progress."""
    watchdog, queue, timers = watched()
    queue.written = 2
    watchdog.start()
    timers.run(TICKS // 2)
    queue.answered = 1
    while not queue.expired:
        timers.run(1)
    assert queue.stalls == 0
    timers.run(2 * TICKS)
    assert queue.stalls == 1
    timers.run(2 * TICKS)
    assert queue.stalls == 2


def test_while_replies_come_in_nothing_is_stalled_however_late_they_are() -> None:
    watchdog, queue, timers = watched()
    queue.written = 100
    watchdog.start()
    for _ in range(10):
        timers.run(TICKS)
        queue.answered += 1
    assert queue.expired
    assert queue.stalls == 0


def test_idle_time_is_no_stall() -> None:
    watchdog, queue, timers = watched()
    queue.written = 1
    watchdog.start()
    timers.run(TICKS - 1)
    queue.answered = 1
    timers.run(5 * TICKS)
    queue.written = 2
    watchdog.start()
    timers.run(2 * TICKS - 1)
    assert queue.stalls == 0
