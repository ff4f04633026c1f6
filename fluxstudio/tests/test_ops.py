"""Operations: health, counters in files, logs; and what the API says of itself."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from fluxstudio import keys
from fluxstudio.app import ROUTERS, Application, create_app
from fluxstudio.ops.logs import configure_logging
from fluxstudio.ops.stats_file import StatsFile
from fluxstudio.testing import Caller, World, running, settings_for
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually


async def test_health_tells_how_this_worker_is_and_no_secret(
    shared_database_url: str, valkey: EmbeddedValkey
) -> None:
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        response = await Caller(app).call("GET", "/api/health")
        report = response.json()
        assert response.status_code == 200
        assert (report["cache"]["connected"], report["cache"]["status"]) == (True, "ready")
        assert report["database"]["connected"] is True
        assert report["version"]
        for url in (shared_database_url, valkey.url):
            password = url.partition("@")[0].rpartition(":")[2]
            assert len(password) > 8
            assert password not in response.text
        assert response.headers["cache-control"] == "no-store"


async def test_each_worker_writes_its_counters(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, tmp_path: Path
) -> None:
    directory = tmp_path / "stats"
    async with running(settings_for(shared_database_url, valkey.url, stats_dir=directory)) as app:
        [path] = directory.glob("*.json")
        assert path.name == f"{os.getpid()}.json"
        before = json.loads(path.read_bytes())
        ada = Caller(app, world.ada)
        for _ in range(3):
            await ada.get("/api/projects")
        await ada.patch("/api/me", {"bio": "Counted"})
    after = json.loads(path.read_bytes())
    assert after["requests"] - before["requests"] == 4
    for name, hits in (("http", 2), ("projects", 0)):  # what the response cache has, no service is asked for
        space = after["cache"][name]
        assert (space["hits"], space["misses"], space["loads"], space["errors"]) == (hits, 1, 1, 0), name
    assert after["queries"]["reads"] - before["queries"]["reads"] == 2  # projects, the user's lock
    assert (
        after["queries"]["writes"] - before["queries"]["writes"] == 2
    )  # the user, and the row in the outbox
    assert [item.name for item in directory.iterdir()] == [path.name]


async def test_the_counters_are_rewritten_while_the_worker_runs(tmp_path: Path) -> None:
    counter = iter(range(1000))
    stats = StatsFile(tmp_path, lambda: {"requests": next(counter)}, every_s=0.01)
    stats.start()
    path = stats._path
    await eventually(lambda: json.loads(path.read_bytes())["requests"] >= 3)
    await stats.stop()
    last = json.loads(path.read_bytes())["requests"]
    assert last == next(counter) - 1


async def test_counters_that_cannot_be_written_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stats = StatsFile(tmp_path, dict)
    stats._path = tmp_path / "gone" / "1.json"
    stats.write()
    assert "can't be written" in caplog.text


def test_logs_are_text_for_people_and_json_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    loggers = [logging.getLogger(name) for name in ("fluxstudio", "valtier")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    try:
        configure_logging(as_json=True)
        loggers[0].error("It failed: %s", "here", exc_info=ValueError("broken"))
        line = json.loads(capsys.readouterr().err)
        assert (line["event"], line["level"], line["logger"]) == ("It failed: here", "error", "fluxstudio")
        assert "ValueError: broken" in line["exception"]
        configure_logging(as_json=False)
        loggers[1].info("Redis cache initialized")
        assert "Redis cache initialized" in capsys.readouterr().err
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


TWO_ENDINGS = {"POST /api/sign-in", "POST /api/sign-in/code/verify"}
"""They sign in, or ask for a second factor."""


def test_the_api_describes_every_answer(shared_database_url: str) -> None:
    document = create_app(settings_for(shared_database_url, None)).openapi()
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    assert operations.keys() == {
        f"{method} {route.path}"
        for route in routes
        if route.include_in_schema
        for method in route.methods or ()
    }
    schemas = document["components"]["schemas"]
    for name, operation in operations.items():
        assert operation["summary"], name
        problem = operation["responses"].pop("default")
        assert "application/problem+json" in problem["content"]
        assert len(operation["responses"]) == (2 if name in TWO_ENDINGS else 1)
        for status, answer in operation["responses"].items():
            if status == "204" or name.startswith("GET /api/boards/{board_id}/images/"):  # a file
                assert "content" not in answer
            else:
                schema = answer["content"]["application/json"]["schema"]
                if schema.get("type") != "array":  # a scene, whose elements are Excalidraw's
                    assert schema["$ref"].rpartition("/")[2] in schemas, name
    assert schemas["ProblemDetails"]["properties"].keys() >= {
        "type",
        "title",
        "status",
        "code",
        "detail",
        "errors",
    }
    assert not {"HTTPValidationError", "ValidationError"} & schemas.keys()
    parameters = {p["name"]: p for p in operations["GET /api/projects/{project_id}/messages"]["parameters"]}
    assert parameters["limit"]["schema"]["maximum"] == 100
    assert not parameters["before"]["required"]
    assert schemas["ProjectChange"]["properties"]["title"] == {
        "type": "string",
        "minLength": 1,
        "maxLength": 120,
        "title": "Title",
    }
    json.dumps(document)


def test_keys_are_built_in_one_place() -> None:
    """No other module names a namespace: what is not built in `keys` is not found in `staleness`."""
    package = Path(keys.__file__).parent
    for path in package.rglob("*.py"):
        if (
            path.name in {"keys.py", "demo.py"} or "benchmark" in path.parts
        ):  # the demo's switch passes keys on
            continue
        source = path.read_text()
        for call in ("cache.set(", "cache.get(", "cache.delete(", "cache.invalidate("):
            assert call not in source or path.name == "writes.py", f"{path.name} calls {call}"
        position = 0
        while (position := source.find("get_or_set(", position)) >= 0:
            argument = source[position + len("get_or_set(") :].lstrip()
            assert argument.startswith("keys."), f"{path.name} builds a key itself: {argument[:40]}"
            position += 1


async def test_private_answers_are_stored_nowhere_else(app: Application, world: World) -> None:
    """But what a browser may keep to ask whether it still stands."""
    others = {"/api/projects": "private, no-cache", "/api/openapi.json": None}
    for path in ("/api/me", "/api/projects", "/api/projects/0", "/nope", "/api/openapi.json"):
        response = await Caller(app, world.ada).call("GET", path)
        expected = others.get(path, "no-store")
        assert response.headers.get("cache-control") == expected, path
