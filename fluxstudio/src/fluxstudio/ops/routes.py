"""HTTP of operations."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fluxstudio.http.answers import Json, documented
from fluxstudio.http.lean import LeanRoute
from fluxstudio.http.policy import policy
from fluxstudio.ops.schemas import Health, PulseReport, Ready
from fluxstudio.studio import studio_of

router = APIRouter(route_class=LeanRoute, tags=["operations"])


@router.get("/api/health", responses=documented(Health))
@policy("anyone", limit="none")
async def read_health(request: Request) -> Response:
    """Tells how this worker is. 200 as long as it lives, whatever else is away."""
    return Json(await studio_of(request).operations.health())


@router.get("/api/ready", responses=documented(Ready))
@policy("anyone", limit="none")
async def read_readiness(request: Request) -> Response:
    """Tells a load balancer whether to send requests: 200, or 503 without a database."""
    return Json(await studio_of(request).operations.ready())


@router.get("/api/pulse", responses=documented(PulseReport))
@policy("operator")
async def read_pulse(request: Request) -> Response:
    """Returns what all workers have counted, and how Valkey is. For operators."""
    studio = studio_of(request)
    await studio.operator(request)
    return Json(await studio.pulse.read())
