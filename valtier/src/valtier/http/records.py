"""Records: what lies in Valkey under the keys of responses. A response, an index of its variants, or a mark to pass.

Each is the body of a cache entry (`valtier.cache.entry`): one letter that names the kind, and msgpack.
"""

from __future__ import annotations

from typing import Any

import msgspec

from valtier.cache.codec import RAW, Body, CorruptEntryError, register_raw
from valtier.http.rules import StoredPolicy

Line = tuple[bytes, bytes]


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A response: what it allows, its fields as they leave, and its body."""

    policy: StoredPolicy
    headers: tuple[Line, ...]
    body: bytes


class Index(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """In the place of a URI's response, where it has several: by which request fields they differ."""

    names: tuple[bytes, ...]
    """The fields that any of them named in `Vary`, sorted."""
    by_identity: bool
    """Whether some are for one identity only."""
    groups: tuple[str, ...] = ()
    """The tags of the groups that any of them belongs to (RFC 9875 §2.1: they are invalidated with their URI)."""


class Pass(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A mark: the last response could not be stored, and the next one likely can't. Nobody waits for another's."""

    reason: str


Record = Stored | Index | Pass

_LETTERS: dict[type, bytes] = {Stored: b"R", Index: b"I", Pass: b"P"}
_encode = msgspec.msgpack.Encoder().encode
_decoders: dict[bytes, msgspec.msgpack.Decoder[Any]] = {
    letter: msgspec.msgpack.Decoder(kind) for kind, letter in _LETTERS.items()
}


class AnyRecord:
    """What a look asks for: any of the records."""


def encode_record(record: Record) -> Body:
    """Returns the body of the entry that holds this record."""
    return Body(RAW, _LETTERS[type(record)] + _encode(record))


def decode_record(data: bytes) -> Record:
    """Returns the record.

    Raises:
        CorruptEntryError: there is none in these bytes.
    """
    decoder = _decoders.get(data[:1])
    if decoder is None:
        raise CorruptEntryError("no record of the response cache")
    try:
        record: Record = decoder.decode(memoryview(data)[1:])
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise CorruptEntryError(str(exc)) from exc
    return record


register_raw(AnyRecord, decode_record)
for _kind in _LETTERS:
    register_raw(_kind, decode_record)
