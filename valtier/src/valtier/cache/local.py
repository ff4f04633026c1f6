"""Stand-in: first in, first out."""

from __future__ import annotations


class Record:
    __slots__ = ("key", "size", "uses")

    def __init__(self, key: str, size: int) -> None:
        self.key = key
        self.size = size
        self.uses = 0


class Local:
    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.records: dict[str, Record] = {}
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self.records)

    def put(self, record: Record) -> bool:
        self.drop(record.key)
        if record.size > self.max_bytes:
            return False
        while self.bytes + record.size > self.max_bytes:
            self.drop(next(iter(self.records)))
            self.evictions += 1
        self.records[record.key] = record
        self.bytes += record.size
        return True

    def drop(self, key: str) -> bool:
        record = self.records.pop(key, None)
        if record is None:
            return False
        self.bytes -= record.size
        return True

    def clear(self) -> None:
        self.records.clear()
        self.bytes = 0
