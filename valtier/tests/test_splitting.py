"""A call with keys in many slots, split and put together again, is what it would be on one server."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valtier.errors import (
    DeadlineError,
    OutcomeUnknownError,
    ReplyError,
    UnavailableError,
    ValkeyError,
    WrongTypeError,
)
from valtier.wire.cluster.slots import slot_of
from valtier.wire.cluster.splitting import is_split, merge, overall_error, split

keys = st.lists(st.binary(max_size=3) | st.sampled_from(["{a}1", "{a}2", "b"]).map(str.encode), max_size=30)


class OneServer:
    """What MGET, MSET and the rest do, over a dict."""

    def __init__(self) -> None:
        self.data: dict[Any, Any] = {}

    def run(self, name: str, *args: Any) -> Any:
        match name:
            case "MGET":
                return [self.data.get(key) for key in args]
            case "MSET":
                self.data |= dict(zip(args[::2], args[1::2], strict=True))
                return b"OK"
            case "DEL" | "UNLINK":
                return len([self.data.pop(key) for key in dict.fromkeys(args) if key in self.data])
            case _:
                return sum(key in self.data for key in args)


@given(
    st.lists(
        st.tuples(st.sampled_from(["MGET", "MSET", "DEL", "UNLINK", "EXISTS", "TOUCH"]), keys), max_size=12
    )
)
def test_the_parts_together_do_what_the_whole_would(calls: list[tuple[str, list[bytes]]]) -> None:
    whole, parted = OneServer(), OneServer()
    for number, (name, names) in enumerate(calls):
        args: list[Any] = list(names)
        if name == "MSET":
            args = [word for key in names for word in (key, number)]
        if not args:
            continue
        parts = split(name, [name, *args])
        replies = [parted.run(name, *part.args[1:]) for part in parts]
        assert merge(name, parts, replies) == whole.run(name, *args)
    assert parted.data == whole.data


@given(keys.filter(bool))
def test_every_part_lies_in_one_slot_and_no_key_is_lost(names: list[bytes]) -> None:
    parts = split("DEL", ["DEL", *names])
    for part in parts:
        assert {slot_of(key) for key in part.args[1:]} == {part.slot}
    assert sorted(key for part in parts for key in part.args[1:]) == sorted(names)
    assert len({part.slot for part in parts}) == len(parts)


def test_keys_of_one_slot_go_as_they_are() -> None:
    [part] = split("MGET", ["MGET", "{u}1", "{u}2", "{u}1"])
    assert part.args == ("MGET", "{u}1", "{u}2", "{u}1")


@pytest.mark.parametrize("args", [["MSET", "a", 1, "b"], ["MGET"], ["MSET"]])
def test_arguments_that_do_not_fit_go_whole_for_the_server_to_complain(args: list[Any]) -> None:
    [part] = split(args[0], args)
    assert part.args == tuple(args)


def test_commands_that_are_more_than_their_parts_are_not_split() -> None:
    assert not any(map(is_split, ("MSETNX", "SUNION", "PFCOUNT", "EVAL", "WATCH", "BLPOP")))


UNSENT, LATE, REFUSED = UnavailableError("a"), DeadlineError("b"), WrongTypeError("WRONGTYPE c")


@pytest.mark.parametrize(
    ("read", "results", "expected"),
    [
        (False, [b"OK", b"OK"], None),
        (False, [UNSENT, UNSENT], UNSENT),
        (False, [UNSENT, LATE], LATE),
        (False, [REFUSED, UNSENT], REFUSED),
        (True, [b"v", UNSENT], UNSENT),
    ],
)
def test_the_worst_of_the_parts_errors_is_told(
    read: bool, results: list[Any], expected: ValkeyError | None
) -> None:
    assert overall_error("MSET", read, results) is expected


def test_a_write_that_was_half_done_is_never_called_unsent() -> None:
    error = overall_error("MSET", False, [b"OK", UNSENT])
    assert isinstance(error, OutcomeUnknownError)
    assert not isinstance(error, ReplyError)
    assert error.__cause__ is UNSENT


@pytest.mark.parametrize("error", [REFUSED, LATE])
def test_a_write_of_which_a_part_failed_says_that_others_were_done(error: ValkeyError) -> None:
    told = overall_error("MSET", False, [b"OK", error, b"OK"])
    assert type(told) is type(error)
    assert str(told).startswith(str(error))
    assert "2 of its 3 parts were done" in str(told)
    assert told.__cause__ is error
    if isinstance(told, ReplyError):
        assert told.code == "WRONGTYPE"
    assert overall_error("MGET", True, [b"v", error]) is error  # a read has done nothing
