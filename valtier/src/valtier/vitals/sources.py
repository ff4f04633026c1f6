"""Sources: who is asked for numbers when a report is taken."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakMethod

from valtier.errors import ConfigurationError
from valtier.vitals.report import Durations, Number

log = logging.getLogger("valtier")

Source = Callable[[], Mapping[str, Any]]
"""Returns a flat dict of numbers and short texts; no I/O."""
DurationsSource = Callable[[], Durations]

_MOST_NUMBERS = 5000
"""Of a section; what is past that is left out."""
_MOST_TEXT = 200


class _Held:
    """A source, and what it told last."""

    __slots__ = ("last", "name", "source")

    def __init__(self, name: str, source: Callable[[], Source | None]) -> None:
        self.name = name
        self.source = source
        self.last: Mapping[str, Any] = {}


class Sources:
    """What was registered. Guarded by the event loop.

    Counters only grow: what a source has counted stays in its section when it is gone, and while it fails.
    """

    def __init__(self) -> None:
        self.errors = 0
        """Sources that raised, and were passed over."""
        self._sections: list[_Held] = []
        self._left: dict[str, dict[str, Number | str]] = {}  # by those that are gone
        self._durations: dict[str, Callable[[], DurationsSource | None]] = {}
        self._levels: dict[str, set[str]] = {}
        self._told: set[str] = set()

    def add(self, name: str, source: Source, levels: Iterable[str]) -> Callable[[], None]:
        """Adds a source to a section; returns what removes it."""
        held = _Held(_check(name), _hold(source))
        self._sections.append(held)
        self._levels.setdefault(name, set()).update(levels)

        def remove() -> None:
            if held in self._sections:
                self._numbers(held)
            if held in self._sections:  # it was not gone already
                self._drop(held)

        return remove

    def add_durations(self, name: str, source: DurationsSource) -> Callable[[], None]:
        """Adds a family; returns what removes it."""
        held = self._durations[_check(name)] = _hold(source)

        def remove() -> None:
            if self._durations.get(name) is held:
                del self._durations[name]

        return remove

    def levels(self) -> dict[str, list[str]]:
        return {name: sorted(levels) for name, levels in self._levels.items() if levels}

    def sections(self) -> dict[str, dict[str, Number | str]]:
        """Asks all. Numbers of several sources of one section are added up."""
        told = [(held.name, self._numbers(held)) for held in [*self._sections]]
        sections = {name: dict(numbers) for name, numbers in self._left.items()}
        for name, numbers in told:
            if numbers is not None:
                _merge(sections.setdefault(name, {}), numbers)
        return sections

    def _numbers(self, held: _Held) -> Mapping[str, Any] | None:
        """Asks one; `None` if it is gone, or has nothing to tell."""
        source = held.source()
        if source is None:
            self._drop(held)
            return None
        numbers: Mapping[str, Any] | None = self._ask(held.name, source)
        if numbers is None:
            return self._counters(held) or None
        held.last = numbers
        return numbers

    def _drop(self, held: _Held) -> None:
        self._sections.remove(held)
        if counters := self._counters(held):
            _merge(self._left.setdefault(held.name, {}), counters)

    def _counters(self, held: _Held) -> dict[str, Any]:
        levels = self._levels.get(held.name, ())
        return {
            name: value
            for name, value in held.last.items()
            if isinstance(value, int | float) and name.rpartition(".")[2] not in levels
        }

    def durations(self) -> dict[str, Durations]:
        families: dict[str, Durations] = {}
        for name, held in [*self._durations.items()]:
            source = held()
            if source is None:
                del self._durations[name]
            elif (family := self._ask(name, source)) is not None:
                families[name] = family
        return families

    def ask(self, name: str, source: Callable[[], Any], otherwise: Any) -> Any:
        """Asks a source; a fault of it is counted, and is not the report's."""
        answer = self._ask(name, source)
        return otherwise if answer is None else answer

    def _ask(self, name: str, source: Callable[[], Any]) -> Any:
        try:
            return source()
        except Exception:
            self.errors += 1
            if name not in self._told:  # once: it is asked every other second
                self._told.add(name)
                log.exception("The numbers of %r can't be had", name)
            return None


def _check(name: str) -> str:
    if not name.isidentifier() or not name.isascii():
        raise ConfigurationError(f"a section is named as a variable is, such as 'queue', not {name!r}")
    return name


def _hold(source: Any) -> Callable[[], Any]:
    """Holds a method weakly: being counted keeps nobody alive. A function is held until it is removed."""
    return WeakMethod(source) if inspect.ismethod(source) else lambda: source


def _merge(into: dict[str, Number | str], numbers: Mapping[str, Any]) -> None:
    for name, value in numbers.items():
        if len(into) >= _MOST_NUMBERS and name not in into:
            return
        if isinstance(value, bool):
            value = int(value)  # noqa: PLW2901
        if isinstance(value, int | float):
            before = into.get(name, 0)
            into[name] = value if isinstance(before, str) else before + value
        elif isinstance(value, str):
            into[name] = value[:_MOST_TEXT]
