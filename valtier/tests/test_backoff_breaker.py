"""How long to wait, and whether to send: decided from arguments alone."""

from hypothesis import given
from hypothesis import strategies as st

from valtier.wire import Backoff
from valtier.wire.breaker import Breaker, State


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_negative_and_never_past_its_ceiling(failures: int, random: float) -> None:
    backoff = Backoff()
    delay_s = backoff.delay_s(failures, random)
    ceiling = backoff.cap_s if failures <= backoff.max_retries else backoff.probe_s * 1.25
    assert 0 <= delay_s <= ceiling


def test_the_ceiling_doubles_and_is_capped() -> None:
    backoff = Backoff(base_s=0.1, cap_s=2.0, max_retries=10)
    assert [backoff.delay_s(n, 0.5) for n in (1, 2, 3, 9)] == [0.05, 0.1, 0.2, 1.0]


def test_giving_up_means_probing_slowly_not_death() -> None:
    backoff = Backoff(max_retries=10, probe_s=5.0)
    assert backoff.delay_s(11, 0.0) == 3.75
    assert backoff.delay_s(10**6, 0.0) == 3.75


def test_the_breaker_opens_at_a_failure_and_a_success_closes_it() -> None:
    breaker = Breaker()
    assert breaker.failure(now=0.1)
    assert breaker.state == "open"
    assert not breaker.failure(now=0.2)  # it is open already
    assert breaker.success()
    assert breaker.state == "closed"
    assert not breaker.success()


def test_an_open_breaker_lets_one_probe_through_when_its_time_has_come() -> None:
    breaker = Breaker(open_s=1.0)
    breaker.failure(now=10.0)
    assert not breaker.probe_due(now=10.9)
    assert breaker.probe_due(now=11.0)
    assert breaker.probe()
    assert breaker.state is State.HALF_OPEN
    assert not breaker.probe_due(now=11.0)  # one is out
    assert not breaker.probe()
    assert breaker.failure(now=11.1)  # it failed: open again
    assert not breaker.probe_due(now=12.0)
    assert breaker.probe_due(now=12.2)


def test_a_closed_breaker_has_nothing_to_probe() -> None:
    breaker = Breaker()
    assert not breaker.probe_due(now=100.0)
    assert not breaker.probe()
    assert breaker.state is State.CLOSED
