"""The list of all routes: what each declares, as Markdown. docs/routes.md holds it, and a test compares."""

from __future__ import annotations

from fastapi.routing import APIRoute

from fluxstudio.app import ROUTERS
from fluxstudio.http.limits import RATES
from fluxstudio.http.policy import policy_of
from fluxstudio.mail import routes as mail
from fluxstudio.settings import DEFAULT_API_LIMIT

_HEAD = f"""# Routes

Made by `fluxstudio routes > docs/routes.md`; a test compares. Limits count by client address: `api` is {DEFAULT_API_LIMIT}
(`API_LIMIT`), {", ".join(f"`{name}` {rate}" for name, rate in RATES.items())}. Besides, `sign-in` counts attempts by address,
account and device; `mail` has a cooldown for the address that is typed and for the client's; `code` counts failures by
account and by code. In an outage of Valkey these three are closed (503). `sudo` is signed in, with the password shown within
ten minutes.

`Cache-Control` is what an answer with status 200 tells browsers, `Valtier-Cache-Control` (RFC 9213) what it tells the response
cache: `private` is for the caller alone. Such an answer has an `ETag`, and ends earlier than its age allows as soon as anything
that it was made of changes. Everything else is `no-store`.

| method | path | who | limit | Cache-Control | Valtier-Cache-Control | |
| :--- | :--- | :--- | :--- | :--- | :--- | :--- |
"""


def list_routes() -> str:
    """Returns the document.

    Raises:
        TypeError: a route declares no policy.
    """
    rows: list[tuple[str, str]] = []
    for router in (*ROUTERS, mail.router):
        for route in router.routes:
            if isinstance(route, APIRoute):
                rows += [
                    (f"{route.path} {method}", _row(route, method)) for method in sorted(route.methods or ())
                ]
    return _HEAD + "".join(row for _, row in sorted(rows))


def _row(route: APIRoute, method: str) -> str:
    declared = policy_of(route.endpoint)
    if declared is None:
        raise TypeError(f"{method} {route.path} declares no policy: put @policy(…) below its route")
    what = (route.endpoint.__doc__ or "").strip().splitlines()[0]
    note = " Development only." if route.path.startswith("/dev/") else ""
    kept = declared.cache
    cells = (
        *(method, f"`{route.path}`", declared.auth, declared.limit),
        *(kept.browser, kept.tier or "", what + note),
    )
    return f"| {' | '.join(cells)} |\n"
