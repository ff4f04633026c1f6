"""What is stored comes back as it was, and what is not an entry is never taken for one."""

import contextlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valtier import ConfigurationError
from valtier.cache.codec import CorruptEntryError, encode_body
from valtier.cache.entry import Entry, decode_entry, is_marker, new_marker, new_version

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
tag_lists = st.lists(st.from_regex(r"[a-zé:0-9]{1,40}", fullmatch=True), max_size=8)


@given(plain, tag_lists)
def test_an_entry_survives_the_trip(value: Any, tags: list[str]) -> None:
    versions = tuple(new_version() for _ in tags)
    entry = decode_entry(Entry(encode_body(value), tuple(tags), versions).encode())
    assert entry.body.decode() == value
    assert (entry.tags, entry.versions) == (tuple(tags), versions)


@given(st.binary())
def test_arbitrary_bytes_are_read_or_refused_but_never_crash(raw: bytes) -> None:
    with contextlib.suppress(CorruptEntryError):
        decode_entry(raw).body.decode()


@given(plain, tag_lists, st.data())
def test_an_entry_cut_short_is_refused_or_shorter(value: Any, tags: list[str], data: st.DataObject) -> None:
    whole = Entry(encode_body([value]), tuple(tags), tuple(new_version() for _ in tags)).encode()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(CorruptEntryError):
        decode_entry(cut).body.decode()


def test_a_marker_is_no_entry() -> None:
    marker = new_marker()
    assert is_marker(marker)
    assert not is_marker(Entry(encode_body(b"x" * 13)).encode())
    with pytest.raises(CorruptEntryError):
        decode_entry(marker)


def test_an_entry_is_alive_only_while_every_tag_has_its_version() -> None:
    old, new = new_version(), new_version()
    entry = Entry(encode_body(1), ("a", "b"), (old, old))
    assert entry.alive((old, old))
    assert not entry.alive((old, new))
    assert not entry.alive((old, None))


def test_a_type_brings_the_value_back_as_that_type() -> None:
    @dataclass
    class User:
        name: str

    assert encode_body(User("Ada")).decode(User) == User("Ada")
    with pytest.raises(CorruptEntryError):
        encode_body({"name": 5}).decode(User)


@pytest.mark.parametrize("value", [object(), {1: object()}, 2**70, lambda: None])
def test_what_cannot_be_serialised_is_refused_clearly(value: object) -> None:
    with pytest.raises(ConfigurationError, match="can't be cached"):
        encode_body(value)
