"""One walk through the checklist."""

from __future__ import annotations

from fluxstudio.verify import member, reading, standing, talking
from fluxstudio.verify.findings import Finding, judged, skipped
from fluxstudio.verify.member import Member, MemberError
from fluxstudio.verify.options import Options
from fluxstudio.verify.reading import Burst
from fluxstudio.verify.visit import NoAnswerError, Visit

_WITH_ACCOUNT = (
    "session cookie",
    "sessions persist over requests",
    "sessions persist over a restart",
    "Socket.IO connects and echoes across workers",
    "the limit is reached",
)


async def verify(options: Options) -> list[Finding]:
    """Returns what was found. Reads only; with `full` there is an account for a while.

    Raises:
        VerifyError: the options can't be used.
    """
    found = await standing.tls(options)
    try:
        before = await standing.look(options)
        async with Visit(options) as visit:
            ready = await visit.get("/api/ready")
            page, api = await visit.get("/"), await visit.get("/api/me")
            found += standing.health(options, before, ready)
            found += [*standing.headers(options, page, api), standing.limits(api)]
            if options.full:
                found += await _with_account(options, visit, before)
            else:
                burst = (
                    None
                    if options.page is None
                    else await reading.read(options, visit, [f"/p/{options.page}"])
                )
                found += await _judged(options, burst, before)
                found += [skipped(name, "give --full") for name in _WITH_ACCOUNT]
    except NoAnswerError as exc:
        found.append(
            judged("reachable", False, str(exc), "check the address, the proxy, and that workers run")
        )
    return found


async def _judged(options: Options, burst: Burst | None, before: dict[str, standing.Health]) -> list[Finding]:
    after = await standing.look(options)
    return [*reading.judge(options, burst, before, after), standing.timeouts(before, after)]


async def _with_account(options: Options, visit: Visit, workers: dict[str, standing.Health]) -> list[Finding]:
    try:
        person = await member.sign_up(options, visit)
    except (MemberError, TimeoutError) as exc:
        why = str(exc) or "the mail did not come: check SMTP_URL"
        return [
            judged("signing up", False, why, "give --email, and --link-command where nobody can paste a link")
        ]
    try:
        found = await _as_member(options, person, workers)
    except (MemberError, NoAnswerError) as exc:
        found = [judged("the checks with an account", False, str(exc), "run it again")]
    finally:
        left = await member.leave(person)
    return [*found, left, await member.reaches_limit(options)]


async def _as_member(options: Options, person: Member, workers: dict[str, standing.Health]) -> list[Finding]:
    before = await standing.look(options)
    burst = await reading.read(options, person.visit, person.paths)
    return [
        judged("signing up", True, "an account and a project were made"),
        member.cookie(options, person),
        *await _judged(options, burst, before),
        *await talking.echo(options, person, len(workers)),
        *await member.persistence(options, person),
    ]
