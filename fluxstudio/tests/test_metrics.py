"""/metrics: correct over the workers of a machine, for operators only; and health in detail."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fluxstudio.app import Application
from fluxstudio.http.request_ids import RequestIds
from fluxstudio.http.traffic import BOUNDS_S, Traffic
from fluxstudio.ops import vitals_files
from fluxstudio.ops.guard import OperatorGuard
from fluxstudio.ops.vitals_files import DirectoryBusyError, VitalsFiles, collect
from fluxstudio.problems import Problem
from fluxstudio.settings import Settings, SettingsError
from fluxstudio.testing import Caller, World, expect, running, settings_for
from valtier.embedded import EmbeddedValkey
from valtier.testing import FaultProxy, eventually
from valtier.testing.debian import ensure_program
from valtier.vitals import Vitals

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scraped(app: Application) -> Samples:
    return samples(await Caller(app).get("/metrics"))


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def requests_of(found: Samples, route: str, status: str = "2xx", method: str = "GET") -> float:
    labels = {"route": route, "method": method, "status": status}
    return found.get(("fluxstudio_http_request_duration_seconds_count", frozenset(labels.items())), 0)


def counters(found: Samples) -> Samples:
    return {
        key: number
        for key, number in found.items()
        if key[0].endswith(("_total", "_count", "_bucket", "_sum"))
    }


# -- over several workers -------------------------------------------------------------------------------


async def test_any_worker_tells_the_sums_of_all_and_one_that_ended_takes_nothing_back(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, tmp_path: Path
) -> None:
    settings = settings_for(shared_database_url, valkey.url, metrics_dir=tmp_path)
    async with running(settings) as one:
        async with running(settings) as two:
            for app, times in ((one, 3), (two, 4)):
                for _ in range(times):
                    await Caller(app, world.ada).get("/api/projects")
            await scraped(two)  # which writes the other's report
            both = await scraped(one)
            assert value(both, "valtier_workers") == 2
            assert requests_of(both, "/api/projects") == 7
            assert requests_of(await scraped(two), "/api/projects") == 7
        alone = await scraped(one)
        assert value(alone, "valtier_workers") == 1
        assert requests_of(alone, "/api/projects") == 7
        assert any(name == "valtier_server_used_memory_bytes" for name, _ in alone)
        gone_back = {key for key, number in counters(both).items() if counters(alone)[key] < number}
        assert gone_back == set()
        assert value(alone, "valtier_socketio_sockets", worker=_worker(one)) == 0


def _worker(app: Application) -> str:
    assert app.studio is not None
    return app.studio.tier.vitals.worker


async def test_metrics_are_there_while_valkey_is_away(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, tmp_path: Path
) -> None:
    async with FaultProxy(valkey.port) as proxy:
        settings = settings_for(shared_database_url, proxy.url(valkey.url), metrics_dir=tmp_path)
        async with running(settings) as app:
            await Caller(app, world.ada).get("/api/projects")
            before = await scraped(app)
            proxy.refuse()
            proxy.cut()
            assert app.studio is not None
            tier = app.studio.tier
            await eventually(lambda: not tier.valkey.available)
            during = await scraped(app)
            assert any(name == "valtier_server_clients" for name, _ in before)
            assert not any(name.startswith("valtier_server") for name, _ in during)
            ready = [number for (name, _), number in during.items() if name == "valtier_valkey_ready"]
            assert ready
            assert not any(ready)
            own = {key: number for key, number in counters(before).items() if "valtier_server_" not in key[0]}
            lost = {key for key, number in own.items() if counters(during)[key] < number}
            assert lost == set()


def _directory(tmp_path: Path, **requests: int) -> dict[str, VitalsFiles]:
    """Workers that have reported so many requests each."""
    made = {}
    for name, count in requests.items():
        vitals = Vitals(None)
        vitals.worker = name
        vitals.add("http", lambda count=count: {"requests": count})  # type: ignore[misc]
        made[name] = VitalsFiles(tmp_path, vitals, every_s=3600)
        made[name].start()
    return made


def _reports(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("*.json")}


def _sum(directory: Path) -> float:
    living, ended = collect(directory)
    return sum(float(report.sections.get("http", {}).get("requests", 0)) for report in [*living, ended])


async def test_a_killed_workers_last_report_stays_in_the_totals(tmp_path: Path) -> None:
    workers = _directory(tmp_path, one=1, two=10, three=100)
    assert _sum(tmp_path) == 111
    for name in ("one", "two"):
        _kill(workers[name])
        assert _sum(tmp_path) == 111
        assert _sum(tmp_path) == 111
    assert _reports(tmp_path) == {"three.json", "ended.json"}
    assert not (tmp_path / "one.live").exists()
    await workers["three"].stop()
    assert _sum(tmp_path) == 111
    assert len(collect(tmp_path)[0]) == 0


def _kill(files: VitalsFiles) -> None:
    """What is left of a process that the kernel has ended: its lock is gone."""
    assert files._live is not None
    os.close(files._live)
    files._live = None
    assert files._task is not None
    files._task.cancel()


@pytest.mark.parametrize("steps", range(6))
async def test_who_dies_while_adding_up_counts_nothing_twice_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    workers = _directory(tmp_path, one=1, two=10, three=100)
    _kill(workers["one"])
    _kill(workers["two"])
    left = steps

    class Died(BaseException):
        pass

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Died

    replace, unlink = vitals_files._replace, Path.unlink

    def dying_replace(path: Path, data: bytes) -> None:
        step()
        replace(path, data)

    def dying_unlink(self: Path, missing_ok: bool = False) -> None:
        step()
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(vitals_files, "_replace", dying_replace)
        patch.setattr(Path, "unlink", dying_unlink)
        with pytest.raises(Died):
            collect(tmp_path)
    assert _sum(tmp_path) == 111
    _kill(workers["three"])
    assert _sum(tmp_path) == 111
    assert _sum(tmp_path) == 111


async def test_a_report_that_can_not_be_read_takes_no_other_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workers = _directory(tmp_path, one=1, two=10)
    (tmp_path / "junk.json").write_bytes(b"{")
    (tmp_path / "one.json").write_bytes(b"")
    assert _sum(tmp_path) == 10
    assert "passed over" in caplog.text
    assert not (tmp_path / "junk.json").exists()
    (tmp_path / "ended.json").write_bytes(b"half")
    assert _sum(tmp_path) == 10
    for files in workers.values():
        _kill(files)


async def test_a_locked_directory_is_told_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals_files, "_PATIENCE_S", 0.05)
    with vitals_files._locked(tmp_path), pytest.raises(DirectoryBusyError):
        await asyncio.to_thread(collect, tmp_path)
    assert collect(tmp_path)[0] == []


async def test_a_directory_that_can_not_be_made_keeps_nobody_from_serving(
    shared_database_url: str, valkey: EmbeddedValkey, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    settings = settings_for(shared_database_url, valkey.url, metrics_dir=tmp_path / "file" / "below")
    async with running(settings) as app:
        await Caller(app).get("/api/health")
        expect(await Caller(app).call("GET", "/metrics"), 503)
    assert "can't be kept" in caplog.text


# -- what is counted ------------------------------------------------------------------------------------


async def test_requests_are_counted_by_template_and_never_by_what_a_client_wrote(
    shared_database_url: str, valkey: EmbeddedValkey, world: World
) -> None:
    async with running(settings_for(shared_database_url, valkey.url, api_limit="8/minute")) as app:
        ada = Caller(app, world.ada)
        await ada.get(f"/api/projects/{world.project}")
        await ada.call("GET", "/api/projects/999999")
        await ada.patch("/api/me", {"bio": "Measured"})
        await ada.call("GET", "/api/secret-path-of-a-client")
        await ada.call("BREW", "/api/me")
        await Caller(app).call("GET", "/api/projects")
        for _ in range(4):
            await ada.call("GET", "/api/me")
        found = await scraped(app)
        assert requests_of(found, "/api/projects/{project_id}") == 1
        assert requests_of(found, "/api/projects/{project_id}", "4xx") == 1
        assert requests_of(found, "/api/me", method="PATCH") == 1
        assert requests_of(found, "/api/projects", "4xx") == 1
        assert requests_of(found, "none", "4xx") >= 2, "an unknown address, and what the limit refused"
        text = str(found.keys())
        assert "secret-path" not in text
        assert "BREW" not in text
        assert value(found, "fluxstudio_database_queries_total", kind="read") > 0
        assert value(found, "fluxstudio_pool_connections", pool="requests", worker=_worker(app)) == 4
        assert value(found, "fluxstudio_process_cpu_seconds_total") > 0
        assert value(found, "fluxstudio_http_in_progress", worker=_worker(app)) == 1, "this one"
        assert value(found, "valtier_limits_denied_total", limit="default") >= 1


def test_durations_fall_into_their_buckets() -> None:
    traffic = Traffic(RequestIds(()))
    scope: dict[str, Any] = {"method": "GET"}
    for took_s in (0.0001, 0.0005, 0.00051, 3600):
        traffic.note(scope, 200, took_s)
    traffic.note(scope, 0, 0.1)
    traffic.note(scope | {"method": "X" * 1000}, 999, 0.1)
    by_labels = {tuple(timed.labels): timed for timed in traffic.durations().series}
    assert by_labels["none", "GET", "2xx"].counts == [2, 1, *[0] * (len(BOUNDS_S) - 2), 1]
    assert ("none", "GET", "none") in by_labels
    assert ("none", "other", "none") in by_labels


async def test_an_answer_that_fails_is_counted_too() -> None:
    traffic = Traffic(RequestIds(()))

    async def broken(*_: Any) -> None:
        raise RuntimeError("no answer")

    with pytest.raises(RuntimeError):
        await traffic(broken, {"method": "GET"}, None, None)  # type: ignore[arg-type]
    assert traffic.open == 0
    assert traffic.durations().series[0].labels == ["none", "GET", "none"]


@pytest.mark.timeout(400)  # it may have to install Prometheus
async def test_the_page_of_metrics_lists_all_of_them_and_no_other(
    shared_database_url: str, valkey: EmbeddedValkey, world: World
) -> None:
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        await Caller(app, world.ada).get("/api/projects")
        text = await Caller(app).get("/metrics")
    promtool = ensure_program("promtool", "prometheus")
    checked = subprocess.run(  # noqa: ASYNC221, S603 - it reads a page
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    listed = set(re.findall(r"^\| `((?:valtier|fluxstudio)_\w+)`", PAGE.read_text("utf-8"), re.MULTILINE))
    assert told - listed == set(), "add them to docs/metrics.md"
    assert listed - told == set(), "docs/metrics.md lists what is not told"


async def test_a_worker_sends_its_numbers_to_statsd_too(shared_database_url: str, world: World) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        agent.settimeout(10)
        url = f"datadog://127.0.0.1:{agent.getsockname()[1]}?prefix=flux"
        async with running(settings_for(shared_database_url, None, statsd_url=url)) as app:
            await Caller(app, world.ada).get("/api/projects")
        heard = agent.recv(65536)
        while b"flux.process.cpu_s" not in heard:  # the last but a few
            heard += agent.recv(65536)
    assert b"flux.cache.misses:1|c|#namespace:projects" in heard


# -- for operators only ---------------------------------------------------------------------------------


def _guard(**changes: Any) -> OperatorGuard:
    return OperatorGuard(settings_for("postgresql://x", None, **changes))


def _scope(peer: str | None, **headers: str) -> dict[str, Any]:
    return {
        "type": "http",
        "client": None if peer is None else (peer, 1),
        "headers": [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()],
    }


TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("settings", "peer", "headers", "allowed"),
    [
        ({}, "127.0.0.1", {}, True),
        ({}, "::1", {}, True),
        ({}, "10.0.0.1", {}, False),
        ({}, None, {}, False),
        ({}, "127.0.0.1", {"x_forwarded_for": "127.0.0.1"}, False),
        ({}, "127.0.0.1", {"forwarded": "for=127.0.0.1"}, False),
        ({"trusted_proxies": ("127.0.0.1",)}, "127.0.0.1", {"x_forwarded_for": "203.0.113.9"}, False),
        (
            {"trusted_proxies": ("10.0.0.1",), "metrics_from": ("10.0.0.9",)},
            "10.0.0.1",
            {"x_forwarded_for": "10.0.0.9"},
            True,
        ),
        ({"secure_cookies": True}, "127.0.0.1", {}, False),
        ({"secure_cookies": True, "metrics_from": ("127.0.0.1",)}, "127.0.0.1", {}, True),
        ({"metrics_from": ("10.0.0.0/8",)}, "10.9.9.9", {}, True),
        ({"metrics_from": ("10.0.0.0/8",)}, "127.0.0.1", {}, False),
        ({"metrics_from": ("fd00::/8",)}, "fd00::5", {}, True),
        ({"metrics_from": ()}, "127.0.0.1", {}, False),
        ({"metrics_token": TOKEN}, "127.0.0.1", {}, False),
        ({"metrics_token": TOKEN}, "203.0.113.9", {"authorization": f"Bearer {TOKEN}"}, True),
        ({"metrics_token": TOKEN}, "203.0.113.9", {"authorization": f"bearer  {TOKEN}"}, True),
        ({"metrics_token": TOKEN}, "203.0.113.9", {"authorization": f"Bearer {TOKEN}x"}, False),
        ({"metrics_token": TOKEN}, "203.0.113.9", {"authorization": f"Basic {TOKEN}"}, False),
        ({"metrics_token": TOKEN}, "203.0.113.9", {"authorization": "Bearer "}, False),
    ],
)
def test_only_operators_are_let_in(
    settings: dict[str, Any], peer: str | None, headers: dict[str, str], allowed: bool
) -> None:
    guard = _guard(**settings)
    if allowed:
        guard.check(_scope(peer, **headers))
    else:
        with pytest.raises(Problem) as refused:
            guard.check(_scope(peer, **headers))
        assert refused.value.status == 403


def test_the_settings_of_metrics_are_checked() -> None:
    given = {"DATABASE_URL": "postgresql://x", "USE_REDIS": "false"}
    made = Settings.from_env(
        given | {"METRICS_TOKEN": TOKEN, "METRICS_FROM": "10.0.0.0/8, ::1", "METRICS_DIR": "/m"}
    )
    assert (made.metrics_token, made.metrics_from) == (TOKEN, ("10.0.0.0/8", "::1"))
    assert made.metrics_dir == Path("/m")
    assert TOKEN not in repr(made)
    with pytest.raises(SettingsError, match="STATSD_URL"):
        Settings.from_env(given | {"STATSD_URL": "udp://somewhere"})
    for wrong in (
        {"METRICS_TOKEN": "short"},
        {"METRICS_TOKEN": "x" * 15 + "é"},
        {"METRICS_FROM": "everybody"},
    ):
        with pytest.raises(SettingsError, match="METRICS_"):
            Settings.from_env(given | wrong)


# -- health in detail -----------------------------------------------------------------------------------


async def test_health_in_detail_is_for_operators_and_tells_what_is_set_up_badly(
    shared_database_url: str, own_valkey: EmbeddedValkey
) -> None:
    async with running(settings_for(shared_database_url, own_valkey.url)) as app:
        assert (await Caller(app).get("/api/health"))["detail"] is None
        own_valkey.call("CONFIG", "SET", "maxmemory", "100mb")
        own_valkey.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        detail = (await Caller(app).get("/api/health?detail=1"))["detail"]
        [server] = detail["servers"]
        assert server["maxmemory"] == 100 * 2**20
        assert server["policy"] == "allkeys-lru"
        assert server["clients"] >= 2
        assert server["commands_per_s"] >= 0
        assert detail["warnings"] == []
        assert detail["pool"]["connections"] == 4
        own_valkey.call("CONFIG", "SET", "maxmemory", "0")
        detail = (await Caller(app).get("/api/health?detail=1"))["detail"]
        assert [warning["code"] for warning in detail["warnings"]] == ["no-maxmemory"]
        stranger = Caller(app, None, **{"x-forwarded-for": "203.0.113.9"})
        expect(await stranger.call("GET", "/api/health?detail=1"), 403)
        assert (await stranger.call("GET", "/api/health")).status_code == 200


async def test_health_in_detail_is_told_while_valkey_is_away_and_without_any(
    shared_database_url: str, valkey: EmbeddedValkey
) -> None:
    async with (
        FaultProxy(valkey.port) as proxy,
        running(settings_for(shared_database_url, proxy.url(valkey.url))) as app,
    ):
        proxy.black_hole()
        report = await Caller(app).get("/api/health?detail=1")
        assert (report["cache"]["connected"], report["detail"]["servers"]) == (False, [])
    async with running(settings_for(shared_database_url, None)) as app:
        assert (await Caller(app).get("/api/health?detail=1"))["detail"]["servers"] == []
        found = await scraped(app)
        assert value(found, "valtier_workers") == 1
        assert not any(name.startswith("valtier_server") for name, _ in found)
