"""The decorator: caches what an async function returns, under a key built from its arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    cast,
    get_type_hints,
    overload,
)

from valtier.cache.codec import decoder_for
from valtier.cache.policy import Policy
from valtier.cache.warmers import Warmer
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.keys import Template

if TYPE_CHECKING:
    from valtier.cache.cache import Cache

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class CachedFunction(Generic[P, R]):
    """An async function whose results are cached. Called like the function; also bound like one, to `self`."""

    def __init__(
        self,
        cache: Cache,
        function: Callable[P, Awaitable[R]],
        key: str,
        ttl: Duration | None,
        tags: Sequence[str],
        policy: Policy | None,
    ) -> None:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(
                f"{getattr(function, '__qualname__', function)} is no async function: only those can be cached"
            )
        functools.update_wrapper(self, function)
        self._cache = cache
        self._function = function
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters
        self._key = Template(key, names=parameters)
        if isinstance(tags, str):
            raise ConfigurationError(f"tags are a list of templates, not one text: write [{tags!r}]")
        self._tags = [Template(tag, names=parameters) for tag in tags]
        self._ttl_s = None if ttl is None else seconds(ttl, name="ttl")
        self._policy = policy
        self._type = _return_type(function)
        decoder_for(self._type)  # tells now if it can't be decoded into
        self._places = {name: place for place, name in enumerate(parameters)}
        self._render_key = self._key.positional(self._places)
        self._render_tags = [None if tag.text == key else tag.positional(self._places) for tag in self._tags]
        plain = all(p.kind in _POSITIONAL for p in parameters.values())
        self._defaults = tuple(p.default for p in parameters.values() if p.default is not p.empty)
        self._most = len(parameters) if plain else -1
        self._fewest = len(parameters) - len(self._defaults) if plain else 0

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        values: Sequence[Any] = args
        if kwargs or len(args) != self._most:
            values = self._bind(args, kwargs)
        key = self._render_key(values)
        return await self._cache.get_or_set(
            key,
            self._ttl_s,
            functools.partial(self._function, *args, **kwargs),
            tags=tuple([key if render is None else render(values) for render in self._render_tags]),
            type=self._type,
            policy=self._policy,
        )

    def warmer(self) -> Warmer | None:
        """Returns what loads a key of this function; `None` where a key does not tell all that the function needs."""
        try:
            return Warmer(
                self._key.text,
                self._function,
                ttl=self._ttl_s,
                tags=[tag.text for tag in self._tags],
                type_=self._type,
                policy=self._policy,
            )
        except ConfigurationError:
            return None

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Any]:
        """Returns the value of each parameter, in their order."""
        if not kwargs and self._fewest <= len(args) <= self._most:
            return (*args, *self._defaults[len(args) - self._most :])
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return [bound.arguments[name] for name in self._places]

    def key(self, *args: Any, **kwargs: Any) -> str:
        """Returns the key for these arguments; those that the key does not name may be left out."""
        return self._key.render(self._bind_some(args, kwargs))

    async def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Removes the result for these arguments; those that the key does not name may be left out."""
        await self._cache.invalidate(self.key(*args, **kwargs))

    def _bind_some(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = self._signature.bind_partial(*args, **kwargs)
        except TypeError as exc:
            raise ConfigurationError(f"{self._function.__qualname__}: {exc}") from exc
        bound.apply_defaults()
        if missing := self._key.fields - bound.arguments.keys():
            raise ConfigurationError(
                f"the key {self._key.text!r} of {self._function.__qualname__} needs {', '.join(sorted(missing))}"
            )
        return bound.arguments

    @overload
    def __get__(self, instance: None, owner: type) -> CachedFunction[P, R]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], R], instance: S, owner: type
    ) -> CachedMethod[Q, R]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else CachedMethod(cast("Any", self), instance)


class CachedMethod(Generic[P, R]):
    """A cached function bound to its object, which is no part of the key unless the template names a field for it."""

    __slots__ = ("_function", "_instance")

    def __init__(self, function: CachedFunction[Concatenate[Any, P], R], instance: object) -> None:
        self._function = function
        self._instance = instance

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._function(self._instance, *args, **kwargs)

    def key(self, *args: Any, **kwargs: Any) -> str:
        """Returns the key for these arguments."""
        return self._function.key(self._instance, *args, **kwargs)

    async def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Removes the result for these arguments."""
        await self._function.invalidate(self._instance, *args, **kwargs)


def _return_type(function: Callable[..., Any]) -> Any:
    """Returns the annotated result, into which cached values are decoded; `Any` if it can't be told."""
    while isinstance(function, functools.partial):
        function = function.func
    result = SimpleNamespace(__annotations__={"return": inspect.get_annotations(function).get("return", Any)})
    try:  # the result's alone: parameters may have types that only a type checker knows
        hint = get_type_hints(result, getattr(inspect.unwrap(function), "__globals__", {})).get("return", Any)
    except (NameError, TypeError):
        return Any
    return type(None) if hint is None else cast("Any", hint)
