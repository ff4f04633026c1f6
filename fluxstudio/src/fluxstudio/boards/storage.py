"""Storage of contents: files by their SHA-256, on the local disk or in whatever obstore speaks (S3 and its kin)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from fluxstudio.settings import SettingsError

_CHUNK = 256 * 1024
_CONNECT_S = 3
_REQUEST_S = 20
_GIVE_UP_S = 10
_DEADLINE_S = 45.0
"""Of storing one content: whoever does it holds a connection to PostgreSQL."""


class StorageError(Exception):
    """The storage can't be reached, or does not hold what it should."""


class Storage:
    """Contents that never change, each under its SHA-256."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str) -> Storage:
        """Opens `memory:`, `file:///directory` (made if need be), `s3://bucket/prefix`, or what else obstore knows.

        Credentials come from the environment (`AWS_ACCESS_KEY_ID`, …), never from the URL; so does the address of a store
        that is not Amazon's (`AWS_ENDPOINT_URL`), which may be `http://` inside one's own network.

        Raises:
            SettingsError: it can't be one.
        """
        try:
            if url.startswith("memory:"):
                return cls(MemoryStore())
            if url.startswith("file://"):
                return cls(LocalStore(Path(url.removeprefix("file://")), mkdir=True))
            return cls(_remote(url))
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
            async with asyncio.timeout(_DEADLINE_S):
                await obstore.put_async(self._store, _path(sha256), content)
        except (BaseError, OSError) as exc:  # a timeout is an OSError, too
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


def _remote(url: str) -> ObjectStore:
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    store: ObjectStore = from_url(
        url,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=_CONNECT_S),
            "timeout": timedelta(seconds=_REQUEST_S),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=_GIVE_UP_S)},
    )
    return store


async def _chunks(stream: AsyncIterator[object]) -> AsyncIterator[bytes]:
    async for chunk in stream:
        yield bytes(chunk)  # type: ignore[call-overload]


def _path(sha256: bytes) -> str:
    name = sha256.hex()
    return f"blobs/{name[:2]}/{name}"
