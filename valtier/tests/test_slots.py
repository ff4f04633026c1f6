"""A key's slot, and which arguments are keys, are what the server says they are."""

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wires import PATIENT, open_wire

from valtier.embedded import EmbeddedCluster, EmbeddedValkey
from valtier.errors import ReplyError
from valtier.wire.cluster.commands import FIRST_IS_KEY, KNOWN, lookup, name_of
from valtier.wire.cluster.keyspec import Command, KeySpec, parse_command_info
from valtier.wire.cluster.slots import SLOTS, slot_of

keys = st.binary(max_size=40) | st.text("{}ab", max_size=12).map(str.encode)


def slot_bit_by_bit(key: bytes) -> int:
    """CRC16 as the specification defines it: polynomial 0x1021, beginning with 0, nothing reflected."""
    crc = 0
    for byte in key:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc % SLOTS


def test_the_checksum_is_the_one_of_the_specification() -> None:
    """The specification's own example: CRC16 of 123456789 is 0x31C3."""
    assert slot_of(b"123456789") == 0x31C3 % SLOTS


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        ("{user1000}.following", "user1000"),
        ("foo{}{bar}", "foo{}{bar}"),
        ("foo{{bar}}zap", "{bar"),
        ("foo{bar}{zap}", "bar"),
        ("{}", "{}"),
        ("foo{bar", "foo{bar"),
        ("}{", "}{"),
        ("", ""),
    ],
)
def test_hash_tags_are_those_of_the_specification(key: str, hashed: str) -> None:
    assert slot_of(key) == slot_bit_by_bit(hashed.encode())


@given(keys)
def test_a_slot_is_a_number_below_16384(key: bytes) -> None:
    assert 0 <= slot_of(key) < SLOTS


@given(st.text("ab", min_size=1), st.text("ab{}"))
def test_keys_with_one_hash_tag_share_a_slot(tag: str, rest: str) -> None:
    assert slot_of(f"{{{tag}}}{rest}") == slot_of(tag)


@given(st.text(), st.integers(), st.floats(allow_nan=False))
def test_text_and_numbers_have_the_slot_of_what_is_sent(text: str, whole: int, real: float) -> None:
    assert slot_of(text) == slot_of(text.encode())
    assert slot_of(whole) == slot_of(str(whole))
    assert slot_of(real) == slot_of(repr(real))


async def test_the_server_puts_keys_into_the_same_slots(cluster: EmbeddedCluster) -> None:
    """Two thousand keys, half of them full of braces."""
    chance = random.Random(1)
    samples = [chance.randbytes(chance.randrange(30)) for _ in range(1000)]
    samples += [bytes(chance.choices(b"{}xy", k=chance.randrange(12))) for _ in range(1000)]
    async with open_wire(cluster.url, PATIENT) as wire:
        told = await wire.call_many(("CLUSTER", "KEYSLOT", key) for key in samples)
    assert told == [slot_of(key) for key in samples]


# -- which arguments are keys ------------------------------------------------------------------------------

TOLD_OTHERWISE = {"SORT"}  # the server does not tell where the key to store in stands; the table does


def flatten(entries: list[Any]) -> dict[str, Command]:
    return {name: command for entry in entries for name, command in parse_command_info(entry).items()}


@pytest.mark.parametrize("version", ["valkey", "valkey81"])
async def test_the_table_says_what_the_server_says(version: str, request: pytest.FixtureRequest) -> None:
    """Of every command in the table: where its keys are, and whether it only reads."""
    server: EmbeddedValkey = request.getfixturevalue(version)
    async with open_wire(server.url, PATIENT) as wire:
        told = flatten(await wire.call("COMMAND"))
    compared = 0
    for name, command in told.items():
        if name in KNOWN and name not in TOLD_OTHERWISE:
            known = KNOWN[name]
            assert set(known.specs) == set(command.specs), name
            if known.specs:
                assert known.read == command.read, name
            compared += 1
        elif lookup(name.split(" ")) is not None and name not in TOLD_OTHERWISE:
            assert command.specs == (), f"{name} has keys, and the table says that it has none"
    assert compared > 200


@pytest.mark.parametrize(
    "words",
    [
        "GET k",
        "set k v ex 5",
        "MSET a 1 b 2 c 3",
        "MGET a b c",
        "EVAL script 2 a b x y",
        "EVALSHA sha 0 x",
        "FCALL f 1 a b",
        "XREAD COUNT 2 STREAMS a b 0 0",
        "XREADGROUP GROUP g c BLOCK 5 STREAMS a b > >",
        "ZUNION 2 a b WEIGHTS 1 2",
        "ZUNIONSTORE dest 2 a b",
        "ZINTERCARD 2 a b LIMIT 1",
        "BLMPOP 0 2 a b LEFT",
        "BLPOP a b 0",
        "SORT a BY nosort STORE b",
        "BITOP AND dest a b",
        "COPY a b DB 1",
        "LCS a b LEN",
        "GEORADIUS k 1 2 3 km STORE d",
        "OBJECT ENCODING k",
        "XINFO STREAM k",
        "XGROUP CREATE k g 0",
        "MEMORY USAGE k",
        "MSETEX 2 a 1 b 2",
        "SUNIONSTORE d a b",
        "PFMERGE d a b",
    ],
)
async def test_the_keys_of_a_command_are_those_that_the_server_finds(
    words: str, valkey: EmbeddedValkey
) -> None:
    args = words.split(" ")
    async with open_wire(valkey.url, PATIENT) as wire:
        [told] = await wire.call_many([("COMMAND", "GETKEYS", *args)])
    if isinstance(told, ReplyError):
        assert "no key" in str(told)
        told = []
    command = lookup(args)
    assert command is not None
    assert [args[at].encode() for at in command.key_positions(args)] == told


def test_a_command_is_found_however_it_is_written() -> None:
    for name in ("GET", "get", b"GET", b"get"):
        assert FIRST_IS_KEY[name] is True
    assert FIRST_IS_KEY["SET"] is False
    assert lookup(["Get", "k"]) == KNOWN["GET"]
    assert name_of([b"xinfo", "stream", "k"]) == "XINFO STREAM"
    assert lookup(["OBJECT", "HELP"]) == Command()
    assert lookup(["JSON.GET", "k"]) is None


words = st.lists(
    st.sampled_from(["STREAMS", "STORE", "2", "-1", "x", "99999999999999999999", ""]) | st.binary(max_size=3),
    max_size=6,
)


@given(st.sampled_from(sorted(KNOWN)), words)
@settings(max_examples=300)
def test_arguments_that_do_not_fit_break_nothing(name: str, rest: list[str | bytes]) -> None:
    """They go to the server, which complains. Every position is one of the arguments."""
    args = [*name.split(" "), *rest]
    assert all(0 < position < len(args) for position in KNOWN[name].key_positions(args))


@given(
    st.recursive(
        st.none() | st.integers() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.binary(), inner),
    )
)
@example([b"", None, None, None, None, None])
@example([b"", None, [], None, None, None, None, None, 1])
@example([b"", 1, [], 1, 1, 1, 1, 1, 1])
def test_a_strange_answer_to_command_info_teaches_nothing(entry: Any) -> None:
    assert all(isinstance(command, Command) for command in parse_command_info(entry).values())


def test_an_old_server_tells_first_and_last_key_and_step() -> None:
    """Redis 6 knows no key specifications."""
    old = [b"mset", -3, [b"write"], 1, -1, 2]
    assert parse_command_info(old) == {"MSET": Command((KeySpec(1, last=-1, step=2),))}
