"""Names: the keys and tags that one transaction makes stale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from valtier import keys as _keys
from valtier.errors import ConfigurationError

NAMES_IN_A_ROW = 1000


class Invalidate:
    """Gathers what a transaction makes stale: call it with keys, and with tags, as often as needed."""

    def __init__(self) -> None:
        self.keys: dict[str, None] = {}
        self.tags: dict[str, None] = {}

    def __call__(self, *keys: str, tags: Iterable[str] = ()) -> None:
        """Adds keys and tags.

        Raises:
            ConfigurationError: a key or a tag can't be one.
        """
        if isinstance(tags, str):
            raise ConfigurationError(f"tags are a list of names, not one text: write [{tags!r}]")
        self.keys.update(dict.fromkeys(_keys.check(key) for key in keys))
        self.tags.update(dict.fromkeys(_keys.check(tag, what="tag") for tag in tags))

    def __bool__(self) -> bool:
        return bool(self.keys or self.tags)

    def rows(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yields the keys and tags of one row after the other, at most 1,000 names in each."""
        names = [(key, False) for key in self.keys] + [(tag, True) for tag in self.tags]
        for start in range(0, len(names), NAMES_IN_A_ROW):
            row = names[start : start + NAMES_IN_A_ROW]
            yield [name for name, is_tag in row if not is_tag], [name for name, is_tag in row if is_tag]


def usable(names: Iterable[str]) -> tuple[list[str], int]:
    """Returns those that can be names, and how many can't: nothing is ever cached under these."""
    good, bad = [], 0
    for name in names:
        try:
            good.append(_keys.check(name))
        except ConfigurationError:
            bad += 1
    return good, bad
