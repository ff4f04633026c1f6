"""What an entry takes, in Valkey and in the process."""

from __future__ import annotations

from collections.abc import Callable

from bench.cache.options import Size
from bench.common.memory import dataset_bytes, traced_bytes
from valtier import Tier
from valtier.embedded import EmbeddedValkey

_COUNT = 2_000
_VALUES = (100, 1000)


async def measure(server: EmbeddedValkey) -> list[Size]:
    """Stores entries of two sizes, with and without a tag, and looks what they take."""
    sizes = [await _peer_size(server, size) for size in _VALUES]
    for size in _VALUES:
        for tagged in (False, True):
            server.flush()
            async with Tier.from_url(server.url, deadline=5, prefix="v") as tier:
                before = dataset_bytes(server)
                local = await _fill(tier, size, tagged=tagged)
                sizes.append(
                    Size(
                        subject="valtier",
                        value_bytes=size,
                        tagged=tagged,
                        remote_bytes=(dataset_bytes(server) - before) / _COUNT,
                        local_bytes=local,
                    )
                )
    return sizes


async def _fill(tier: Tier, size: int, *, tagged: bool) -> float:
    tags = ["project:7"] if tagged else []

    def loader(at: int) -> Callable[..., object]:
        async def load() -> str:
            return f"{at:0{size}d}"

        return load

    for at in range(_COUNT):
        await tier.cache.get_or_set(f"k:{at}", 3600, loader(at), tags=tags)  # type: ignore[arg-type]
    tier.cache.drop_local()

    async def fill() -> None:
        for at in range(_COUNT):
            await tier.cache.get_or_set(f"k:{at}", 3600, loader(at), tags=tags)  # type: ignore[arg-type]

    return await traced_bytes(fill) / max(1, tier.cache.local["entries"])


async def _peer_size(server: EmbeddedValkey, size: int) -> Size:
    from cashews import Cache

    server.flush()
    cache = Cache()
    cache.setup(server.url)
    await cache.ping()
    before = dataset_bytes(server)
    for at in range(_COUNT):
        await cache.set(f"k:{at}", f"{at:0{size}d}", expire=3600)
    used = (dataset_bytes(server) - before) / _COUNT
    await cache.close()
    return Size(subject="cashews", value_bytes=size, tagged=False, remote_bytes=used, local_bytes=None)
