"""Fields: the application's data in a session, each field msgpack of its own; with types, if they are declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from valtier.errors import ConfigurationError

_MOST_FIELDS = 128
_LONGEST_NAME = 64
_encode = msgspec.msgpack.Encoder().encode


class Fields:
    """What fields a session may have: any, or those of a `msgspec.Struct` whose fields all have defaults."""

    def __init__(self, type_: type[msgspec.Struct] | None) -> None:
        """Raises ConfigurationError: it is no such type."""
        self._type = type_
        self._decoders: dict[str, msgspec.msgpack.Decoder[Any]] | None = None
        if type_ is None:
            self._any: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()
            return
        if not _is_struct(type_):
            raise ConfigurationError(
                f"data is a msgspec.Struct whose fields all have defaults, not {type_!r}"
            )
        infos = msgspec.structs.fields(type_)
        if required := [info.name for info in infos if info.required]:
            raise ConfigurationError(
                f"{type_.__name__} needs a default for {', '.join(required)}: a new session has no fields"
            )
        self._decoders = {info.name: msgspec.msgpack.Decoder(info.type) for info in infos}

    def encode(self, values: Mapping[str, object]) -> dict[str, bytes]:
        """Encodes fields.

        Raises:
            ConfigurationError: a name can't be one, or is not declared; a value has another type, or none for msgpack.
        """
        if len(values) > _MOST_FIELDS:
            raise ConfigurationError(f"a session has at most {_MOST_FIELDS} fields")
        encoded: dict[str, bytes] = {}
        for name, value in values.items():
            self.check(name)
            try:
                data = _encode(value)
                if self._decoders is not None:
                    self._decoders[name].decode(data)
            except (TypeError, ValueError, OverflowError, msgspec.MsgspecError, RecursionError) as exc:
                raise ConfigurationError(
                    f"the session field {name!r} can't hold this {type(value).__name__}: {exc}"
                ) from exc
            encoded[name] = data
        return encoded

    def check(self, name: str) -> str:
        """Returns `name` if a field may have it. Raises ConfigurationError."""
        if type(name) is not str or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise ConfigurationError(
                f"a session field's name has 1 to {_LONGEST_NAME} printable characters, unlike {name!r}"
            )
        if self._decoders is not None and name not in self._decoders:
            raise ConfigurationError(
                f"there is no session field {name!r}: declared are {', '.join(self._decoders)}"
            )
        return name

    def check_all(self, names: Iterable[str]) -> list[str]:
        """Returns names that fields may have, each once. Raises ConfigurationError: also if they are too many."""
        checked = list(dict.fromkeys(self.check(name) for name in names))
        if len(checked) > _MOST_FIELDS:
            raise ConfigurationError(f"at most {_MOST_FIELDS} session fields are removed at once")
        return checked

    def decode(self, fields: Mapping[str, bytes]) -> Any:
        """Returns the data as the declared type, else as a dict. What can't be read, or is not declared, is left out."""
        decoders, values = self._decoders, {}
        for name, data in fields.items():
            decoder = self._any if decoders is None else decoders.get(name)
            if decoder is None:
                continue
            try:
                values[name] = decoder.decode(data)
            except (msgspec.MsgspecError, ValueError):
                continue  # written by another version of the program: as good as not set
        return values if self._type is None else self._type(**values)


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)
