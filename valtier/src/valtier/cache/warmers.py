"""Warmers: how a key is loaded again by whoever knows only the key.

A key's template says where its arguments stand, and the loader's annotations what they are. A key is taken apart, its
arguments are decoded, and only if they make exactly that key again is the loader called with them: nothing is ever stored
under a key that its loader's arguments do not spell. What can't be taken apart that way (a hash, a type with more than
one spelling) has no warmer.
"""

from __future__ import annotations

import enum
import functools
import inspect
import re
import types
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from valtier.cache.policy import Policy
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.keys import Template, encode

_INTEGER = re.compile(r"-?[0-9]{1,4300}")
_WORDS: dict[type, dict[str, object]] = {
    bool: {"!true": True, "!false": False},
    types.NoneType: {"!null": None},
}
_MOST = 10_000


class _NoArgumentError(ValueError):
    """A text is no argument of the type."""


class Warmer:
    """Knows how the keys of one template are loaded."""

    __slots__ = ("_hints", "_tags", "_template", "loader", "policy", "ttl_s", "type")

    def __init__(
        self,
        key: str,
        loader: Callable[..., Awaitable[object]],
        *,
        ttl: Duration | None,
        tags: Sequence[str],
        type_: Any,
        policy: Policy | None,
    ) -> None:
        """Checks that keys of this template can be taken apart.

        Raises:
            ConfigurationError: the loader needs what the key does not name, or an argument's type does not tell how it
                is spelt.
        """
        if isinstance(tags, str):
            raise ConfigurationError(f"tags are a list of templates, not one text: write [{tags!r}]")
        parameters = inspect.signature(loader).parameters
        self._template = Template(key, names=parameters)
        fields = self._template.fields
        for name, parameter in parameters.items():
            if name not in fields and parameter.default is parameter.empty and parameter.kind not in _REST:
                raise ConfigurationError(f"the loader of {key!r} needs {name!r}, which the key does not name")
        hints = _hints_of(loader)
        for name in fields:
            positional = parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY
            if positional or name not in hints or not _is_plain(hints[name]):
                raise ConfigurationError(
                    f"{name!r} in {key!r} needs an annotation that tells how it is spelt: int, str, bool, UUID, an enum, "
                    "Literal, None or a union of these"
                )
        self._hints = {name: hints[name] for name in fields}
        self._tags = [Template(tag, names=fields) for tag in tags]
        self.loader = loader
        self.ttl_s = None if ttl is None else seconds(ttl, name="ttl")
        self.type = type_
        self.policy = policy

    @property
    def key(self) -> str:
        """The template."""
        return self._template.text

    def arguments(self, key: str) -> dict[str, Any] | None:
        """Returns the loader's arguments for a key; `None` if it is no key of this template."""
        found = self._template.parse(key)
        if found is None:
            return None
        try:
            given = {name: _decode(text, self._hints[name]) for name, text in found.items()}
        except _NoArgumentError:
            return None
        return given if self._template.render(given) == key else None

    def tags(self, given: dict[str, Any]) -> tuple[str, ...]:
        """Returns the tags of what these arguments load."""
        return tuple([tag.render(given) for tag in self._tags])


class Warmers:
    """The warmers of a cache, one for each template: the newest. Guarded by the event loop."""

    def __init__(self) -> None:
        self._by_space: dict[str, dict[str, Warmer]] = {}
        self._count = 0

    def add(self, warmer: Warmer) -> None:
        """Adds one, in place of any that its template had.

        Raises:
            ConfigurationError: there are 10,000.
        """
        there = self._by_space.setdefault(_space_of(warmer.key), {})
        if warmer.key not in there:
            if self._count >= _MOST:
                raise ConfigurationError(
                    f"there are {_MOST} warmers: templates are few, and not made per call"
                )
            self._count += 1
        there[warmer.key] = warmer

    def find(self, key: str) -> tuple[Warmer, dict[str, Any]] | None:
        """Returns who loads a key, with the arguments for it."""
        for space in (key.partition(":")[0], ""):
            for warmer in self._by_space.get(space, {}).values():
                given = warmer.arguments(key)
                if given is not None:
                    return warmer, given
        return None


_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _space_of(template: str) -> str:
    """Returns the namespace of all keys of a template; nothing if they have several."""
    space, colon, _ = template.partition(":")
    return space if colon and "{" not in space else ""


def _hints_of(loader: Callable[..., Any]) -> dict[str, Any]:
    while isinstance(loader, functools.partial):
        loader = loader.func
    try:
        return get_type_hints(inspect.unwrap(loader))
    except (NameError, TypeError):
        return {}


def _parts_of(hint: Any) -> tuple[Any, ...] | None:
    """Returns the members of a union; `None` if it is none."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else None


def _bare(hint: Any) -> Any:
    """Returns what stands behind `Annotated`, `NewType` and aliases."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif isinstance(hint, NewType):
            hint = hint.__supertype__
        elif hint is None:
            return types.NoneType
        else:
            return hint


def _is_plain(hint: Any) -> bool:
    """Whether arguments of this type can be told from their spelling."""
    hint = _bare(hint)
    if (parts := _parts_of(hint)) is not None:
        return all(map(_is_plain, parts))
    if get_origin(hint) is Literal:
        return True
    return isinstance(hint, type) and (hint in (int, str, uuid.UUID, *_WORDS) or issubclass(hint, enum.Enum))


def _decode(text: str, hint: Any) -> object:
    """Returns the argument of this type that `keys.encode` spells so.

    Raises:
        _NoArgumentError: there is none.
    """
    hint = _bare(hint)
    for part in _parts_of(hint) or ():
        try:
            return _decode(text, part)
        except _NoArgumentError:
            continue
    value: object
    if get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, enum.Enum)):
        members = get_args(hint) if get_origin(hint) is Literal else hint
        value = {encode(member): member for member in members}.get(text, _NONE)
    elif hint in _WORDS:
        value = _WORDS[hint].get(text, _NONE)
    else:
        value = _decode_plain(text, hint)
    if value is _NONE or encode(value) != text:
        raise _NoArgumentError(text)
    return value


def _decode_plain(text: str, hint: Any) -> object:
    try:
        if hint is int:
            return int(text) if _INTEGER.fullmatch(text) else _NONE
        if hint is uuid.UUID:
            return uuid.UUID(text)
        return unquote(text, errors="surrogatepass") if hint is str else _NONE
    except ValueError:
        return _NONE


_NONE = object()
