"""A decorated function is called as before, and asked once for each set of arguments."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from valtier import Cache, ConfigurationError, Tier
from valtier.embedded import EmbeddedValkey


@dataclass
class User:
    id: int
    name: str


@pytest_asyncio.fixture
async def cache(valkey: EmbeddedValkey) -> AsyncIterator[Cache]:
    async with Tier.from_url(valkey.url, deadline=5) as tier:
        yield tier.cache


async def test_it_is_asked_once_and_gives_back_its_own_type(cache: Cache) -> None:
    calls = []

    @cache.cached("user:{user_id}", ttl="5m")
    async def get_user(user_id: int, *, fresh: bool = False) -> User:
        """Loads a user."""
        calls.append(user_id)
        return User(user_id, "Ada")

    assert await get_user(1) == await get_user(user_id=1) == await get_user(1, fresh=True) == User(1, "Ada")
    assert await get_user(2) == User(2, "Ada")
    assert calls == [1, 2]
    assert get_user.__doc__ == "Loads a user."
    assert get_user.key(user_id=42) == "user:42"


async def test_a_result_is_invalidated_by_the_arguments_of_its_key_or_by_a_tag(cache: Cache) -> None:
    calls = []

    @cache.cached("page:{slug}", ttl=60, tags=["project:{project_id}"])
    async def page(slug: str, project_id: int) -> str:
        calls.append(slug)
        return slug.upper()

    await page("a b/ü", 7)
    await page.invalidate(slug="a b/ü")
    await page("a b/ü", 7)
    await cache.invalidate_tags("project:7")
    assert await page("a b/ü", 7) == "A B/Ü"
    assert len(calls) == 3


async def test_methods_are_bound(cache: Cache) -> None:
    class Repository:
        def __init__(self) -> None:
            self.calls = 0

        @cache.cached("square:{n}", ttl=60)
        async def square(self, n: int) -> int:
            self.calls += 1
            return n * n

    repository = Repository()
    assert [await repository.square(3), await repository.square(n=3)] == [9, 9]
    assert repository.calls == 1
    assert repository.square.key(3) == "square:3"
    await repository.square.invalidate(3)
    await repository.square(3)
    assert repository.calls == 2


def test_mistakes_are_told_where_the_function_is_decorated() -> None:
    cache = Cache(None)
    with pytest.raises(ConfigurationError, match="no parameter"):

        @cache.cached("user:{id}", ttl=60)
        async def wrong_field(user_id: int) -> None: ...

    with pytest.raises(ConfigurationError, match="no parameter"):

        @cache.cached("user:{user_id}", ttl=60, tags=["team:{team}"])
        async def wrong_tag(user_id: int) -> None: ...

    with pytest.raises(ConfigurationError, match="ttl"):

        @cache.cached("user:{user_id}", ttl=0)
        async def no_ttl(user_id: int) -> None: ...

    with pytest.raises(ConfigurationError, match="no async function"):

        @cache.cached("user:{user_id}", ttl=60)  # type: ignore[arg-type]
        def not_async(user_id: int) -> None: ...


def test_a_result_that_could_not_be_decoded_is_told_then_too() -> None:
    @dataclass
    class Team:
        id: int

    with pytest.raises(ConfigurationError, match="can't be decoded"):

        @Cache(None).cached("owner:{owner_id}", ttl=60)
        async def get_owner(owner_id: int) -> User | Team:
            return Team(owner_id)

    with pytest.raises(ConfigurationError, match="not one text"):

        @Cache(None).cached("owner:{owner_id}", ttl=60, tags="owners")
        async def get_other(owner_id: int) -> User:
            return User(owner_id, "Ada")


async def test_an_invalidation_that_misses_an_argument_of_the_key_is_told(cache: Cache) -> None:
    @cache.cached("k:{a}:{b}", ttl=60)
    async def function(a: int, b: int) -> int:
        return a + b

    with pytest.raises(ConfigurationError, match="needs b"):
        await function.invalidate(a=1)
    with pytest.raises(ConfigurationError, match="unexpected"):
        await function.invalidate(c=1)
    with pytest.raises(TypeError):
        await function(1)  # type: ignore[call-arg]


async def test_wrong_arguments_of_the_key_are_told(cache: Cache) -> None:
    @cache.cached("k:{a}", ttl=60)
    async def function(a: object) -> int:
        return 1

    with pytest.raises(ConfigurationError, match="not from list"):
        await function([1])
