"""Codecs: how a value becomes bytes and comes back. Bytes as they are, all else as msgpack or JSON; large ones compressed."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import zstandard

from valtier.errors import ConfigurationError

RAW, MSGPACK, JSON = 0, 1, 2
ZSTD = 0x80
"""Set in the codec's byte where the data are compressed."""

MAX_DECOMPRESSED = 512 * 2**20
"""No value is larger; what claims to be is no value of ours."""

_Decoder = msgspec.msgpack.Decoder[Any] | msgspec.json.Decoder[Any]
_encode = {MSGPACK: msgspec.msgpack.Encoder().encode, JSON: msgspec.json.Encoder().encode}
_kinds: dict[int, type[msgspec.msgpack.Decoder[Any] | msgspec.json.Decoder[Any]]] = {
    MSGPACK: msgspec.msgpack.Decoder,
    JSON: msgspec.json.Decoder,
}
_decoders: dict[tuple[int, Any], _Decoder] = {}
_raw_decoders: dict[Any, Callable[[bytes], Any]] = {}


class CorruptEntryError(ValueError):
    """What is stored is no entry of this format, or not of the expected type."""


class _Zstd(threading.local):
    """Contexts are costly to make and of one thread each."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=3, write_content_size=True)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


def decoder_for(type_: Any, codec: int = MSGPACK) -> _Decoder:
    """Returns what decodes into `type_`, made once for each type.

    Raises:
        ConfigurationError: msgspec can't decode into such a type.
    """
    decoder = _decoders.get((codec, type_))
    if decoder is None:
        try:
            decoder = _decoders[codec, type_] = _kinds[codec](type_)
        except TypeError as exc:
            raise ConfigurationError(f"cached values can't be decoded into {type_}: {exc}") from exc
    return decoder


@dataclass(slots=True)
class Body:
    """An encoded value."""

    codec: int
    data: bytes

    def decode(self, type_: Any = Any) -> Any:
        """Returns the value, decoded anew: nobody shares mutable parts with anybody.

        Raises:
            CorruptEntryError: the bytes are not a value of `type_`.
        """
        codec, data = self.codec, self.data
        if codec & ZSTD:
            codec, data = codec & ~ZSTD, _decompress(data)
        if codec == RAW:
            if type_ is Any or type_ is bytes:
                return data
            decode = _raw_decoders.get(type_)
            return _convert(data, type_) if decode is None else decode(data)
        try:
            return decoder_for(type_, codec).decode(data)
        except Exception as exc:  # also no UTF-8, too deep, and whatever a `__post_init__` raises
            raise CorruptEntryError(str(exc)) from exc


def register_raw(type_: type, decode: Callable[[bytes], Any]) -> None:
    """Makes raw bytes that are asked for as `type_` come back by `decode`, as something that nobody can change.

    `decode` raises `CorruptEntryError` where they can't be read.
    """
    _raw_decoders[type_] = decode


def _convert(data: bytes, type_: Any) -> Any:
    """Returns bytes as a value of the type, which may be `bytes | None` or an alias of it.

    Raises:
        CorruptEntryError: they are none.
    """
    try:
        return msgspec.convert(data, type_)
    except Exception as exc:
        raise CorruptEntryError(str(exc)) from exc


def is_codec(codec: int) -> bool:
    """Whether this version of the library reads it."""
    return codec & ~ZSTD <= JSON


def encode_body(value: object, codec: int = MSGPACK, compress_above: int | None = None) -> Body:
    """Encodes a value: bytes as they are, everything else by `codec`.

    Args:
        value: the value.
        codec: `MSGPACK` or `JSON`.
        compress_above: from how many bytes on to compress; `None` never.

    Raises:
        ConfigurationError: the value can't be serialised.
    """
    if type(value) is bytes:
        codec, data = RAW, value
    else:
        try:
            data = _encode[codec](value)
        except (TypeError, ValueError, OverflowError, RecursionError) as exc:
            raise ConfigurationError(
                f"a {type(value).__name__} can't be cached: {exc}. Return bytes, builtin types, dataclasses or Structs"
            ) from exc
    if compress_above is not None and len(data) > compress_above:
        packed = _zstd.compressor.compress(data)
        if len(packed) < len(data):
            return Body(codec | ZSTD, packed)
    return Body(codec, data)


def _decompress(data: bytes) -> bytes:
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= MAX_DECOMPRESSED:
            raise CorruptEntryError(f"it says that it decompresses to {size} bytes")
        return _zstd.decompressor.decompress(data)
    except zstandard.ZstdError as exc:
        raise CorruptEntryError(f"can't be decompressed: {exc}") from exc


_ATOMS = frozenset(
    (
        *(str, bytes, int, float, bool, type(None), complex, uuid.UUID, decimal.Decimal),
        *(dt.datetime, dt.date, dt.time, dt.timedelta),
    )
)


def is_immutable(value: object) -> bool:
    """Whether nobody can change any part of it, so that many may hold it."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(is_immutable, value))  # type: ignore[call-overload]
    if isinstance(value, (enum.Enum, *_raw_decoders)):
        return True
    if isinstance(value, msgspec.Struct) and value.__struct_config__.frozen:
        return all(is_immutable(getattr(value, name)) for name in value.__struct_fields__)
    return False
