"""Packets, payloads, numbers, offsets and origins: what is pure holds for every input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valtier import ConfigurationError
from valtier.socketio import packets
from valtier.socketio.offsets import Position, format_offset, parse_offset
from valtier.socketio.origins import allows
from valtier.socketio.packets import Incoming, PacketError
from valtier.socketio.payloads import BadPacketError, read_payload
from valtier.socketio.sequences import Sequences

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts | st.binary(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
names = texts.filter(lambda name: name not in packets._RESERVED)
namespaces = st.sampled_from(["/", "/chat", "/a-b_c"])


def without_placeholders(value: Any) -> bool:
    """A client can't send an object that looks like a placeholder, as in every implementation."""
    if isinstance(value, dict):
        return "_placeholder" not in value and all(map(without_placeholders, value.values()))
    return not isinstance(value, list) or all(map(without_placeholders, value))


def decoded(text: str, parts: tuple[bytes, ...]) -> Incoming:
    packet = packets.decode(text)
    for index, part in enumerate(parts):
        assert packet.add(part) == (index == len(parts) - 1)
    return packet


@settings(max_examples=200)
@given(namespaces, names, st.lists(values.filter(without_placeholders), max_size=3))
def test_an_event_arrives_as_it_was_sent(namespace: str, name: str, arguments: list[Any]) -> None:
    sent = packets.event(namespace, name, tuple(arguments))
    if len(sent.parts) > packets.MAX_ATTACHMENTS:
        return
    packet = decoded(sent.text, sent.parts)
    assert packet.type in (packets.EVENT, packets.BINARY_EVENT)
    assert packet.namespace == namespace
    assert packet.data == [name, *arguments]


@given(namespaces, st.integers(0, 10**14), st.lists(values.filter(without_placeholders), max_size=3))
def test_an_acknowledgement_arrives_as_it_was_sent(namespace: str, number: int, arguments: list[Any]) -> None:
    sent = packets.ack(namespace, number, arguments)
    if len(sent.parts) > packets.MAX_ATTACHMENTS:
        return
    packet = decoded(sent.text, sent.parts)
    assert (packet.id, packet.namespace, packet.data) == (number, namespace, arguments)


@settings(max_examples=300)
@given(
    st.text(max_size=40) | st.from_regex(r"[0-9]{1,3}-?(/\w*,?)?[0-9]*[\[{\"][\w\[\]{},\":]*", fullmatch=True)
)
def test_any_text_is_a_packet_or_a_packet_error(text: str) -> None:
    try:
        packet = packets.decode(text)
    except PacketError:
        return
    assert 0 <= packet.type <= 6


@pytest.mark.parametrize("data", [object(), {1j: 1}, float, {"a": object()}])
def test_what_cant_be_sent_is_refused_where_it_is_emitted(data: Any) -> None:
    with pytest.raises(ConfigurationError, match="JSON's types and bytes"):
        packets.event("/", "x", data)


def test_data_that_contains_itself_is_refused_where_it_is_emitted() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        packets.event("/", "x", loop)


@given(st.binary(max_size=60))
def test_any_body_is_a_payload_or_a_bad_packet(body: bytes) -> None:
    try:
        found = list(read_payload(body))
    except BadPacketError:
        return
    assert found


# -- numbers -----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 30)), max_size=120))
def test_every_event_is_accepted_at_most_once(arrivals: list[tuple[str, int]]) -> None:
    sequences = Sequences()
    accepted = [arrival for arrival in arrivals if sequences.accept(*arrival)]
    assert len(accepted) == len(set(accepted))
    assert sequences.duplicates == len(arrivals) - len(accepted)


@given(st.integers(1, 40), st.integers(0, 10), st.data())
def test_what_comes_late_is_accepted_and_what_never_comes_is_counted(
    count: int, swaps: int, data: st.DataObject
) -> None:
    order = list(range(2, count + 2))
    for _ in range(swaps):
        one, two = (data.draw(st.integers(0, count - 1)) for _ in range(2))
        order[one], order[two] = order[two], order[one]
    missing = data.draw(st.sets(st.sampled_from(order), max_size=count - 1))
    sequences = Sequences()
    sequences.accept("a", 1)
    came = [number for number in order if number not in missing]
    assert [number for number in came if sequences.accept("a", number)] == came
    assert sequences.gaps - sequences.late == len([number for number in missing if number < max(came)])


# -- offsets -----------------------------------------------------------------------------------------------

positions = st.builds(
    lambda left, right, host, ahead: Position((left, right), host, ahead if host else 0),
    st.integers(0, 10**15),
    st.integers(0, 10**6),
    st.sampled_from(["", "0af3"]),
    st.integers(0, 10**9),
)


@given(st.lists(positions, min_size=1, max_size=4))
def test_an_offset_is_read_as_it_was_told(told: list[Position]) -> None:
    assert parse_offset(format_offset(told), len(told)) == told


@given(st.text(max_size=30) | st.none() | st.integers() | st.lists(st.text()))
def test_any_offset_of_a_client_is_one_or_none(offset: object) -> None:
    found = parse_offset(offset, 1)
    assert found is None or len(found) == 1


# -- origins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "may"),
    [
        (None, "a.example", None, True),
        ("https://a.example", "a.example", None, True),
        ("http://a.example", "a.example", None, True),
        ("https://a.example", "a.example:443", None, True),
        ("https://a.example:8443", "a.example", None, False),
        ("https://A.example", "a.EXAMPLE", None, True),
        ("https://b.example", "a.example", None, False),
        ("https://b.example", "a.example", ["https://b.example"], True),
        ("https://b.example.evil", "a.example", ["https://b.example"], False),
        ("https://b.example", "a.example", ["*"], True),
        ("null", "a.example", None, False),
        ("", "a.example", None, False),
        ("file://", "a.example", None, False),
        ("https://a.example", None, None, False),
        ("https://a.example:x", "a.example:x", None, False),
        ("http://[::1]:80", "[::1]", None, True),
        ("http://[::1", "[::1", None, False),
        ("https://a.example/", "a.example", None, False),
        ("https://x@a.example", "a.example", None, False),
        ("https://", "", None, False),
    ],
)
def test_pages_of_the_same_host_and_of_the_list_may_connect(
    origin: str | None, host: str | None, allowed: list[str] | None, *, may: bool
) -> None:
    assert allows(origin, host, allowed) is may
