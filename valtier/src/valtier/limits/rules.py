"""Rules: which limit a request has, by its path and method; and how a route of a framework declares its own.

No framework is imported: a route is whatever has a `path`, `methods` and an `endpoint`, as those of Starlette and FastAPI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar

from valtier.durations import Duration
from valtier.errors import ConfigurationError
from valtier.limits.limiter import Limiter
from valtier.limits.policy import parse_rate
from valtier.limits.stack import Stack

By = Literal["address", "identity"]
Limited = Limiter | Stack
F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "__valtier_limit__"
_FIELD = re.compile(r"\{[^{}:]+(?::([a-z]+))?\}")
_FIELDS = {None: "[^/]+", "str": "[^/]+", "path": ".*", "int": "[0-9]+", "float": r"[0-9]+(?:\.[0-9]+)?", "uuid": "[0-9a-fA-F-]+"}  # fmt: skip
_BY = ("address", "identity")


class MakesLimiters(Protocol):
    """A tier, or its `limits`."""

    def limiter(self, name: str, *, points: int, duration: Duration) -> Limiter: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """The limit of some requests.

    `path` is as in a route: `/api/users/{id}`, `/files/{name:path}`; a `*` at its end stands for anything. `limit` is a
    limiter, a stack, or a rate such as `"10/minute"`; None exempts. Without `methods` all are meant; GET means HEAD too.
    """

    path: str
    limit: Limited | str | None
    methods: Sequence[str] = ()
    by: By = "address"
    name: str | None = None
    """Of the limiter that is made for a rate; made of the path and the methods if not given."""

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ConfigurationError(f"a rule's path begins with /, not {self.path!r}")
        if isinstance(self.methods, str):
            raise ConfigurationError(f"methods is a list: [{self.methods!r}]")
        if self.by not in _BY:
            raise ConfigurationError(f'by is "address" or "identity", not {self.by!r}')
        if isinstance(self.limit, str):
            parse_rate(self.limit)


@dataclass(frozen=True, slots=True)
class Declared:
    """What an endpoint declares."""

    limit: Limited | str | None
    by: By
    name: str | None


def limited(limit: Limited | str, *, by: By = "address", name: str | None = None) -> Callable[[F], F]:
    """Declares the limit of a route, above or below the framework's own decorator; nothing is wrapped.

    ```python
    @router.post("/api/search")
    @limited("30/minute")
    async def search(...): ...
    ```

    Raises:
        ConfigurationError: it is not a rate that can be read, or `by` is neither `"address"` nor `"identity"`.
    """
    Rule("/", limit, (), by, name)
    return _marking(Declared(limit, by, name))


def unlimited(endpoint: F) -> F:
    """Declares that a route has no limit. Keep the list of these short, and hold it by a test (`RateLimit.audit`)."""
    return _marking(Declared(None, "address", None))(endpoint)


def declared(endpoint: object) -> Declared | None:
    """Returns what an endpoint declares, if anything."""
    found = getattr(endpoint, _MARK, None)
    return found if isinstance(found, Declared) else None


def _marking(mark: Declared) -> Callable[[F], F]:
    def mark_endpoint(endpoint: F) -> F:
        try:
            setattr(endpoint, _MARK, mark)
        except AttributeError as exc:
            raise ConfigurationError(f"{endpoint!r} can't be marked; mark a function") from exc
        return endpoint

    return mark_endpoint


@dataclass(frozen=True, slots=True)
class Route:
    """A route as far as limits are concerned."""

    path: str
    methods: tuple[str, ...]
    endpoint: object

    @property
    def sample(self) -> str:
        """A path of this route."""
        return _FIELD.sub("0", self.path).replace("*", "0")

    @property
    def rule(self) -> Rule | None:
        """What its endpoint declares, as a rule."""
        found = declared(self.endpoint)
        if found is None:
            return None
        name = found.name
        if name is None and isinstance(found.limit, str):
            name = _slug(getattr(self.endpoint, "__qualname__", self.path))
        return Rule(self.path, found.limit, self.methods, found.by, name)


def walk(routes: Iterable[Any], prefix: str = "") -> Iterator[Route]:
    """Goes through routes, those of included routers and mounted applications among them, in the order of matching."""
    for route in routes:
        candidates = getattr(route, "effective_candidates", None)  # FastAPI's included routers
        if callable(candidates):
            yield from walk(candidates(), prefix)
            continue
        path = prefix + (getattr(route, "path", None) or "")
        endpoint = getattr(route, "endpoint", None)
        inner = getattr(route, "routes", None)
        if inner:
            yield from walk(inner, path)
        elif endpoint is not None:
            yield Route(path, tuple(sorted(getattr(route, "methods", None) or ())), endpoint)
        elif path:
            yield Route(path + "/*", (), getattr(route, "app", None))


class RuleSet:
    """Finds the rule of a request: the first that fits. One dict look-up, or one regular expression."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._literal: dict[tuple[str, str], tuple[int, Rule]] = {}
        templates: list[tuple[int, Rule]] = []
        for number, rule in enumerate(self.rules):
            if _FIELD.search(rule.path) or rule.path.endswith("*"):
                templates.append((number, rule))
            else:
                for method in _methods(rule) or ("",):
                    self._literal.setdefault((method, rule.path), (number, rule))
        self._templates = [
            (number, rule, re.compile(_pattern(rule.path), re.DOTALL).fullmatch, frozenset(_methods(rule)))
            for number, rule in templates
        ]

    def find(self, method: str, path: str) -> Rule | None:
        """Returns the first rule that fits, or None."""
        if path[-1:] == "\n":  # frameworks whose patterns end in `$` serve it as the path without
            path = path[:-1]
        found = self._literal.get((method, path))
        without = self._literal.get(("", path))
        if without is not None and (found is None or without[0] < found[0]):
            found = without
        for number, rule, matches, methods in self._templates:
            if found is not None and found[0] < number:
                break
            if (not methods or method in methods) and matches(path):
                return rule
        return found[1] if found is not None else None


def _methods(rule: Rule) -> tuple[str, ...]:
    methods = [method.upper() for method in rule.methods]
    return tuple(dict.fromkeys([*methods, "HEAD"] if "GET" in methods else methods))


def _pattern(path: str) -> str:
    rest, star = (path[:-1], ".*") if path.endswith("*") else (path, "")
    parts, at = [], 0
    for field in _FIELD.finditer(rest):
        if field[1] not in _FIELDS:
            parts.append(re.escape(rest[at : field.start()]) + "[^/]+")
        else:
            parts.append(re.escape(rest[at : field.start()]) + _FIELDS[field[1]])
        at = field.end()
    return "".join(parts) + re.escape(rest[at:]) + star


def make(rule: Rule, limits: MakesLimiters) -> Rule:
    """Returns the rule with a limiter in the place of a rate."""
    if not isinstance(rule.limit, str):
        return rule
    points, duration_s = parse_rate(rule.limit)
    name = rule.name or _slug("-".join([*rule.methods, rule.path]))
    limiter = limits.limiter(name, points=points, duration=duration_s)
    return Rule(rule.path, limiter, rule.methods, rule.by, name)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")[-64:] or "root"
