"""The checker of `bench.staleness`: each rule is found violated in a history that violates it, and in no other."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from bench.common.figures import quantile
from bench.staleness.checker import Harm, Rule, Verdict, beyond, check, leftovers
from bench.staleness.history import Kind, Record, Via
from bench.staleness.keys import NO_VERSION, make_keys, pack, unpack

_MS = 1_000_000
_KEY = 7


def _record(
    kind: Kind, version: int, begin: int, end: int, *, process: int = 0, reader: int = 1, key: int = _KEY
) -> Record:
    return Record(kind, Via.UNKNOWN, key, reader, process, version, begin, end)


def _read(version: int, begin: int, end: int, *, process: int = 0, reader: int = 1) -> Record:
    return _record(Kind.READ, version, begin, end, process=process, reader=reader)


def _check(
    *histories: Sequence[Record],
    current: int = 9,
    local: bool = False,
    harms: Sequence[Harm] = (),
) -> Verdict:
    """Each list is what one process has recorded, in the order of the ends."""
    return check(
        histories,
        {_KEY: current},
        local=[_KEY] if local else [],
        harms=harms,
        places=4,
    )


def _violated(verdict: Verdict) -> list[Rule]:
    return [violation.rule for violation in verdict.examples]


# -- R1 ----------------------------------------------------------------------------------------------------------


def _acknowledged(version: int, end: int, *, process: int = 1, here: bool = False) -> Record:
    kind = Kind.ACKNOWLEDGED_HERE if here else Kind.ACKNOWLEDGED
    return _record(kind, version, end - 10, end, process=process)


def test_a_read_that_began_when_the_invalidation_was_acknowledged_must_not_see_less() -> None:
    """At the very nanosecond of the acknowledgement it counts; the report names it as the cause."""
    invalidation = _acknowledged(3, 100)
    verdict = _check([_read(2, 100, 120)], [invalidation])
    assert _violated(verdict) == [Rule.INVALIDATED]
    assert (verdict.examples[0].cause, verdict.examples[0].expected) == (invalidation, 3)


@pytest.mark.parametrize(("version", "begin"), [(2, 99), (3, 100), (4, 100)])
def test_what_is_new_enough_or_began_before_the_acknowledgement_is_right(version: int, begin: int) -> None:
    assert _check([_read(version, begin, 200)], [_acknowledged(3, 100)]).count == 0


def test_it_is_the_highest_version_acknowledged_so_far_that_counts() -> None:
    """A late acknowledgement of an older version lowers nothing, and the first sufficient one is the cause."""
    history = [_acknowledged(5, 100), _acknowledged(3, 200), _acknowledged(6, 300)]
    verdict = _check([_read(4, 250, 260), _read(4, 400, 410)], history)
    assert [violation.expected for violation in verdict.examples] == [5, 5]
    assert _check([_read(5, 250, 260)], history).count == 0


def test_a_write_without_acknowledgement_binds_nobody() -> None:
    """Its process died, or the invalidation failed: readers may see the older version."""
    write = _record(Kind.WRITE, 4, 10, 20, process=1)
    assert _check([_read(3, 100, 110)], [write]).count == 0


def test_an_invalidation_that_waits_for_delivery_binds_its_own_process_only() -> None:
    waiting = _acknowledged(3, 100, here=True)
    assert _check([_read(2, 150, 160)], [waiting]).count == 0
    assert _violated(_check([waiting, _read(2, 150, 160, process=1)])) == [Rule.INVALIDATED]


def test_once_delivered_it_binds_everybody_from_then_on() -> None:
    delivered = [_acknowledged(3, 100, here=True), _record(Kind.DELIVERED, 0, 200, 200, process=1)]
    assert _check([_read(2, 199, 210)], delivered).count == 0
    assert _violated(_check([_read(2, 200, 210)], delivered)) == [Rule.INVALIDATED]


def test_what_comes_after_a_delivery_was_not_delivered_by_it() -> None:
    history = [_record(Kind.DELIVERED, 0, 90, 90, process=1), _acknowledged(3, 100, here=True)]
    assert _check([_read(2, 500, 510)], history).count == 0


# -- R1, local keys ----------------------------------------------------------------------------------------------


def test_a_local_key_may_lag_in_other_processes_by_the_allowance_and_the_lag_is_noted() -> None:
    invalidation = _acknowledged(3, 0)
    within, too_late = _read(2, 250 * _MS, 251 * _MS), _read(2, 250 * _MS + 1, 251 * _MS)
    verdict = _check([within], [invalidation], local=True)
    assert (verdict.count, verdict.lags) == (0, [250 * _MS])
    assert _violated(_check([too_late], [invalidation], local=True)) == [Rule.INVALIDATED]


def test_a_local_key_may_not_lag_in_the_process_that_invalidated_it() -> None:
    verdict = _check([_acknowledged(3, 0), _read(2, 5, 6, process=1)], local=True)
    assert (_violated(verdict), verdict.lags) == ([Rule.INVALIDATED], [])
    assert verdict.violations[Rule.INVALIDATED, True] == 1


def test_where_the_process_could_not_know_the_other_allowance_holds() -> None:
    """From the harm on, for as long as it may take to notice it; and in that place only."""
    second = 1000 * _MS
    harm = Harm(2, "black hole", 10, second, silent=True)
    read = _read(2, 3 * second, 3 * second + 1, process=6)  # the second process in place 2
    verdict = _check([read], [_acknowledged(3, 20)], local=True, harms=[harm])
    assert (verdict.count, verdict.harmed_lags) == (0, [3 * second - 20])
    elsewhere = _read(2, 3 * second, 3 * second + 1, process=3)
    assert _check([elsewhere], [_acknowledged(3, 20)], local=True, harms=[harm]).count == 1
    too_late = _read(2, 6500 * _MS, 6501 * _MS, process=6)
    verdict = _check([too_late], [_acknowledged(3, 20)], local=True, harms=[harm])
    assert (verdict.count, verdict.harmed_lags) == (1, [6500 * _MS - 20])
    later = _read(2, 8 * second, 8 * second + 1, process=6)
    assert _check([later], [_acknowledged(3, 20)], local=True, harms=[harm]).count == 1


def test_a_connection_that_was_cut_is_no_excuse() -> None:
    cut = Harm(0, "cut and refuse", 10, 200 * _MS, silent=False)
    read = _read(2, 300 * _MS, 301 * _MS)
    assert _check([read], [_acknowledged(3, 5)], local=True, harms=[cut]).count == 1


# -- R2 ----------------------------------------------------------------------------------------------------------


def test_a_reader_must_not_see_less_than_it_has_seen() -> None:
    earlier = _read(5, 0, 10)
    verdict = _check([earlier, _read(4, 10, 20)])
    assert (_violated(verdict), verdict.examples[0].cause, verdict.same_reader) == ([Rule.ORDER], earlier, 1)


def test_nor_less_than_another_task_of_its_process_had_seen_before_it_began() -> None:
    verdict = _check([_read(5, 0, 10, reader=2), _read(4, 11, 20)])
    assert (_violated(verdict), verdict.same_reader) == ([Rule.ORDER], 0)


def test_reads_that_overlap_or_are_made_by_different_processes_have_no_order() -> None:
    assert _check([_read(5, 0, 10, reader=2), _read(4, 9, 20)]).count == 0
    assert _check([_read(5, 0, 10)], [_read(4, 30, 40, process=1)]).count == 0


def test_what_counts_is_the_highest_version_seen_and_not_the_last() -> None:
    history = [_read(5, 0, 10, reader=2), _read(4, 5, 12), _read(4, 20, 30)]
    assert [violation.expected for violation in _check(history).examples] == [5]


def test_a_long_read_is_compared_with_what_had_ended_before_it_began_and_not_with_the_latest() -> None:
    """Versions 3 and 6 had been read; at the begin of the long read only 3."""
    history = [
        _read(3, 0, 10, reader=2),
        _read(6, 20, 30, reader=2),
        _read(4, 15, 40),
        _read(2, 12, 50, reader=3),
    ]
    verdict = _check(history)
    assert [(violation.read.version, violation.expected) for violation in verdict.examples] == [(2, 3)]


# -- R3 and R4 ---------------------------------------------------------------------------------------------------


def test_at_rest_only_the_current_version_is_right() -> None:
    assert _check([_record(Kind.FINAL, 9, 0, 10)]).count == 0
    assert _violated(_check([_record(Kind.FINAL, 8, 0, 10)])) == [Rule.QUIET]


@pytest.mark.parametrize("version", [0, 10, NO_VERSION])
def test_a_version_that_was_never_committed_is_found(version: int) -> None:
    assert _violated(_check([_read(version, 0, 10)])) == [Rule.COMMITTED]
    assert _violated(_check([_record(Kind.FINAL, version, 0, 10)])) == [Rule.COMMITTED]


def test_a_version_can_not_be_read_before_its_transaction_begins() -> None:
    write = _record(Kind.WRITE, 4, 100, 120, process=1)
    assert _violated(_check([_read(4, 80, 99)], [write])) == [Rule.COMMITTED]
    assert _check([_read(4, 80, 101)], [write]).count == 0


# -- the rest ----------------------------------------------------------------------------------------------------


def test_keys_whose_last_write_was_not_acknowledged_are_left_over() -> None:
    history = [
        _record(Kind.ACKNOWLEDGED, 4, 0, 10, key=1),
        _record(Kind.ACKNOWLEDGED, 5, 0, 10, key=2),
        _record(Kind.ACKNOWLEDGED_HERE, 6, 0, 10, key=3),
    ]
    assert leftovers([history], {0: 1, 1: 5, 2: 5, 3: 6}, first=1) == [1, 3]


def test_all_violations_are_counted_and_some_are_kept() -> None:
    reads = [_read(2, at, at) for at in range(100, 200)]
    verdict = _check(reads, [_acknowledged(3, 100)])
    assert (verdict.violations[Rule.INVALIDATED, False], len(verdict.examples)) == (100, 20)


def test_quantiles_and_counts_of_lags() -> None:
    lags = list(range(1, 101))
    assert (quantile(lags, 0.5), quantile(lags, 0.99), quantile(lags, 1.0)) == (51, 100, 100)
    assert (beyond(lags, 90), beyond(lags, 100), beyond([], 1), quantile([], 0.5)) == (10, 0, 0, 0)


def test_a_value_belongs_to_one_key_and_one_version() -> None:
    assert unpack(5, pack(5, 77)) == 77
    assert unpack(6, pack(5, 77)) == NO_VERSION
    assert unpack(5, "77") == NO_VERSION
    assert {key.local for key in make_keys(40, 4) if key.tags == ("tag:1",)} == {False, True}


def _play(draw: random.Random, steps: int) -> tuple[list[list[Record]], int]:
    """What processes see of a cache that is right: whoever reads gets what was acknowledged last, or what was committed."""
    processes: list[list[Record]] = [[], [], []]
    least = newest = 1
    seen = [1, 1, 1]
    for step in range(1, steps):
        process, at = draw.randrange(3), 100 * step
        if draw.random() < 0.2:
            newest += 1
            processes[process].append(_record(Kind.WRITE, newest, at, at + 10, process=process))
            if draw.random() < 0.8:
                least = newest
                processes[process].append(_acknowledged(newest, at + 20, process=process))
        else:
            seen[process] = draw.randint(max(least, seen[process]), newest)
            processes[process].append(_read(seen[process], at, at + 50, process=process))
    return processes, newest


@pytest.mark.parametrize("seed", range(20))
def test_a_history_of_a_right_cache_passes_and_no_read_in_it_can_be_made_older(seed: int) -> None:
    """Drawn at random; then one read at a time is given the version below what it had to see."""
    processes, current = _play(random.Random(seed), 200)
    assert _check(*processes, current=current).count == 0
    for process, history in enumerate(processes):
        for at, read in enumerate(history):
            if read.kind != Kind.READ:
                continue
            before = [r.version for r in history[:at] if r.kind == Kind.READ]
            ended = [
                r.version for h in processes for r in h if r.kind == Kind.ACKNOWLEDGED and r.end <= read.begin
            ]
            older = read._replace(version=max([1, *before, *ended]) - 1)
            spoilt = [*processes]
            spoilt[process] = [*history[:at], older, *history[at + 1 :]]
            assert _check(*spoilt, current=current).count >= 1
