"""A throw-away account: signed up, used, and deleted again."""

from __future__ import annotations

import asyncio
import html
import os
import re
import secrets
import sys
from dataclasses import dataclass

from fluxstudio.verify.findings import Finding, judged, skipped
from fluxstudio.verify.options import Options
from fluxstudio.verify.standing import look
from fluxstudio.verify.visit import Answer, NoAnswerError, Visit

_MAIL_S = 60.0
_RESTART_S = 180.0
_LINK = re.compile(r"/verify-email#([\w.~-]+)")


class MemberError(Exception):
    """There is no account to look at the rest with; the message says why."""


@dataclass(slots=True)
class Member:
    """Somebody who is signed in for as long as the verification takes."""

    visit: Visit
    password: str
    cookies: tuple[str, ...] = ()
    project: int = 0

    @property
    def paths(self) -> list[str]:
        """What can be read and is cached."""
        return ["/api/me", "/api/projects", f"/api/projects/{self.project}"]


async def sign_up(options: Options, visit: Visit) -> Member:
    """Makes an account and a project.

    Raises:
        MemberError: the site does not let us.
        NoAnswerError: it did not answer.
    """
    email = options.email or f"verify-{secrets.token_hex(6)}@fluxstudio.example"
    member = Member(visit, secrets.token_urlsafe(18))
    form = {"email": email, "name": "Verification", "password": member.password}
    _expect(await visit.ask("POST", "/api/sign-up", form), 202, "signing up")
    token = await _token(options, visit, email)
    answer = _expect(await visit.ask("POST", "/api/verify-email", {"token": token}), 201, "the mail's link")
    member.cookies = answer.cookies
    made = _expect(
        await visit.ask("POST", "/api/projects", {"title": "Verification"}), 201, "making a project"
    )
    member.project = int(made.json["id"])
    return member


async def leave(member: Member) -> Finding:
    """Deletes the account, and with it the project."""
    name = "the throw-away account is deleted"
    try:
        answer = await member.visit.ask("DELETE", "/api/me")
        if answer.status == 403:  # the session is older than ten minutes
            await member.visit.ask("POST", "/api/me/sudo", {"password": member.password})
            answer = await member.visit.ask("DELETE", "/api/me")
        gone = (await member.visit.get("/api/me")).status == 401
    except NoAnswerError as exc:
        return judged(name, False, str(exc), "sign in with its mail, and delete it")
    return judged(
        name, answer.status == 204 and gone, f"DELETE /api/me answers {answer.status}", "delete it by hand"
    )


async def _token(options: Options, visit: Visit, email: str) -> str:
    """Waits for the mail, and returns what its link holds."""
    if options.link_command is not None:
        text = await _run(options.link_command, VERIFY_EMAIL=email)
    elif options.email is not None:
        if not sys.stdin.isatty():
            raise MemberError("nobody is here to paste the link from the mail: give --link-command")
        text = await asyncio.to_thread(input, f"Paste the link from the mail to {email}: ")
    else:
        text = await _from_mailbox(visit, email)
    match = _LINK.search(text)
    if match is None:
        raise MemberError("there is no link to /verify-email#… in the mail")
    return match[1]


async def _from_mailbox(visit: Visit, email: str) -> str:
    """Looks into the mailbox of development."""
    async with asyncio.timeout(_MAIL_S):
        while True:
            answer = await visit.get("/dev/mail")
            if answer.status != 200 or b"<h1>Mailbox</h1>" not in answer.body:
                raise MemberError("the mail can't be read here: give --email you@example.org")
            for item in re.findall(r"<li>.*?</li>", answer.body.decode(), re.DOTALL):
                found = re.search(r'href="(/dev/mail/[^"]+)"', item)
                if found is not None and f"to {html.escape(email)} " in item:
                    return html.unescape((await visit.get(found[1])).body.decode())
            await asyncio.sleep(0.3)


def _expect(answer: Answer, status: int, what: str) -> Answer:
    if answer.status != status:
        problem = answer.json if isinstance(answer.json, dict) else {}
        raise MemberError(f"{what} is answered with {answer.status}: {problem.get('detail', '')}")
    return answer


async def _run(command: str, **environment: str) -> str:
    """Runs a command of whoever verifies, and returns what it prints."""
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, env=os.environ | environment
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise MemberError(f"the command ended with {process.returncode}: {command}")
    return out.decode(errors="replace")


def cookie(options: Options, member: Member) -> Finding:
    """Whether the session's cookie is safe from scripts, other sites and plain http."""
    line = next((one for one in member.cookies if "flux=" in one), "")
    wanted = ["HttpOnly", "SameSite"] + (["Secure", "__Host-"] if options.https else [])
    missing = [word for word in wanted if word.lower() not in line.lower()]
    return judged(
        "session cookie",
        bool(line) and not missing,
        f"missing: {', '.join(missing)}" if missing else ", ".join(wanted),
        'set SECURE_COOKIES="true"',
    )


async def persistence(options: Options, member: Member) -> list[Finding]:
    """Whether a session is the same on all workers, and after their restart."""
    async with Visit(options, fresh=True) as others:
        others.session.cookie_jar.update_cookies(
            {one.key: one.value for one in member.visit.session.cookie_jar}
        )
        statuses = [(await others.get("/api/me")).status for _ in range(6)]
    found = [
        judged(
            "sessions persist over requests",
            set(statuses) == {200},
            f"{statuses.count(200)} of {len(statuses)} connections know who it is",
            "all workers need the same DATABASE_URL and REDIS_URL",
        )
    ]
    if options.restart_command is None and not options.ask_restart:
        needs = "give --restart-command, or --ask-restart"
        return [*found, skipped("sessions persist over a restart", needs)]
    before = await look(options)
    if options.restart_command is not None:
        await _run(options.restart_command)
    else:
        await asyncio.to_thread(input, "Restart all workers, then press Enter: ")
    after = await _restarted(options, set(before))
    status = (await member.visit.get("/api/me")).status
    good = status == 200 and not before.keys() & after
    detail = f"/api/me answers {status}; {len(after - before.keys())} new workers"
    return [
        *found,
        judged("sessions persist over a restart", good, detail, "the old workers still run, or lost it"),
    ]


async def _restarted(options: Options, before: set[str]) -> set[str]:
    """Waits until none of the old workers answers."""
    now = before
    try:
        async with asyncio.timeout(_RESTART_S):
            while now & before:
                try:
                    now = set(await look(options))
                except NoAnswerError:
                    await asyncio.sleep(0.3)
    except TimeoutError:
        pass
    return now


async def reaches_limit(options: Options) -> Finding:
    """Asks until it is told to wait. Whoever shares our address waits too, for as long as the limit says."""
    name = "the limit is reached"
    async with Visit(options) as visit:
        answer = await visit.get("/api/me")
        policy = re.search(r"q=(\d+);\s*w=(\d+)", answer.headers.get("ratelimit-policy", ""))
        if policy is None:
            return judged(name, False, "answers tell of no limit", "set API_LIMIT")
        if int(policy[1]) > 2000:
            return skipped(name, f"it is {policy[1]} requests, too many to try")
        for number in range(int(policy[1]) + 10):
            answer = await visit.get("/api/me")
            if answer.status == 429:
                wait_s = answer.headers.get("retry-after")
                detail = f"429 after {number + 2} requests, Retry-After {wait_s}"
                return judged(name, wait_s is not None, detail, "a proxy strips Retry-After")
    return judged(
        name, False, f"{policy[1]} requests and more were served", "workers count apart: check REDIS_URL"
    )
