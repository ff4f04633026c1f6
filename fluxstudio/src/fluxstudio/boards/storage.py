"""Storage of contents: files by their SHA-256, on the local disk or in whatever obstore speaks (S3 and its kin)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from fluxstudio.settings import SettingsError

_CHUNK = 256 * 1024


class StorageError(Exception):
    """The storage can't be reached, or does not hold what it should."""


class Storage:
    """Contents that never change, each under its SHA-256."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str) -> Storage:
        """Opens `memory:`, `file:///directory` (made if need be), `s3://bucket/prefix`, or what else obstore knows.

        Credentials come from the environment (`AWS_ACCESS_KEY_ID`, …), never from the URL.

        Raises:
            SettingsError: it can't be one.
        """
        try:
            if url.startswith("memory:"):
                return cls(MemoryStore())
            if url.startswith("file://"):
                return cls(LocalStore(Path(url.removeprefix("file://")), mkdir=True))
            return cls(from_url(url))
        except (BaseError, ValueError, OSError) as exc:
            raise SettingsError(
                f"ASSETS_URL can't be used ({type(exc).__name__}): set it to file:///directory or s3://bucket/prefix"
            ) from exc

    async def put(self, sha256: bytes, content: Path) -> None:
        """Stores a file. Storing it again changes nothing.

        Raises:
            StorageError: it could not be stored.
        """
        try:
            await obstore.put_async(self._store, _path(sha256), content)
        except (BaseError, OSError) as exc:
            raise StorageError(f"storing failed: {type(exc).__name__}") from exc

    async def stream(self, sha256: bytes) -> AsyncIterator[bytes]:
        """Returns the content, once it is certain that it can be read.

        Raises:
            StorageError: it can't be read.
        """
        try:
            found = await obstore.get_async(self._store, _path(sha256))
        except (BaseError, OSError) as exc:
            raise StorageError(f"reading failed: {type(exc).__name__}") from exc
        return _chunks(found.stream(min_chunk_size=_CHUNK))

    async def delete(self, sha256: bytes) -> None:
        """Removes a content; what is gone already is nothing.

        Raises:
            StorageError: it could not be removed.
        """
        try:
            await obstore.delete_async(self._store, _path(sha256))
        except FileNotFoundError:
            return
        except (BaseError, OSError) as exc:
            raise StorageError(f"deleting failed: {type(exc).__name__}") from exc


async def _chunks(stream: AsyncIterator[object]) -> AsyncIterator[bytes]:
    async for chunk in stream:
        yield bytes(chunk)  # type: ignore[call-overload]


def _path(sha256: bytes) -> str:
    name = sha256.hex()
    return f"blobs/{name[:2]}/{name}"
