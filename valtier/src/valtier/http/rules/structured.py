"""Structured fields (RFC 9651): the parsing and serialising algorithms of its section 4, strict as they are."""

from __future__ import annotations

import base64
import binascii
import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any


class Token(str):
    """A token (§3.3.4), which is not the string of the same characters."""

    __slots__ = ()


class Date(int):
    """A date (§3.3.7), in Unix seconds."""

    __slots__ = ()


class DisplayString(str):
    """A display string (§3.3.8): any Unicode text."""

    __slots__ = ()


Bare = int | Decimal | str | bytes | bool
Parameters = dict[str, Bare]
Item = tuple[Bare, Parameters]
Member = tuple[Bare | list[Item], Parameters]
"""An item or an inner list, with its parameters."""

_SPACE = re.compile(r" *")
_OWS = re.compile(r"[ \t]*")
_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_STRING = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BYTES = re.compile(r":([A-Za-z0-9+/=]*):")
_DISPLAY = re.compile(r'%"((?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*)"')
_ESCAPED = re.compile(r"%([0-9a-f]{2})")
_UNQUOTED = re.compile(r"\\(.)")


class _Reader:
    """A place in a text. Every `take_…` moves it, or raises ValueError."""

    __slots__ = ("end", "place", "text")

    def __init__(self, value: bytes) -> None:
        self.text = value.decode("ascii")  # UnicodeDecodeError is a ValueError
        self.place = _SPACE.match(self.text).end()  # type: ignore[union-attr]
        self.end = len(self.text.rstrip(" "))

    @property
    def next(self) -> str:
        return self.text[self.place] if self.place < self.end else ""

    def take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text, self.place)
        if match is None:
            raise ValueError(f"unexpected text at {self.place}")
        self.place = match.end()
        return match

    def take_key(self) -> str:
        return self.take(_KEY)[0]

    def take_bare(self) -> Bare:
        first = self.next
        if first == '"':
            return _UNQUOTED.sub(r"\1", self.take(_STRING)[1])
        if first and first in "-0123456789":
            return self._take_number()
        if first == "?":
            self.place += 2
            return {"?0": False, "?1": True}[self.text[self.place - 2 : self.place]]
        if first == ":":
            return _unbase64(self.take(_BYTES)[1])
        if first == "@":
            self.place += 1
            moment = self._take_number()
            if not isinstance(moment, int):
                raise ValueError("a date is an integer")
            return Date(moment)
        if first == "%":
            return _undisplay(self.take(_DISPLAY)[1])
        return Token(self.take(_TOKEN)[0])

    def _take_number(self) -> int | Decimal:
        match = self.take(_NUMBER)
        sign, whole, fraction = match.groups()
        if fraction is None:
            if len(whole) > 15 or self.next == ".":
                raise ValueError("an integer has at most 15 digits")
            return int(sign + whole)
        if len(whole) > 12 or len(fraction) > 3:
            raise ValueError("a decimal has at most 12 and 3 digits")
        return Decimal(f"{sign}{whole}.{fraction}")

    def take_parameters(self) -> Parameters:
        found: Parameters = {}
        while self.next == ";":
            self.place += 1
            self.take(_SPACE)
            key = self.take_key()
            value: Bare = True
            if self.next == "=":
                self.place += 1
                value = self.take_bare()
            found.pop(key, None)
            found[key] = value
        return found

    def take_member(self) -> Member:
        if self.next != "(":
            return self.take_bare(), self.take_parameters()
        self.place += 1
        items: list[Item] = []
        while True:
            spaces = self.take(_SPACE)[0]
            if self.next == ")":
                self.place += 1
                return items, self.take_parameters()
            if items and not spaces:
                raise ValueError("items of an inner list are separated by spaces")
            items.append((self.take_bare(), self.take_parameters()))

    def comma(self) -> bool:
        """Steps over the comma before another member; False at the end."""
        self.take(_OWS)
        if self.place >= self.end:
            return False
        if self.next != ",":
            raise ValueError(f"no comma at {self.place}")
        self.place += 1
        self.take(_OWS)
        if self.place >= self.end:
            raise ValueError("a comma at the end")
        return True


