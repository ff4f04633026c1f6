"""What the supervisor and its workers say to each other, a line of JSON at a time."""

from __future__ import annotations

import enum

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is for."""

    subject: str
    url: str
    """Of Valkey, through the worker's own proxy."""
    database: str
    folder: str
    """Where the histories are."""
    process: int
    tasks: int
    keys: int
    tags: int
    seed: int


class OrderKind(enum.StrEnum):
    """What a worker can be told."""

    GO = "go"
    CRASH = "crash"
    STOP = "stop"
    INVALIDATE = "invalidate"
    READ_ALL = "read all"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One line to a worker."""

    kind: OrderKind
    keys: list[int] = []


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One line from a worker: it is ready, or has done what it was told."""

    errors: dict[str, int] = {}
    """The errors that its callers got so far, by name."""
