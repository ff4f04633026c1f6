"""What an operator is given for Prometheus and Grafana, run through Debian's Prometheus against two real workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fluxstudio.testing import World
from valtier.embedded import EmbeddedValkey, free_port
from valtier.testing import eventually
from valtier.testing.debian import ensure_program

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = (DEPLOY / "grafana" / "fluxstudio.json", DEPLOY / "grafana" / "valtier.json")
WINDOW = "20s"
MAY_BE_EMPTY = {"{{limit}}, closed", "{{limit}}", "{{server}}: {{code}}"}
"""Nothing was refused, perhaps, and nothing is set up badly."""


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = ensure_program("promtool", "prometheus")
    return subprocess.run(  # noqa: S603
        [program, *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(400)  # it may have to install Prometheus
def test_promtool_accepts_the_configuration_and_the_rules(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        (tmp_path / name).write_text((DEPLOY / "prometheus" / name).read_text())
    (tmp_path / "metrics-token").write_text("secret")
    for what, path in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        done = promtool("check", what, str(tmp_path / path))
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(400)
def test_the_alerts_fire_when_they_should_and_not_before() -> None:
    done = promtool("test", "rules", "alerts.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> Iterator[tuple[str, str]]:
    """The expressions of the dashboards, with the legends of their series."""
    panels = [panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]]
    for panel in panels:
        for target in panel.get("targets", ()):
            yield (
                target["expr"].replace("$__rate_interval", WINDOW).replace("$instance", ".*"),
                target["legendFormat"],
            )


def alert_expressions() -> Iterator[str]:
    text = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    for match in re.finditer(r"expr: (?:\|\n((?: {10,}.*\n)+)|(.*)\n)", text):
        yield (match[1] or match[2]).strip()


class Prometheus:
    """A real one, that asks every second."""

    def __init__(self, directory: Path, target: str, token: str) -> None:
        self.port = free_port()
        self._directory = directory
        text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
        assert "fluxstudio:8000" in text
        text = text.replace("fluxstudio:8000", target).replace("15s", "1s")
        (directory / "prometheus.yml").write_text(text)
        (directory / "alerts.yml").write_text((DEPLOY / "prometheus" / "alerts.yml").read_text())
        (directory / "metrics-token").write_text(token)
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        program = ensure_program("prometheus", "prometheus")
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - it returns at once
            [
                program,
                f"--config.file={self._directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=error",
            ],
            cwd=self._directory,
        )
        try:
            await eventually(self._is_ready, 60)
            yield
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 20)
            await self.client.aclose()

    async def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get("/-/ready")).status_code == 200
        return False

    async def ask(self, expression: str) -> list[dict[str, Any]]:
        response = await self.client.get("/api/v1/query", params={"query": expression})
        answer = response.json()
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def number(self, expression: str) -> float | None:
        found = await self.ask(expression)
        return float(found[0]["value"][1]) if found else None


@asynccontextmanager
async def two_workers(database_url: str, redis_url: str, token: str, directory: Path) -> AsyncIterator[str]:
    """`fluxstudio serve` with two workers. Gives its address."""
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SECURE_COOKIES": "false",
        "DB_POOL_SIZE": "4",
        "ASSETS_URL": "memory:",
        "METRICS_TOKEN": token,
        "METRICS_DIR": str(directory),
        "API_LIMIT": "off",
    }
    arguments = ["serve", "--port", str(port), "--workers", "2", "--log-level", "error"]
    process = subprocess.Popen(  # noqa: ASYNC220, S603 - it returns at once
        [sys.executable, "-m", "fluxstudio.cli", *arguments],
        env=environment,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

            async def ready() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get("/api/ready")).status_code == 200
                return False

            await eventually(ready, 60)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.timeout(400)
async def test_every_panel_shows_data_of_two_real_workers_and_a_killed_worker_resets_no_counter(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, tmp_path: Path
) -> None:
    token = secrets.token_hex(12)
    directory = tmp_path / "vitals"
    async with two_workers(shared_database_url, valkey.url, token, directory) as address:
        prometheus = Prometheus(tmp_path, address, token)
        async with prometheus.running():

            async def sees(expression: str) -> bool:
                return bool(await prometheus.number(expression))

            async with _visitors(f"http://{address}", world):
                await eventually(lambda: sees("valtier_workers == 2"), 60)
                await eventually(lambda: sees(f"sum(rate(valtier_cache_hits_total[{WINDOW}])) > 0"), 60)
                await eventually(lambda: sees("max(valtier_invalidation_lag_seconds) > 0"), 60)
                await _every_expression_is_answered(prometheus)

                victim = (await prometheus.ask("valtier_worker_info"))[0]["metric"]
                os.kill(int(victim["pid"]), signal.SIGKILL)
                gone = f'absent(valtier_worker_info{{worker="{victim["worker"]}"}})'
                await eventually(lambda: sees(gone), 60)
                await eventually(lambda: sees("valtier_workers == 2"), 60)  # another one was started
            for family in (
                "fluxstudio_http_request_duration_seconds_count",
                "fluxstudio_database_queries_total",
                "valtier_cache_misses_total",
                "valtier_valkey_commands_total",
                "valtier_sessions_durable_reads_total",
            ):
                assert await prometheus.number(f"max(resets({family}[10m]))") == 0, family
    left = {path.name for path in directory.iterdir()}
    assert "ended.json" in left


async def _every_expression_is_answered(prometheus: Prometheus) -> None:
    found = list(expressions())
    assert len(found) > 40
    empty: list[str] = []

    async def all_have_data() -> bool:  # a rate needs two scrapes
        empty[:] = [
            expression
            for expression, legend in found
            if not await prometheus.ask(expression) and legend not in MAY_BE_EMPTY
        ]
        return not empty

    with contextlib.suppress(TimeoutError):
        await eventually(all_have_data, 30)
    assert empty == []
    alerts = list(alert_expressions())
    assert len(alerts) > 10
    for expression in alerts:
        await prometheus.ask(expression)
    rules = (await prometheus.client.get("/api/v1/rules")).json()["data"]["groups"]
    assert sum(len(group["rules"]) for group in rules) == len(alerts)


@asynccontextmanager
async def _visitors(url: str, world: World) -> AsyncIterator[None]:
    stop = asyncio.Event()
    visiting = asyncio.ensure_future(_visit(url, world, stop))
    try:
        yield
    finally:
        stop.set()
        await visiting


async def _visit(url: str, world: World, stop: asyncio.Event) -> None:
    """Reads and writes, as people do, until it is enough."""
    headers = {"cookie": f"flux={world.ada.token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
        number = 0
        while not stop.is_set():
            number += 1
            with contextlib.suppress(httpx.TransportError):
                for path in ("/api/projects", "/api/me", f"/api/projects/{world.project}", "/api/nothing"):
                    await client.get(path)
                await client.patch("/api/me", json={"bio": f"Visit {number}"})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.05)