def parse_list(value: bytes) -> list[Member] | None:
    """Returns the members of a List (§4.2.1), or None if it is none."""
    try:
        reader = _Reader(value)
        if reader.place >= reader.end:
            return []
        found = [reader.take_member()]
        while reader.comma():
            found.append(reader.take_member())
    except (ValueError, KeyError):
        return None
    return found


def parse_dictionary(value: bytes) -> dict[str, Member] | None:
    """Returns a Dictionary (§4.2.2), the last of equal keys in its place; or None if it is none."""
    found: dict[str, Member] = {}
    try:
        reader = _Reader(value)
        more = reader.place < reader.end
        while more:
            key = reader.take_key()
            if reader.next == "=":
                reader.place += 1
                member = reader.take_member()
            else:
                member = (True, reader.take_parameters())
            found.pop(key, None)
            found[key] = member
            more = reader.comma()
    except (ValueError, KeyError):
        return None
    return found


def parse_item(value: bytes) -> Item | None:
    """Returns an Item (§4.2.3), or None if it is none."""
    try:
        reader = _Reader(value)
        item = (reader.take_bare(), reader.take_parameters())
    except (ValueError, KeyError):
        return None
    return item if reader.place >= reader.end else None


def parse_strings(value: bytes) -> tuple[str, ...] | None:
    """Returns a List of Strings, as RFC 9875 uses; None if it is anything else."""
    members = parse_list(value)
    if members is None or not all(type(member) is str for member, _ in members):
        return None
    return tuple(str(member) for member, _ in members)


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as exc:
        raise ValueError("no base64") from exc


def _undisplay(text: str) -> DisplayString:
    raw = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1")
    return DisplayString(raw.decode("utf-8"))


def render_bare(value: Bare) -> str:
    """Returns a bare item's text (§4.1.3).

    Raises:
        ValueError: the value has none, such as a string with characters outside ASCII.
    """
    if isinstance(value, bool):
        return "?1" if value else "?0"
    if isinstance(value, Date):
        return f"@{int(value)}"
    if isinstance(value, int):
        if abs(value) > 999_999_999_999_999:
            raise ValueError("an integer has at most 15 digits")
        return str(value)
    if isinstance(value, Decimal):
        return _render_decimal(value)
    if isinstance(value, bytes):
        return f":{base64.b64encode(value).decode()}:"
    if isinstance(value, DisplayString):
        return _render_display(value)
    if isinstance(value, Token):
        if not _TOKEN.fullmatch(value):
            raise ValueError(f"no token: {value!r}")
        return str(value)
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"a string is printable ASCII: {value!r}")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _render_decimal(value: Decimal) -> str:
    rounded = value.quantize(Decimal("0.001"), rounding=ROUND_HALF_EVEN)
    if abs(rounded) >= Decimal(10) ** 12:
        raise ValueError("a decimal has at most 12 digits before its point")
    whole, _, fraction = f"{rounded:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


def _render_display(value: str) -> str:
    plain = frozenset(range(0x20, 0x7F)) - {0x22, 0x25}
    return '%"' + "".join(chr(b) if b in plain else f"%{b:02x}" for b in value.encode()) + '"'


def render_parameters(parameters: Parameters) -> str:
    """Returns the text of parameters (§4.1.1.2). It raises as `render_bare` does."""
    return "".join(
        f";{key}" if value is True else f";{key}={render_bare(value)}" for key, value in parameters.items()
    )


def render_member(member: Member) -> str:
    """Returns the text of an item or an inner list. It raises as `render_bare` does."""
    value, parameters = member
    if isinstance(value, list):
        inner = " ".join(render_bare(item) + render_parameters(of) for item, of in value)
        return f"({inner}){render_parameters(parameters)}"
    return render_bare(value) + render_parameters(parameters)


def render_list(members: list[Member]) -> bytes:
    """Returns a List's text (§4.1.1). It raises as `render_bare` does."""
    return ", ".join(map(render_member, members)).encode()


def render_dictionary(dictionary: dict[str, Member]) -> bytes:
    """Returns a Dictionary's text (§4.1.2). It raises as `render_bare` does."""
    return ", ".join(_render_entry(key, *member) for key, member in dictionary.items()).encode()


def _render_entry(key: str, value: Any, parameters: Parameters) -> str:
    if value is True:
        return key + render_parameters(parameters)
    return f"{key}={render_member((value, parameters))}"
