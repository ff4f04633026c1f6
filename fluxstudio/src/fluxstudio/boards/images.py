"""Images on boards: taken in as a stream, checked, stored once for each content, and collected when nothing names them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import tempfile
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow

from fluxstudio.boards import access, image_queries
from fluxstudio.boards.access import Actor
from fluxstudio.boards.schemas import Image
from fluxstudio.boards.storage import Storage, StorageError
from fluxstudio.db.pool import Pool
from fluxstudio.http.answers import encode
from fluxstudio.problems import Problem, conflict, not_found, unavailable
from fluxstudio.projects.service import Projects

log = logging.getLogger("fluxstudio")

MAX_BYTES = 10 * 2**20
MAX_PIXELS = 50_000_000
UPLOAD_DEADLINE_S = 60.0
KEEP_UNUSED_S = 24 * 3600.0
"""For how long an image stays that nothing names: somebody's undo, or a board that was edited offline, may name it."""
COLLECT_EVERY_S = 3600.0
_BATCH = 100
_STORING = 2
"""So many contents are stored at a time: each holds a connection to PostgreSQL meanwhile, and a store may be slow."""

_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}


@dataclass(frozen=True, slots=True)
class _Content:
    sha256: bytes
    size: int
    content_type: str
    width: int
    height: int


class Images:
    """The images of boards."""

    def __init__(self, pool: Pool, storage: Storage, *, projects: Projects) -> None:
        self._pool = pool
        self._storage = storage
        self._projects = projects
        self._storing = asyncio.Semaphore(_STORING)
        self._collector: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to collect, once an hour; workers at different times."""
        self._collector = asyncio.get_running_loop().create_task(self._collect_for_ever(), name="collector")

    async def stop(self) -> None:
        if self._collector is not None:
            self._collector.cancel()
            await asyncio.gather(self._collector, return_exceptions=True)

    async def _collect_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COLLECT_EVERY_S * random.uniform(0.5, 1.0))
            try:
                deleted = await self.collect()
            except Exception:
                log.exception(
                    "Images that nothing names could not be collected; it is tried again in an hour"
                )
            else:
                if deleted:
                    log.info("Collected %d images that nothing names any more", deleted)

    async def put(
        self, actor: Actor, board_id: int, file_id: str, chunks: AsyncIterator[bytes], length: int | None
    ) -> bytes:
        """Stores an image under a name on a board. The same content under the same name is nothing new.

        Returns:
            An `Image` as JSON.

        Raises:
            Problem: 404 or 403, the actor may not edit the board; 413, it has too many bytes or pixels; 415, it is no
                PNG, JPEG, GIF or WebP; 409, the name is another image's; 408, the upload takes too long; 503, the storage
                can't be reached.
        """
        if length is not None and length > MAX_BYTES:
            raise _too_large()
        async with self._pool.acquire() as connection, connection.transaction():
            await access.require(connection, self._projects, actor, board_id, edit=True)
        with tempfile.NamedTemporaryFile(prefix="fluxstudio-") as file:
            path = Path(file.name)
            try:
                async with asyncio.timeout(UPLOAD_DEADLINE_S):
                    content = await _receive(path, chunks)
            except TimeoutError:
                raise Problem(408, "request-timeout", "The upload took too long. Send it again.") from None
            async with self._storing:
                await self._store(actor, board_id, file_id, content, path)
        return encode(
            Image(
                file_id,
                content.sha256.hex(),
                content.content_type,
                content.size,
                content.width,
                content.height,
            )
        )

    async def _store(self, actor: Actor, board_id: int, file_id: str, content: _Content, path: Path) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await access.require(connection, self._projects, actor, board_id, edit=True)
            await image_queries.lock_blob(connection, content.sha256)
            if not await image_queries.has_blob(connection, content.sha256):
                try:
                    await self._storage.put(content.sha256, path)
                except StorageError as exc:
                    log.error("The storage of images fails: %s", exc)  # noqa: TRY400 - which says why
                    raise unavailable(
                        "storage-unavailable", "Images can't be stored now. Try again soon."
                    ) from exc
                await image_queries.insert_blob(
                    connection,
                    content.sha256,
                    content.size,
                    content.content_type,
                    content.width,
                    content.height,
                )
            if (
                await image_queries.insert_image(connection, board_id, file_id, content.sha256)
                != content.sha256
            ):
                raise conflict("image-exists", "Another image has this name on the board: give it a new one.")

    async def get(self, actor: Actor, board_id: int, file_id: str) -> tuple[Image, AsyncIterator[bytes]]:
        """Returns an image and its bytes.

        Raises:
            Problem: 404, there is none, or the actor may not see the board; 503, the storage can't be reached.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await access.require(connection, self._projects, actor, board_id, edit=False)
            row = await image_queries.fetch_image(connection, board_id, file_id)
        if row is None:
            raise not_found("image")
        image = Image(
            row["file_id"],
            row["sha256"].hex(),
            row["content_type"],
            row["size_bytes"],
            row["width"],
            row["height"],
        )
        try:
            return image, await self._storage.stream(row["sha256"])
        except StorageError as exc:
            log.error("The storage of images fails: %s", exc)  # noqa: TRY400 - which says why
            raise unavailable("storage-unavailable", "Images can't be read now. Try again soon.") from exc

    async def collect(self, *, older_s: float = KEEP_UNUSED_S) -> int:
        """Deletes what nothing names any more and has been there for a while; returns how many contents.

        Two at the same time do each other no harm.
        """
        deleted = 0
        async with self._pool.acquire() as connection:
            await image_queries.drop_unused_images(connection, older_s)
            while found := await image_queries.fetch_unused_blobs(connection, older_s, _BATCH):
                before = deleted
                for sha256 in found:
                    async with connection.transaction():
                        await image_queries.lock_blob(connection, sha256)  # nobody stores it anew meanwhile
                        if await image_queries.delete_blob(connection, sha256):
                            await self._storage.delete(sha256)  # if this fails, the row stays too
                            deleted += 1
                if deleted == before:
                    break
        return deleted


async def _receive(path: Path, chunks: AsyncIterator[bytes]) -> _Content:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > MAX_BYTES:
                raise _too_large()
            digest.update(chunk)
            file.write(chunk)
    kind, width, height = await asyncio.to_thread(_inspect, path)
    return _Content(digest.digest(), size, kind, width, height)


def _inspect(path: Path) -> tuple[str, int, int]:
    """Reads what an image is from its head; no pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # pixels are counted below
            with Pillow.open(path, formats=tuple(_TYPES)) as image:
                kind, (width, height) = _TYPES[image.format or ""], image.size
    except Pillow.DecompressionBombError:
        raise _too_many_pixels() from None
    except (OSError, ValueError, KeyError, SyntaxError):
        raise Problem(
            415, "unsupported-media-type", "An image is a PNG, JPEG, GIF or WebP file; this is none."
        ) from None
    if width * height > MAX_PIXELS:
        raise _too_many_pixels()
    return kind, width, height


def _too_large() -> Problem:
    return Problem(413, "content-too-large", f"An image may have {MAX_BYTES // 2**20} MB at most.")


def _too_many_pixels() -> Problem:
    return Problem(413, "too-many-pixels", f"An image may have {MAX_PIXELS // 10**6} megapixels at most.")
