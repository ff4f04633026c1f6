"""schemathesis: whatever the OpenAPI document allows, and what it does not, is answered, and never with a 5xx."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, Self, TypeVar

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from fluxstudio.app import Application, create_app
from fluxstudio.testing import Caller, Database, Person, settings_for
from valtier.embedded import EmbeddedValkey

T = TypeVar("T")

EXAMPLES = 5
PASSWORD = "correct horse"


class Runner:
    """An application on an event loop in a thread: Hypothesis is not asynchronous."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._database_url = database_url
        self.app: Application = create_app(settings_for(database_url, redis_url, pool_size=2))
        self._lifespan = self.app.router.lifespan_context(self.app)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._lifespan.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._lifespan.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(60)

    def person(self) -> Person:
        async def make() -> Person:
            async with Database.open(self._database_url) as database:
                return await database.person("Ada", password=PASSWORD, sudo_s=600)

        return self.run(make())

    def send(self, person: Person | None, case: schemathesis.Case[Any]) -> httpx.Response:
        async def call() -> httpx.Response:
            words = case.as_transport_kwargs(base_url="http://studio.test")
            headers = [
                (name, value)
                for name, value in dict(words["headers"] or {}).items()
                if name.lower() != "cookie"
            ]
            caller = Caller(self.app, person)
            return await caller._client.request(
                words["method"],
                words["url"],
                params=words.get("params"),
                headers=headers,
                **{name: words[name] for name in ("json", "data", "content") if words.get(name) is not None},
            )

        return self.run(call())


@pytest.fixture(scope="module")
def runner(shared_database_url: str, valkey_server: EmbeddedValkey) -> Iterator[Runner]:
    valkey_server.flush()
    with Runner(shared_database_url, valkey_server.url) as runner:
        yield runner


def check(runner: Runner, person: Person | None, operation: Any) -> None:
    bounded = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )

    def judge(case: schemathesis.Case[Any]) -> None:
        response = runner.send(person, case)
        assert response.status_code < 500, (case.method, case.path, response.text)
        if response.status_code >= 400:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["detail"]

    test: Callable[[], None] = bounded(given(case=operation.as_strategy())(judge))
    test()


@pytest.mark.filterwarnings(
    "ignore::hypothesis.errors.HypothesisDeprecationWarning"
)  # the application draws jitter
def test_whatever_the_document_allows_is_answered_without_a_5xx(runner: Runner) -> None:
    schema = schemathesis.openapi.from_dict(runner.app.openapi())
    operations: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) > 35
    for operation in operations:
        if operation.path in {"/api/health", "/api/ready"}:
            continue
        check(runner, None, operation)
        check(runner, runner.person(), operation)
