"""Tracing: OpenTelemetry's spans of cache loads, of what is sent to Valkey, of requests and of queries.

Needs `valtier[otel]`, which is OpenTelemetry's API alone; without an SDK in the process nothing is recorded, and nothing
should be instrumented: `configured` tells. Nothing of this is on anybody's path before `instrument` is called: it puts
itself around the calls of one tier, and `undo` takes it away.

    spans      name and kind                attributes
    requests   `GET /users/{id}`, server    http.request.method, http.route, http.response.status_code, url.path
    loads      `load user`, internal        valtier.namespace, valtier.keys (how many)
    Valkey     `GET`, client                db.system.name, db.operation.name, server.address
    queries    `SELECT`, client             db.system.name, db.operation.name, db.query.text

Keys, arguments and query strings are in none of them: they may be private.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from valtier.asgi import App, Message, Receive, Scope, Send, header_values
from valtier.cache import Cache
from valtier.cache.loaded import AbsentError
from valtier.wire import Valkey

_NAME = "valtier"
_LONGEST_QUERY = 2000


class HasParts(Protocol):
    """A tier."""

    @property
    def cache(self) -> Cache: ...

    @property
    def wire(self) -> Valkey | None: ...


def configured() -> bool:
    """Whether this process has an SDK that records spans."""
    provider = trace.get_tracer_provider()
    return not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def instrument(tier: HasParts, provider: TracerProvider | None = None) -> Callable[[], None]:
    """Records spans of a tier's loads, and of its calls to Valkey. Returns what undoes it.

    Args:
        tier: one that is made; open or not.
        provider: where spans go; the process's, if not given.
    """
    tracer = trace.get_tracer(_NAME, tracer_provider=provider)
    loading = tier.cache.engine.loading

    async def load(namespaces: Sequence[str], keys: int, loader: Callable[[], Awaitable[Any]]) -> Any:
        attributes: dict[str, Any] = {"valtier.namespace": namespaces[0], "valtier.keys": keys}
        with _span(tracer, f"load {namespaces[0]}", SpanKind.INTERNAL, attributes):
            return await loader()

    loading.around = load
    valkey = tier.wire
    if valkey is not None:
        _wrap(valkey, tracer)

    def undo() -> None:
        loading.around = None
        if valkey is not None:
            for name in ("call", "call_tracked"):
                vars(valkey).pop(name, None)

    return undo


def _wrap(valkey: Valkey, tracer: trace.Tracer) -> None:
    """Puts spans around the calls of one client: its own attributes hide its class's methods."""
    server = str(valkey.address)
    for name in ("call", "call_tracked"):
        vars(valkey)[name] = _traced(getattr(type(valkey), name).__get__(valkey), tracer, server)


def _traced(
    send: Callable[..., asyncio.Future[Any]], tracer: trace.Tracer, server: str
) -> Callable[..., asyncio.Future[Any]]:
    def traced(*args: Any, **options: Any) -> asyncio.Future[Any]:
        name = str(args[0]).upper() if args and isinstance(args[0], str) else "command"
        span = tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "redis", "db.operation.name": name, "server.address": server},
        )
        try:
            future = send(*args, **options)
        except Exception as exc:
            _fail(span, exc)
            span.end()
            raise
        if span.is_recording():
            future.add_done_callback(lambda done: _end(span, done))
        return future

    return traced


def _end(span: Span, future: asyncio.Future[Any]) -> None:
    if future.cancelled():
        span.set_attribute("valtier.cancelled", True)
    elif (exc := future.exception()) is not None:
        _fail(span, exc)
    span.end()


def _fail(span: Span, exc: BaseException) -> None:
    span.set_attribute("error.type", type(exc).__name__)
    span.set_status(Status(StatusCode.ERROR, type(exc).__name__))  # not its text, which may be private


@contextmanager
def _span(
    tracer: trace.Tracer, name: str, kind: SpanKind, attributes: dict[str, Any], parent: Context | None = None
) -> Iterator[Span]:
    """A span that is the current one; of an exception it tells the type alone."""
    with tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as exc:
            if not isinstance(exc, AbsentError):  # the loader of a batch knew nothing of this key
                _fail(span, exc)
            raise


@contextmanager
def query_span(query: str, provider: TracerProvider | None = None) -> Iterator[None]:
    """A span of one statement to PostgreSQL. Its text is recorded, and its arguments are not."""
    words = query.split(None, 1)
    name = words[0].upper()[:20] if words else "query"
    tracer = trace.get_tracer(_NAME, tracer_provider=provider)
    attributes = {
        "db.system.name": "postgresql",
        "db.operation.name": name,
        "db.query.text": query[:_LONGEST_QUERY],
    }
    with _span(tracer, name, SpanKind.CLIENT, attributes):
        yield


class TraceRequests:
    """ASGI: a span for each HTTP request, named by its route once that is known (`scope["route"].path`)."""

    def __init__(
        self,
        app: App,
        *,
        trusts: Callable[[Scope], bool] = lambda _: False,
        provider: TracerProvider | None = None,
    ) -> None:
        """Wraps an application.

        Args:
            app: the application.
            trusts: whether a request may say which trace it belongs to (`traceparent`): a proxy's may, a stranger's not.
            provider: where spans go; the process's, if not given.
        """
        self.app = app
        self._trusts = trusts
        self._tracer = trace.get_tracer(_NAME, tracer_provider=provider)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        parent = propagate.extract(scope, getter=_headers) if self._trusts(scope) else None
        method = scope["method"]
        attributes = {
            "http.request.method": method,
            "url.path": scope["path"],
            "url.scheme": scope.get("scheme", "http"),
        }
        with _span(self._tracer, method, SpanKind.SERVER, attributes, parent) as span:

            async def watch(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            try:
                await self.app(scope, receive, watch)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if route is not None:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)


class _Headers(Getter[Scope]):
    def get(self, carrier: Scope, key: str) -> list[str] | None:
        found = header_values(carrier, key.lower().encode())
        return [value.decode("latin-1") for value in found] or None

    def keys(self, carrier: Scope) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier["headers"]]


_headers = _Headers()
