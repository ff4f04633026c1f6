"""Spans where OpenTelemetry's SDK is configured; nothing on anybody's path where it is not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from fluxstudio.testing import Caller, World, running, settings_for
from valtier import Tier, tracing
from valtier.embedded import EmbeddedValkey


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """An SDK that keeps spans, as the process's."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def _named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


async def test_a_request_is_one_trace_down_to_its_queries(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, spans: InMemorySpanExporter
) -> None:
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        ada = Caller(app, world.ada)
        await ada.get("/api/projects")
        spans.clear()
        await ada.get(f"/api/projects/{world.project}")
        [request] = _named(spans, "GET /api/projects/{project_id}")
        assert request.kind is SpanKind.SERVER
        assert request.attributes is not None
        assert request.attributes["http.response.status_code"] == 200
        trace_id = request.context.trace_id
        inside = [span for span in spans.get_finished_spans() if span.context.trace_id == trace_id]
        names = {span.name for span in inside}
        assert any(name.startswith("load ") for name in names), names
        assert "SELECT" in names
        assert names & {"GET", "EVALSHA", "MGET", "SET"}
        by_id = {span.context.span_id: span for span in inside}
        [query] = [span for span in inside if span.name == "SELECT"][:1]
        chain: list[str] = []
        parent: Any = query.parent
        while parent is not None and parent.span_id in by_id:
            chain.append(by_id[parent.span_id].name)
            parent = by_id[parent.span_id].parent
        assert chain[-1] == "GET /api/projects/{project_id}"
        text = str([dict(span.attributes or {}) for span in spans.get_finished_spans()])
        assert world.ada.token not in text
        assert world.ada.email not in text


async def test_a_failing_load_is_marked_without_what_it_says(
    valkey: EmbeddedValkey, spans: InMemorySpanExporter
) -> None:
    async with Tier.from_url(valkey.url, prefix="tr1", vitals_every=0) as tier:
        undo = tracing.instrument(tier)

        async def broken() -> str:
            raise RuntimeError("secret detail")

        with pytest.raises(RuntimeError):
            await tier.cache.get_or_set("user:1", 60, broken)
        [load] = _named(spans, "load user")
        assert load.attributes is not None
        assert load.attributes["error.type"] == "RuntimeError"
        assert "secret detail" not in load.to_json()
        undo()
        undone_at = time.time_ns()
        await tier.cache.get_or_set("user:2", 60, _value)
        await tier.valkey.get("x")
        assert not [span for span in spans.get_finished_spans() if (span.start_time or 0) > undone_at]
        assert "call" not in vars(tier.valkey)


async def _value() -> str:
    return "Ada"


async def test_a_stranger_can_not_say_which_trace_a_request_belongs_to(
    shared_database_url: str, spans: InMemorySpanExporter
) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for proxies, taken in (((), False), (("127.0.0.1",), True)):
        spans.clear()
        async with running(settings_for(shared_database_url, None, trusted_proxies=proxies)) as app:
            await Caller(app, traceparent=traceparent).get("/api/ready")
        [request] = _named(spans, "GET /api/ready")
        assert (format(request.context.trace_id, "032x") in traceparent) is taken


async def test_without_an_sdk_nothing_is_on_anybodys_path(
    shared_database_url: str, valkey: EmbeddedValkey
) -> None:
    assert not tracing.configured()
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        assert app.studio is not None
        tier = app.studio.tier
        assert "call" not in vars(tier.valkey)
        assert "call_tracked" not in vars(tier.valkey)
        assert tier.cache.engine.loading.around is None
        assert not isinstance(app.entrance, tracing.TraceRequests)


def test_valtier_needs_neither_prometheus_nor_opentelemetry() -> None:
    code = (
        "import sys, valtier; print([name for name in sys.modules if name.startswith(('opentel', 'prom'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"
