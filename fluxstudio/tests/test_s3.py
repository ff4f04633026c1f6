"""Images of boards on a store that speaks S3, over HTTP: stored, read, collected, and what is answered while it is away."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import httpx
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from fluxstudio.app import Application
from fluxstudio.boards import images as limits
from fluxstudio.boards.storage import Storage
from fluxstudio.settings import SettingsError
from fluxstudio.testing import Caller, Database, World, expect, running, settings_for
from valtier.embedded import free_port

_NAME = "{http://s3.amazonaws.com/doc/2006-03-01/}Key"


@dataclass
class Store:
    """A server that speaks S3, with one bucket."""

    server: ThreadedMotoServer
    url: str

    def names(self) -> list[str]:
        """The names of all objects."""
        listed = httpx.get(f"{self.url}/studio?list-type=2").text
        return [name.text or "" for name in ET.fromstring(listed).iter(_NAME)]  # noqa: S314 - our own server


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "studio",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
    }.items():
        monkeypatch.setenv(name, value)
    assert httpx.put(f"{url}/studio").status_code == 200
    yield Store(server, url)
    server.stop()


@pytest.fixture
async def app(shared_database_url: str, store: Store) -> AsyncIterator[Application]:
    settings = settings_for(shared_database_url, None, assets_url="s3://studio/assets")
    async with running(settings) as made:
        yield made


@pytest.fixture
async def board(app: Application, world: World) -> int:
    made = await Caller(app, world.ben).post(f"/api/projects/{world.project}/boards", {"title": "Sketches"})
    return int(made["id"])


def png(size: int, color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), color).save(file, "PNG")
    return file.getvalue()


async def test_an_image_is_stored_once_read_and_collected_on_s3(
    app: Application, world: World, board: int, store: Store, database: Database
) -> None:
    ben, content = Caller(app, world.ben), png(8, f"#{board:06x}")
    for name in ("one", "two"):
        expect(await ben.call("PUT", f"/api/boards/{board}/images/{name}", content=content), 200)
    [name] = store.names()
    assert name.startswith("assets/blobs/")
    served = expect(await Caller(app, world.cy).call("GET", f"/api/boards/{board}/images/two"), 200)
    assert served.content == content
    assert app.studio is not None
    await database.connection.execute(
        "UPDATE board_images SET created_at = now() - interval '2 days' WHERE board_id = $1", board
    )
    await database.connection.execute("UPDATE blobs SET created_at = now() - interval '2 days'")
    await app.studio.images.collect()
    assert store.names() == []
    expect(await ben.call("GET", f"/api/boards/{board}/images/one"), 404)


async def test_the_largest_image_goes_in_parts_and_comes_back_whole(
    app: Application, world: World, board: int
) -> None:
    ben = Caller(app, world.ben)
    content = png(9, "teal")
    content += b"\0" * (limits.MAX_BYTES - len(content))  # what follows an image is nobody's, and is kept
    expect(await ben.call("PUT", f"/api/boards/{board}/images/large", content=content), 200)
    served = expect(await ben.call("GET", f"/api/boards/{board}/images/large"), 200)
    assert served.content == content


async def test_while_the_store_is_away_images_are_unavailable_and_nothing_else_is(
    app: Application, world: World, board: int, store: Store
) -> None:
    ben, content = Caller(app, world.ben), png(5, "olive")
    expect(await ben.call("PUT", f"/api/boards/{board}/images/there", content=content), 200)
    store.server.stop()
    refused = expect(await ben.call("PUT", f"/api/boards/{board}/images/new", content=png(6, "plum")), 503)
    assert refused.json()["code"] == "storage-unavailable"
    expect(await ben.call("GET", f"/api/boards/{board}/images/there"), 503)
    await ben.get(f"/api/boards/{board}/scene")


@pytest.mark.parametrize("url", ["s3:", "s3://", "nothing://bucket", "ftp://bucket/x"])
def test_a_store_that_can_never_work_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="ASSETS_URL can't be used"):
        Storage.open(url)
