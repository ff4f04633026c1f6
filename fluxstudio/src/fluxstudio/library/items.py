"""Shapes of a library: what may come in. Pure.

A shape is drawn by browsers, and never becomes a part of a page: all the same, links in it are as harmless as a board's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from fluxstudio.drawings import TYPES, check_link, check_plain
from fluxstudio.problems import FieldError, Problem, invalid

MAX_CHANGE = 200
"""Shapes in one change."""
MAX_CHANGE_BYTES = 512 * 1024
MAX_ITEM_BYTES = 512 * 1024
MAX_ITEMS = 1000
"""Shapes of one library."""
MAX_BYTES = 5 * 2**20
"""Of one library, as JSON."""
MAX_ID = 100
MAX_NAME = 200
_LATEST_MS = 2**53

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Item:
    """One shape of a library."""

    id: str
    data: str
    """All of it, as JSON."""

    @property
    def size(self) -> int:
        """How much of the library's bytes it takes."""
        return len(self.data.encode())


def parse_items(raw: Sequence[Mapping[str, object]]) -> list[Item]:
    """Checks shapes as they came from a client.

    Raises:
        Problem: 422, one is there twice, or can't be kept; 413, they are too large together.
    """
    items: dict[str, Item] = {}
    size = 0
    for index, one in enumerate(raw):
        try:
            item = _parse(one)
        except ValueError as exc:
            raise invalid([FieldError(f"body.put.{index}", str(exc))]) from None
        if item.id in items:
            raise invalid([FieldError(f"body.put.{index}.id", "is another's in this change")])
        size += item.size
        if size > MAX_CHANGE_BYTES:
            most = MAX_CHANGE_BYTES // 1024
            raise Problem(413, "change-too-large", f"A change may have {most} kB: send several smaller ones.")
        items[item.id] = item
    return list(items.values())


def _parse(raw: Mapping[str, object]) -> Item:
    item_id, status, name = raw.get("id"), raw.get("status"), raw.get("name")
    created, elements = raw.get("created"), raw.get("elements")
    if not isinstance(item_id, str) or not 1 <= len(item_id) <= MAX_ID or not item_id.isprintable():
        raise ValueError(f"id must be text of 1 to {MAX_ID} printable characters")
    if status not in ("published", "unpublished"):
        raise ValueError("status must be published or unpublished")
    if name is not None and (not isinstance(name, str) or len(name) > MAX_NAME):
        raise ValueError(f"name must be text of at most {MAX_NAME} characters")
    if type(created) not in (int, float) or not 0 <= created <= _LATEST_MS:  # type: ignore[operator]
        raise ValueError("created must be a time in milliseconds")
    if not isinstance(elements, list) or not elements:
        raise ValueError("elements must be a list of at least one element")
    for element in elements:
        _check_element(element)
    check_plain(name)
    kept = {"id": item_id, "status": status, "created": created, "elements": elements}
    data = _encoder.encode(kept if name is None else {**kept, "name": name})
    if len(data) > MAX_ITEM_BYTES:
        raise ValueError(f"may have {MAX_ITEM_BYTES // 1024} kB at most")
    return Item(item_id, data.decode())


def _check_element(element: object) -> None:
    if not isinstance(element, dict):
        raise ValueError("elements must be objects")  # noqa: TRY004 - it becomes a problem of the input
    kind = element.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise ValueError("an element's type is none of Excalidraw's")
    check_link(element.get("link"))
    check_plain(element)
