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


class Sources:
    """What was registered. Guarded by the event loop."""

    def __init__(self) -> None:
        self.errors = 0
        """Sources that raised, and were passed over."""
        self._sections: list[tuple[str, Callable[[], Source | None]]] = []
        self._durations: dict[str, Callable[[], DurationsSource | None]] = {}
        self._levels: dict[str, set[str]] = {}
        self._told: set[str] = set()

    def add(self, name: str, source: Source, levels: Iterable[str]) -> Callable[[], None]:
        """Adds a source to a section; returns what removes it."""
        entry = (_check(name), _hold(source))
        self._sections.append(entry)
        self._levels.setdefault(name, set()).update(levels)

        def remove() -> None:
            if entry in self._sections:
                self._sections.remove(entry)

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
        sections: dict[str, dict[str, Number | str]] = {}
        for entry in [*self._sections]:
            name, held = entry
            source = held()
            if source is None:
                self._sections.remove(entry)
                continue
            numbers = self._ask(name, source)
            if numbers is not None:
                _merge(sections.setdefault(name, {}), numbers)
        return sections

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
