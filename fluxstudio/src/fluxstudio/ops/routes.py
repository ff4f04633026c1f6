"""HTTP of operations."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio.http.answers import Json, documented
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import policy
from fluxstudio.ops.schemas import Health, PulseReport, Ready
from fluxstudio.studio import studio_of
from valtier.vitals.prometheus import CONTENT_TYPE

router = APIRouter(route_class=LeanRoute, tags=["operations"])


@router.get("/api/health", responses=documented(Health))
@policy("anyone", limit="none")
async def read_health(request: Request, detail: bool = False) -> Response:
    """Tells how this worker is. 200 as long as it lives, whatever else is away. With `detail`, for operators only."""
    operations = studio_of(request).operations
    if detail:
        operations.guard.check(request.scope)
        return Json(await operations.detailed_health())
    return Json(await operations.health())


@router.get("/metrics", include_in_schema=False)
@policy("operator", limit="none")
async def read_metrics(request: Request) -> Response:
    """Tells Prometheus what all workers of this machine have counted, those that have ended among them."""
    operations = studio_of(request).operations
    operations.guard.check(request.scope)
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(await operations.metrics(), 200, headers, CONTENT_TYPE)


@router.get("/api/ready", responses=documented(Ready))
@policy("anyone", limit="none")
async def read_readiness(request: Request) -> Response:
    """Tells a load balancer whether to send requests: 200, or 503 without a database, before it is warm and before its end."""
    return Json(await studio_of(request).operations.ready())


@router.get("/api/pulse", responses=documented(PulseReport))
@policy("operator")
async def read_pulse(request: Request) -> Response:
    """Returns what all workers have counted, and how Valkey is. For operators."""
    studio = studio_of(request)
    await studio.operator(request)
    return Json(await studio.pulse.read())
