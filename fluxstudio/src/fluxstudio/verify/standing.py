"""What can be seen without an account: health, limits, headers, TLS."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from fluxstudio.verify.findings import Finding, judged, skipped
from fluxstudio.verify.options import Options
from fluxstudio.verify.visit import Answer, NoAnswerError, Visit, trusting

Health = dict[str, Any]

_LOOKS = 12
_VALID_DAYS = 14
_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "frame-ancestors",
    "referrer-policy": "",
    "cross-origin-opener-policy": "",
}


async def look(options: Options, many: int = _LOOKS) -> dict[str, Health]:
    """Returns how the workers are, by their names: of as many as answer when it is asked `many` times.

    Raises:
        NoAnswerError: nobody answered.
    """
    found: dict[str, Health] = {}
    async with Visit(options, fresh=True) as visit:
        for _ in range(many):
            answer = await visit.get("/api/health")
            if answer.status != 200 or not isinstance(answer.json, dict) or "cache" not in answer.json:
                raise NoAnswerError(f"/api/health answers {answer.status}, and not as FluxStudio does")
            found[str(answer.json.get("worker", "?"))] = answer.json
    return found


def health(options: Options, workers: dict[str, Health], ready: Answer) -> list[Finding]:
    """Judges what the workers say of themselves."""
    versions = sorted({str(one.get("version")) for one in workers.values()})
    caches = [one["cache"] for one in workers.values()]
    states = sorted({str(told.get("status")) for told in caches})
    warnings = _warnings(workers)
    return [
        judged(
            "version",
            len(versions) == 1 and options.version in {None, versions[0]},
            f"{', '.join(versions)} on {len(workers)} worker{'s' if len(workers) > 1 else ''}",
            f"deploy {options.version or 'one version'} everywhere, or wait until it is",
        ),
        judged(
            "ready",
            ready.status == 200,
            f"/api/ready answers {ready.status}",
            "look at the database, and whether a worker is about to end",
        ),
        judged(
            "database connected",
            all(one.get("database", {}).get("connected") for one in workers.values()),
            "PostgreSQL answers" if ready.status == 200 else "PostgreSQL does not answer",
            "check DATABASE_URL, and that the server runs",
        ),
        judged(
            "cache connected and ready",
            states == ["ready"] and all(told.get("connected") for told in caches),
            f"status {', '.join(states)}",
            'set USE_REDIS="true", and check REDIS_URL: `valtier ping` says what is wrong'
            if "disabled" in states
            else "check REDIS_URL, and that Valkey runs: `valtier ping` says what is wrong",
        ),
        judged(
            "no degraded warnings", not warnings, "; ".join(warnings) or "none", "each says what to change"
        ),
    ]


def timeouts(before: dict[str, Health], after: dict[str, Health]) -> Finding:
    """Whether Valkey was too slow, or away, while it was looked."""
    known = [(before[name]["cache"], after[name]["cache"]) for name in before.keys() & after.keys()]
    missed = sum(now.get("missed_deadlines", 0) - then.get("missed_deadlines", 0) for then, now in known)
    lost = sum(now.get("reconnects", 0) - then.get("reconnects", 0) for then, now in known)
    caches = [one["cache"] for one in after.values()]
    breakers = {str(told.get("breaker", "closed")) for told in caches}
    if any(not told.get("connected") for told in caches):
        return judged("no timeout errors", False, "Valkey does not answer", "get the cache ready first")
    return judged(
        "no timeout errors",
        not missed and not lost and breakers == {"closed"},
        f"{missed} missed deadlines, {lost} lost connections meanwhile; breaker {', '.join(sorted(breakers))}",
        "look at Valkey's load and at the network between: `valtier ping`, and the log's 'Redis connection timeout'",
    )


def _warnings(workers: dict[str, Health]) -> list[str]:
    told: dict[str, None] = {}
    for one in workers.values():
        for warning in one.get("warnings") or ():
            told[str(warning.get("detail", warning)) if isinstance(warning, dict) else str(warning)] = None
        report = one["cache"]
        if report.get("undelivered_invalidations"):
            told[f"{report['undelivered_invalidations']} invalidations are not delivered"] = None
        if report.get("last_refusal"):
            told[f"Valkey refused a command: {report['last_refusal']}"] = None
    return list(told)


def limits(answer: Answer) -> Finding:
    """Whether answers tell of a limit. The 429 itself is for `--full`."""
    policy = answer.headers.get("ratelimit-policy")
    return judged(
        "rate limiting active",
        policy is not None and "ratelimit" in answer.headers,
        policy or "answers have no RateLimit headers",
        "API_LIMIT is off, or a proxy strips the headers",
    )


def headers(options: Options, page: Answer, api: Answer) -> list[Finding]:
    """Whether pages and the API tell browsers to be careful."""
    missing = [
        f"{name} ({place})"
        for place, answer in (("page", page), ("API", api))
        for name, holds in _HEADERS.items()
        if holds not in answer.headers.get(name, "") or name not in answer.headers
    ]
    found = [
        judged(
            "security headers",
            not missing,
            f"missing: {', '.join(missing)}" if missing else "nosniff, CSP, Referrer-Policy, COOP",
            "a proxy strips or replaces them: let it pass FluxStudio's headers on",
        ),
        judged(
            "screens",
            page.status == 200 and b"<div id=" in page.body,
            f"/ answers {page.status}",
            "build the browser's side into the image: make web, before the wheel is built",
        ),
    ]
    if options.https:
        hsts = api.headers.get("strict-transport-security")
        found.append(judged("HSTS", hsts is not None, hsts or "missing", 'set SECURE_COOKIES="true"'))
    return found


async def tls(options: Options) -> list[Finding]:
    """Whether the site is reached by https, with a certificate that lasts, and by http only to be sent there."""
    if not options.https:
        return [
            judged(
                "TLS",
                options.local,
                "http, on this machine only"
                if options.local
                else "http: everybody on the way reads sessions",
                "put a proxy with a certificate before it, and give its https address",
            )
        ]
    context = trusting(options)
    try:
        async with asyncio.timeout(options.timeout_s):
            _, writer = await asyncio.open_connection(options.host, options.port, ssl=context)
    except ssl.SSLCertVerificationError as exc:
        return [judged("TLS", False, exc.verify_message, "renew the certificate, or give --ca")]
    except (OSError, TimeoutError) as exc:
        return [judged("TLS", False, f"no connection: {exc}", "check address and port")]
    certificate = writer.get_extra_info("peercert") or {}
    version = writer.get_extra_info("ssl_object").version()
    writer.close()
    days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // 86_400)
    detail = f"{version}, the certificate lasts {days} more days"
    return [judged("TLS", days >= _VALID_DAYS, detail, "renew the certificate"), await _redirection(options)]


async def _redirection(options: Options) -> Finding:
    name = "http leads to https"
    if urlsplit(options.url).port not in {None, 443}:
        return skipped(name, "the site is not on port 443")
    try:
        async with Visit(options, fresh=True) as visit:
            answer = await visit.ask("GET", "/", base=f"http://{options.host}")
    except NoAnswerError:
        return judged(name, True, "nobody answers by http")
    leads = answer.status in {301, 302, 307, 308} and answer.headers.get("location", "").startswith("https:")
    return judged(
        name, leads, f"http answers {answer.status}", "send http to https in the proxy: deploy/nginx.conf"
    )
