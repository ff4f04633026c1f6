"""Entries: how a value lies in Valkey.

An entry is a header and a body::

    format  1 byte   1; a lease's marker has 0 here
    codec   1 byte   0 the body is the value, 1 msgpack
    tags    2 bytes  length of the tag names, joined by line feeds
            …        the names, then one version of 8 bytes for each

The versions are those that the tags had before the value was loaded. An entry whose tags have other versions now, or
none, is dead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from valtier.errors import ConfigurationError

_FORMAT = 1
_MARKER = 0
_RAW, _MSGPACK = 0, 1
_PLAIN_HEADERS = {codec: bytes((_FORMAT, codec, 0, 0)) for codec in (_RAW, _MSGPACK)}
VERSION_SIZE = 8
_MAX_NAMES = 2**16 - 1

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


class CorruptEntryError(ValueError):
    """What is stored is no entry of this format, or not of the expected type."""


def decoder_for(type_: Any) -> msgspec.msgpack.Decoder[Any]:
    """Returns what decodes msgpack into `type_`, made once for each type.

    Raises:
        ConfigurationError: msgspec can't decode into such a type.
    """
    decoder = _decoders.get(type_)
    if decoder is None:
        try:
            decoder = _decoders[type_] = msgspec.msgpack.Decoder(type_)
        except TypeError as exc:
            raise ConfigurationError(f"cached values can't be decoded into {type_}: {exc}") from exc
    return decoder


@dataclass(frozen=True, slots=True)
class Body:
    """An encoded value."""

    codec: int
    data: bytes

    def decode(self, type_: Any = Any) -> Any:
        """Returns the value, decoded anew: nobody shares mutable parts with anybody.

        Raises:
            CorruptEntryError: the bytes are not a value of `type_`.
        """
        if self.codec == _RAW:
            return self.data
        try:
            return decoder_for(type_).decode(self.data)
        except (msgspec.DecodeError, msgspec.ValidationError) as exc:
            raise CorruptEntryError(str(exc)) from exc


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored value with the tags it depends on."""

    body: Body
    tags: tuple[str, ...] = ()
    versions: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        if not self.tags:
            return _PLAIN_HEADERS[self.body.codec] + self.body.data
        names = "\n".join(self.tags).encode()
        if len(names) > _MAX_NAMES:
            raise ConfigurationError(f"an entry's tags have {_MAX_NAMES} bytes at most, these {len(names)}")
        header = bytes((_FORMAT, self.body.codec)) + len(names).to_bytes(2, "big")
        return b"".join((header, names, *self.versions, self.body.data))

    def alive(self, versions: Sequence[bytes | None]) -> bool:
        """Whether the entry's tags still have the versions with which it was loaded."""
        return self.versions == tuple(versions)


def encode_body(value: object) -> Body:
    """Encodes a value: bytes as they are, everything else as msgpack.

    Raises:
        ConfigurationError: the value can't be serialised.
    """
    if type(value) is bytes:
        return Body(_RAW, value)
    try:
        return Body(_MSGPACK, _encoder.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise ConfigurationError(
            f"a {type(value).__name__} can't be cached: {exc}. Return bytes, builtin types, dataclasses or Structs"
        ) from exc


def decode_entry(raw: bytes) -> Entry:
    """Parses what Valkey holds.

    Raises:
        CorruptEntryError: it is cut short, or of another format.
    """
    if len(raw) < 4 or raw[0] != _FORMAT or raw[1] > _MSGPACK:
        raise CorruptEntryError("not an entry of this version")
    names_end = 4 + int.from_bytes(raw[2:4], "big")
    if names_end == 4:
        return Entry(Body(raw[1], raw[4:]))
    try:
        tags = tuple(raw[4:names_end].decode().split("\n"))
    except UnicodeDecodeError as exc:
        raise CorruptEntryError("the tag names are no text") from exc
    body_start = names_end + VERSION_SIZE * len(tags)
    if len(raw) < body_start:
        raise CorruptEntryError("cut short")
    versions = tuple(raw[i : i + VERSION_SIZE] for i in range(names_end, body_start, VERSION_SIZE))
    return Entry(Body(raw[1], raw[body_start:]), tags, versions)


def new_marker() -> bytes:
    """Returns a lease's marker, which nobody else has."""
    return bytes((_MARKER,)) + os.urandom(16)


def is_marker(raw: bytes) -> bool:
    return len(raw) == 17 and raw[0] == _MARKER


def new_version() -> bytes:
    """Returns a tag's version: random, so that an evicted tag never gets an old version back."""
    return os.urandom(VERSION_SIZE)
