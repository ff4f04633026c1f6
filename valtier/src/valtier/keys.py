"""Keys: what a key may be, and templates that build keys from arguments."""

from __future__ import annotations

import enum
import functools
import itertools
import re
import string
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import quote

from valtier.errors import ConfigurationError

MAX_KEY_LENGTH = 512
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SEPARATORS = frozenset(":/|@,;=+&#")  # what an encoded argument never holds
_ENCODED = r"[A-Za-z0-9_.~%!-]*"  # what it may hold


def check(key: str, *, what: str = "key") -> str:
    """Returns `key` if it is 1 to 512 printable characters without white space.

    Raises:
        ConfigurationError: it is not.
    """
    if type(key) is not str:
        raise ConfigurationError(f"a {what} is text, not {type(key).__name__}: {key!r}")
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise ConfigurationError(
            f"a {what} has 1 to {MAX_KEY_LENGTH} characters, this one {len(key)}: {key[:60]!r}. Hash long parts"
        )
    if not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"a {what} holds no white space and no control characters: {key[:60]!r}. Percent-encode user input"
        )
    return key


def check_prefix(prefix: str) -> str:
    """Returns `prefix` if it is 1 to 64 letters, digits and any of `_ - . :`.

    Raises:
        ConfigurationError: it is not; names are also searched by pattern, where other characters would mean something.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            f"a prefix is 1 to 64 letters, digits and _ - . : characters, not {prefix!r}"
        )
    return prefix


def encode(value: object) -> str:
    """Returns one argument as a part of a key: percent-encoded, so that it can't imitate another key.

    Raises:
        ConfigurationError: the value has no one obvious spelling (a list, an object, a float).
    """
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is str and value.isalnum() and value.isascii():  # type: ignore[attr-defined]
        return value  # type: ignore[return-value]
    if isinstance(value, enum.Enum):
        return encode(value.value)
    if isinstance(value, bool) or value is None:
        return {True: "!true", False: "!false", None: "!null"}[
            value
        ]  # no text is spelt so: `quote` escapes the !
    if isinstance(value, int | uuid.UUID):
        return str(value)
    if isinstance(value, str):
        return quote(value, safe="", errors="surrogatepass")
    raise ConfigurationError(
        f"a key is built from text, integers, UUIDs, enums, booleans or None, not from {type(value).__name__}"
    )


class Template:
    """A key with `{name}` fields, such as `"user:{user_id}"`, checked against the names that will fill them."""

    __slots__ = ("_parts", "_pattern", "fields", "text")

    def __init__(self, text: str, *, names: Iterable[str]) -> None:
        """Parses `text`.

        Raises:
            ConfigurationError: a field is not among `names`, asks for an index, a format or a conversion, or is not
                separated from the next one.
        """
        known = set(names)
        self.text = text
        self._pattern: re.Pattern[str] | None = None
        self._parts: list[tuple[str, str | None]] = []
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as exc:
            raise ConfigurationError(f"the key template {text!r} can't be read: {exc}") from exc
        for literal, field, spec, conversion in parsed:
            if field is not None and (spec or conversion or not field.isidentifier()):
                raise ConfigurationError(f"the key template {text!r} takes plain {{name}} fields only")
            if field is not None and field not in known:
                given = ", ".join(sorted(known)) or "none"
                raise ConfigurationError(
                    f"the key template {text!r} names {field!r}, which is no parameter (there are: {given})"
                )
            self._parts.append((literal, field))
        for (_, field), (literal, following) in itertools.pairwise(self._parts):
            if field is not None and following is not None and not _SEPARATORS.intersection(literal):
                raise ConfigurationError(
                    f"the key template {text!r} needs one of {''.join(sorted(_SEPARATORS))} between {{{field}}} and "
                    f"{{{following}}}: without it different arguments make the same key"
                )
        self.fields = frozenset(field for _, field in self._parts if field is not None)
        check("".join(literal + (field or "") for literal, field in self._parts), what="key template")

    def render(self, values: Mapping[str, object]) -> str:
        """Returns the key for these values.

        Raises:
            ConfigurationError: a value can't be a part of a key, or the key gets too long.
        """
        text = "".join(
            [literal if field is None else literal + encode(values[field]) for literal, field in self._parts]
        )
        return text if len(text) <= MAX_KEY_LENGTH else check(text)

    def parse(self, text: str) -> dict[str, str] | None:
        """Returns what each field is in a key that this template has made, still encoded; `None` if it made no such key."""
        if self._pattern is None:
            named: set[str] = set()
            pattern = ""
            for literal, field in self._parts:
                pattern += re.escape(literal)
                if field is not None:  # what stands twice has to be the same twice
                    pattern += f"(?P={field})" if field in named else f"(?P<{field}>{_ENCODED})"
                    named.add(field)
            self._pattern = re.compile(pattern)
        match = self._pattern.fullmatch(text)
        return None if match is None else match.groupdict()

    def positional(self, places: Mapping[str, int]) -> Callable[[Sequence[object]], str]:
        """Returns what renders from a sequence, given where in it each field's value is. It raises as `render` does."""
        parts = [(literal, -1 if field is None else places[field]) for literal, field in self._parts]
        if len(parts) == 1 and parts[0][1] >= 0:
            return functools.partial(_render_one, *parts[0])
        return functools.partial(_render, parts)


def _render_one(literal: str, place: int, values: Sequence[object]) -> str:
    value = values[place]
    text = f"{literal}{value}" if type(value) is int else literal + encode(value)
    return text if len(text) <= MAX_KEY_LENGTH else check(text)


def _render(parts: Sequence[tuple[str, int]], values: Sequence[object]) -> str:
    text = "".join([literal if place < 0 else literal + encode(values[place]) for literal, place in parts])
    return text if len(text) <= MAX_KEY_LENGTH else check(text)
