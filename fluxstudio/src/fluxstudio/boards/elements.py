"""Elements of a board: what may come in, and which of two states of one holds. Pure.

A board is a set of elements, each with a version that its editor counts up and a random nonce. Of two states of an
element the one with the higher version holds; of equal versions the one with the lower nonce (Excalidraw's rule, as in its
`reconcileElements`). That is a maximum over a total order, hence commutative, associative and idempotent: in whatever
order and however often states arrive, all who know the same states see the same board.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fluxstudio.drawings import TYPES, check_link, check_plain
from fluxstudio.problems import FieldError, Problem, invalid

MAX_BATCH = 1000
"""Elements in one batch."""
MAX_BATCH_BYTES = 512 * 1024
MAX_ELEMENT_BYTES = 128 * 1024
MAX_ELEMENTS = 20_000
"""Elements of one board, the deleted ones included."""
MAX_VERSION = 2**31 - 1
"""What a client may count up to. The server goes on above it when it restores a revision."""
MAX_NONCE = 2**31 - 1

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WRITTEN = re.compile(rb'"type":"(?:text|frame|magicframe)"')
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Element:
    """One state of one element."""

    id: str
    version: int
    nonce: int
    is_deleted: bool
    file_id: str | None
    data: bytes
    """All of it, as JSON."""

    def beats(self, other: Element) -> bool:
        """Whether this state holds against another of the same element."""
        return (self.version, -self.nonce) > (other.version, -other.nonce)


def merge(known: Mapping[str, Element], arriving: Iterable[Element]) -> dict[str, Element]:
    """Returns the states that hold. The database does the same in SQL."""
    merged = dict(known)
    for element in arriving:
        if element.id not in merged or element.beats(merged[element.id]):
            merged[element.id] = element
    return merged


def may_have_words(elements: Iterable[Element]) -> bool:
    """Whether what is written on the board may change by these. Cheap: a search in bytes."""
    return any(_WRITTEN.search(element.data) for element in elements)


def parse_batch(raw: object) -> list[Element]:
    """Checks a batch as it came from a client. Of several states of one element the one that holds is returned.

    Raises:
        Problem: 422, it is no batch, has too much in it, or an element can't be stored; 413, it is too large.
    """
    if not isinstance(raw, list) or len(raw) > MAX_BATCH:
        raise invalid([FieldError("elements", f"must be a list of at most {MAX_BATCH} elements")])
    size = 0
    elements = []
    for index, one in enumerate(raw):
        try:
            element = _parse(one)
        except ValueError as exc:
            raise invalid([FieldError(f"elements.{index}", str(exc))]) from None
        size += len(element.data)
        if size > MAX_BATCH_BYTES:
            raise Problem(
                413,
                "batch-too-large",
                f"A batch may have {MAX_BATCH_BYTES // 1024} kB: send several smaller ones.",
            )
        elements.append(element)
    return list(merge({}, elements).values())


def _parse(raw: object) -> Element:
    if not isinstance(raw, dict):
        raise ValueError("must be an object")  # noqa: TRY004 - it becomes a problem of the input
    element_id, kind = raw.get("id"), raw.get("type")
    if not isinstance(element_id, str) or not _ID.fullmatch(element_id):
        raise ValueError("id must be 1 to 64 letters, digits, _ and -")
    if not isinstance(kind, str) or kind not in TYPES:
        raise ValueError("type is none of Excalidraw's")
    deleted = raw.get("isDeleted", False)
    if type(deleted) is not bool:
        raise ValueError("isDeleted must be true or false")
    file_id = raw.get("fileId")
    if file_id is not None and not (isinstance(file_id, str) and _ID.fullmatch(file_id)):
        raise ValueError("fileId must be 1 to 64 letters, digits, _ and -")
    check_link(raw.get("link"))
    check_plain(raw)
    data = _encoder.encode(raw)
    if len(data) > MAX_ELEMENT_BYTES:
        raise ValueError(f"may have {MAX_ELEMENT_BYTES // 1024} kB at most")
    return Element(
        element_id,
        _whole(raw, "version", MAX_VERSION),
        _whole(raw, "versionNonce", MAX_NONCE),
        deleted,
        file_id,
        data,
    )


def _whole(raw: Mapping[str, Any], name: str, most: int) -> int:
    value = raw.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 0 to {most}")
    return value


def restored(element: Element, over: Element | None, nonce: int) -> Element:
    """Returns the state of an old revision, as one that holds against today's."""
    version = max(element.version, over.version if over else 0) + 1
    return _changed(element, version, nonce, element.is_deleted)


def erased(element: Element, nonce: int) -> Element:
    """Returns the deletion of an element, as a state that holds against today's."""
    return _changed(element, element.version + 1, nonce, True)


def _changed(element: Element, version: int, nonce: int, deleted: bool) -> Element:
    raw = msgspec.json.decode(element.data)
    raw |= {"version": version, "versionNonce": nonce, "isDeleted": deleted}
    return Element(element.id, version, nonce, deleted, element.file_id, _encoder.encode(raw))


def from_scene(scene: bytes) -> list[Element]:
    """Returns the elements of a scene that the server has stored as a JSON list."""
    return [
        Element(
            raw["id"],
            raw["version"],
            raw["versionNonce"],
            raw.get("isDeleted", False),
            raw.get("fileId"),
            _encoder.encode(raw),
        )
        for raw in msgspec.json.decode(scene)
    ]
