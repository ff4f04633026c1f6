"""Slot maps and redirections are read as they are meant; what is none of them is refused, and breaks nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valtier.errors import (
    DeadlineError,
    OutcomeUnknownError,
    OverloadedError,
    ProtocolError,
    ReplyError,
    UnavailableError,
)
from valtier.wire.address import Endpoint
from valtier.wire.cluster.routed import Step, decide
from valtier.wire.cluster.slotmap import (
    Redirection,
    SlotMap,
    best_of,
    parse_epochs,
    parse_redirection,
    parse_slots,
)
from valtier.wire.cluster.slots import SLOTS

ASKED = Endpoint("asked.example", 7000)
WHOLE = [
    [0, 8191, [b"10.0.0.1", 7001, b"id1", []], [b"10.0.0.2", 7002, b"id2", []]],
    [8192, 16383, [b"10.0.0.3", 7003, b"id3", {}]],
]


def test_primaries_and_replicas_are_read() -> None:
    read = parse_slots(WHOLE, ASKED)
    assert read.complete
    assert read.primaries() == {Endpoint("10.0.0.1", 7001), Endpoint("10.0.0.3", 7003)}
    assert read.replicas() == {Endpoint("10.0.0.2", 7002)}


@pytest.mark.parametrize("host", [None, b"", b"?", "?"])
def test_a_node_that_does_not_know_its_address_is_the_one_that_was_asked(host: Any) -> None:
    [part] = parse_slots([[0, 5, [host, 7001, b"id"]]], ASKED).ranges
    assert part.primary == Endpoint("asked.example", 7001)


@pytest.mark.parametrize(("host", "expected"), [(b"node-1.example", "node-1.example"), (b"::1", "::1")])
def test_host_names_and_ipv6_addresses_are_taken_as_they_are(host: bytes, expected: str) -> None:
    [part] = parse_slots([[0, 5, [host, 7001, b"id"]]], ASKED).ranges
    assert part.primary.host == expected


def test_the_map_that_covers_most_is_the_best() -> None:
    whole, part = parse_slots(WHOLE, ASKED), parse_slots(WHOLE[:1], ASKED)
    assert not part.complete
    assert best_of([part, SlotMap(), whole, part]) is whole
    assert best_of([]) is None


def test_a_map_is_as_new_as_the_newest_config_epoch_of_its_primaries() -> None:
    told = (
        b"id1 10.0.0.1:7001@17001,host master - 0 1 7 connected 0-8191\n"
        b"id2 10.0.0.2:7002@17002 slave id1 0 1 9 connected\n"
        b"id3 10.0.0.3:7003@17003 myself,master - 0 1 4 connected 8192-16383 [1->-id1]\n"
    )
    epochs = parse_epochs(told)
    assert epochs == {b"id1": 7, b"id2": 9, b"id3": 4}
    whole, part = parse_slots(WHOLE, ASKED, epochs), parse_slots(WHOLE[1:], ASKED, epochs)
    assert (whole.epoch, part.epoch) == (7, 4)
    undated = parse_slots(WHOLE, ASKED)
    assert best_of([undated, part]) is part  # what is not dated is older than anything
    assert best_of([part, whole]) is whole


@pytest.mark.parametrize("told", [None, [], ReplyError("NOPERM no"), b"", b"x y z\n", b"a b c d e f g\n"])
def test_what_tells_no_epochs_is_no_trouble(told: Any) -> None:
    assert parse_epochs(told) == {}


def test_slots_told_twice_count_once() -> None:
    assert parse_slots([WHOLE[0], WHOLE[0]], ASKED).covered == 8192


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"OK",
        [1],
        [[0]],
        [[0, 5]],
        [[5, 0, [b"h", 1]]],
        [[-1, 5, [b"h", 1]]],
        [[0, SLOTS, [b"h", 1]]],
        [[0, 5, [b"h", 0]]],
        [[0, 5, [b"h", 70000]]],
        [[0, 5, [b"h", b"7"]]],
        [[0, 5, [7, 7000]]],
        [[0, 5, [b"h"]]],
        [[0, 5, [b"\xff", 7000]]],
        [[b"0", 5, [b"h", 7000]]],
    ],
)
def test_what_is_no_map_is_refused(reply: Any) -> None:
    with pytest.raises(ProtocolError, match="CLUSTER SLOTS"):
        parse_slots(reply, ASKED)


anything = st.recursive(
    st.none() | st.integers(-1, 20_000) | st.binary(max_size=5) | st.booleans(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.binary(max_size=2), inner, max_size=2),
)


@given(anything)
def test_any_reply_is_a_map_or_refused(reply: Any) -> None:
    try:
        read = parse_slots(reply, ASKED)
    except ProtocolError:
        return
    assert 0 <= read.covered <= SLOTS
    assert all(0 < endpoint.port < 65536 for endpoint in read.primaries() | read.replicas())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("MOVED 3999 127.0.0.1:6381", Redirection(3999, Endpoint("127.0.0.1", 6381))),
        ("ASK 3999 node-1.example:6381", Redirection(3999, Endpoint("node-1.example", 6381))),
        ("MOVED 3999 ::1:6381", Redirection(3999, Endpoint("::1", 6381))),
        ("MOVED 3999 :6381", Redirection(3999, Endpoint("asked.example", 6381))),
        ("MOVED 3999 ?:6381", Redirection(3999, Endpoint("asked.example", 6381))),
        ("MOVED", None),
        ("MOVED 3999", None),
        ("MOVED x 127.0.0.1:6381", None),
        ("MOVED 16384 127.0.0.1:6381", None),
        ("MOVED -1 127.0.0.1:6381", None),
        ("MOVED 1 127.0.0.1", None),
        ("MOVED 1 127.0.0.1:0", None),
        ("MOVED 1 127.0.0.1:x", None),
    ],
)
def test_redirections(message: str, expected: Redirection | None) -> None:
    assert parse_redirection(ReplyError(message), ASKED) == expected


@given(st.text())
def test_any_error_is_a_redirection_or_none(message: str) -> None:
    parse_redirection(ReplyError(message), ASKED)


@pytest.mark.parametrize(
    ("error", "repeatable", "expected"),
    [
        (ReplyError("MOVED 1 h:1"), False, Step.MOVE),
        (ReplyError("ASK 1 h:1"), False, Step.ASK),
        (ReplyError("TRYAGAIN Multiple keys request during rehashing of slot"), False, Step.LATER),
        (ReplyError("CLUSTERDOWN The cluster is down"), False, Step.REFRESH),
        (ReplyError("LOADING Valkey is loading the dataset in memory"), False, Step.REFRESH),
        (ReplyError("READONLY You can't write against a read only replica."), False, Step.REFRESH),
        (ReplyError("WRONGTYPE x"), True, Step.FAIL),
        (ReplyError("MOVEDX 1 h:1"), True, Step.FAIL),
        (UnavailableError("x"), False, Step.LOST),
        (OverloadedError("x"), True, Step.FAIL),
        (OutcomeUnknownError("x"), False, Step.FAIL),
        (OutcomeUnknownError("x"), True, Step.LOST),
        (DeadlineError("x"), True, Step.FAIL),
        (ProtocolError("x"), True, Step.FAIL),
    ],
)
def test_only_what_did_not_run_or_may_run_twice_is_sent_again(
    error: Exception, repeatable: bool, expected: Step
) -> None:
    assert decide(error, repeatable=repeatable) is expected
