"""Cases of the response cache as data, and what runs them over any driver: in process, or over a real socket.

A case is a list of steps. Each step moves the clock, sends one request, says what the origin answers if it is asked,
and what is expected: whether it was asked, what it saw, and what the client got. `Driver` is what a run needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any, Protocol

BASE = 1_800_000_000
"""When every case starts, in Unix seconds: the driver's clock is set to this plus the step's `at`."""

ANY = 0
"""Any status."""

Lines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request that the client sends. `identity`, if given, is sent as the field `X-Identity`, and drivers configure
    the cache to take the identity from there."""

    method: str
    target: str
    """Path and query as they are on the wire."""
    headers: Lines
    """All of them, `Host` included."""
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Got:
    """A complete response as the client got it."""

    status: int
    headers: Lines
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, kw_only=True)
class OriginAnswer:
    """What the origin answers. `fails`: it raises (in process) or closes the connection without an answer (socket)."""

    status: int = 200
    headers: Lines = ()
    """All of them, `Content-Length` included; an origin adds none."""
    body: bytes = b""
    fails: bool = False


Origin = Callable[[Ask], OriginAnswer]
"""The origin's handler; drivers call it once per request that reaches the origin, header names in lower case."""


class Driver(Protocol):
    """A cache in front of an origin. The runner gives each case a host of its own, so nothing has to be flushed."""

    async def begin(self, origin: Origin, options: Mapping[str, Any]) -> None:
        """Starts a case: the origin's handler, and the `rules.Options` that differ from the defaults."""

    async def set_time(self, now: float) -> None:
        """Sets the cache's wall clock, in Unix seconds."""

    async def ask(self, ask: Ask) -> Got:
        """Sends a request and returns the whole response. If the origin fails and nothing is stored that may be sent in
        its place, that is a 502 (in process: the driver makes one of the exception)."""

    async def settle(self) -> None:
        """Returns when nothing goes on in the background any more (validations, stores)."""

    async def end(self) -> None:
        """Ends a case."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One exchange."""

    at: float = 0
    """Seconds since the start."""
    method: str = "GET"
    target: str = "/"
    host: str | None = None
    """None: the case's own."""
    request: Lines = ()
    request_body: bytes = b""
    identity: str | None = None

    status: int = 200
    """What the origin answers, if it is asked."""
    reply: Lines = ()
    content: bytes | None = None
    """None: text that names the step, so that a stored body can be told from a new one; empty for 204 and 304."""
    length: bool = True
    """Whether the origin sends `Content-Length` if `reply` has none."""
    fails: bool = False

    forwarded: bool = True
    """Whether the origin is asked before the client has its answer."""
    background: bool = False
    """Whether the origin is asked on its own account, after the answer."""
    saw: Mapping[str, str | None] = field(default_factory=dict)
    """Fields that the origin must have seen; None: must not have."""
    gets: int | None = None
    """The client's status, or `ANY`; None: the origin's, or 200 from the cache."""
    times: int = 1
    """How often the origin is asked, if it is."""
    expect: Mapping[str, str | re.Pattern[str] | None] = field(default_factory=dict)
    """Fields that the client must get (lines joined by `, `), as they are or as a pattern; None: must not get."""
    status_has: tuple[str, ...] = ()
    """Parts that the cache's own `Cache-Status` member must have."""
    status_lacks: tuple[str, ...] = ()
    body: bytes | re.Pattern[bytes] | None = None
    """What the client gets, as it is or as a pattern; None: as `of` says."""
    of: int | None = None
    """The step whose content the client gets; None: this one's if forwarded, else the last one that was a 200."""


@dataclass(frozen=True)
class Case:
    """A promise, the section that asks for it, and the exchanges that show it."""

    name: str
    section: str
    steps: tuple[Step, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    only: str | None = None
    """A driver's name, if another can't do this."""

    @property
    def id(self) -> str:
        return f"{self.section.replace(' ', '-')}:{self.name.replace(' ', '_')}"


def case(name: str, section: str, /, *steps: Step, **options: Any) -> Case:
    return Case(name, section, steps, options)


def date(offset: float = 0) -> str:
    """Returns the HTTP-date of this many seconds after the case's start."""
    return formatdate(BASE + offset, usegmt=True)


def lines(headers: Mapping[str, str | Sequence[str]] | Lines | str | None) -> Lines:
    """Field lines from a mapping (a list is several lines), or from the text of a `Cache-Control`."""
    if headers is None:
        return ()
    if isinstance(headers, str):
        return (("Cache-Control", headers),)
    if isinstance(headers, tuple):
        return headers
    return tuple(
        (name, value)
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    )


def _step(reply: Any, request: Any, **more: Any) -> Step:
    return Step(reply=lines(reply), request=lines(request), **more)


def miss(reply: Any = None, request: Any = None, **more: Any) -> Step:
    """The origin is asked, and its answer reaches the client. `reply` as text is its `Cache-Control`."""
    return _step(reply, request, **more)


def hit(at: float = 0, request: Any = None, **more: Any) -> Step:
    """The cache answers by itself. If the origin is asked, it answers something else, uncacheable."""
    return _step(more.pop("reply", "no-store"), request, at=at, forwarded=False, **more)


def validated(at: float, reply: Any = None, request: Any = None, **more: Any) -> Step:
    """The origin is asked whether the stored response holds, says 304, and the client gets the stored one."""
    more = {"status": 304, "gets": 200, "length": False, "of": 0} | more
    return _step(reply, request, at=at, **more)


class MismatchError(AssertionError):
    """A step that went otherwise than expected."""


async def run(case: Case, driver: Driver) -> None:
    """Runs a case.

    Raises:
        MismatchError: a step went otherwise.
    """
    script = _Script()
    await driver.begin(script.origin, case.options)
    try:
        contents = [_content(step, number) for number, step in enumerate(case.steps)]
        last_full = 0
        for number, step in enumerate(case.steps):
            script.prepare(step, contents[number])
            await driver.set_time(BASE + step.at)
            got = await driver.ask(_ask(case, step))
            before = len(script.seen)
            await driver.settle()
            if step.forwarded and step.status == 200 and not step.fails:
                last_full = number
            of = step.of if step.of is not None else (number if step.forwarded else last_full)
            problems = _compare(step, got, script.seen, before, contents[of])
            if problems:
                raise MismatchError(
                    f"{case.section}: {case.name}\n  step {number} (at {step.at}): "
                    + "; ".join(problems)
                    + f"\n  got {got}\n  the origin saw {script.seen}"
                )
            if step.background and step.status == 200 and not step.fails:
                last_full = number
    finally:
        await driver.end()


class _Script:
    """The origin of a case: answers what the current step says, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[Ask] = []
        self._answer = OriginAnswer()

    def prepare(self, step: Step, content: bytes) -> None:
        self.seen = []
        headers = step.reply
        named = {name.lower() for name, _ in headers}
        if step.length and "content-length" not in named and step.status not in (204, 304):
            headers = (*headers, ("Content-Length", str(len(content))))
        self._answer = OriginAnswer(status=step.status, headers=headers, body=content, fails=step.fails)

    def origin(self, ask: Ask) -> OriginAnswer:
        self.seen.append(ask)
        if ask.method == "HEAD":
            return replace(self._answer, body=b"")
        return self._answer


def _content(step: Step, number: int) -> bytes:
    if step.content is not None:
        return step.content
    return b"" if step.status in (204, 304) else b"the body of step %d" % number


def _ask(case: Case, step: Step) -> Ask:
    host = step.host if step.host is not None else f"h{abs(hash(case.id)):x}.test"
    headers: Lines = (("Host", host), *step.request)
    if step.identity is not None:
        headers = (*headers, ("X-Identity", step.identity))
    if step.request_body:
        headers = (*headers, ("Content-Length", str(len(step.request_body))))
    return Ask(method=step.method, target=step.target, headers=headers, body=step.request_body)


def _joined(headers: Lines, name: str) -> str | None:
    found = [value for key, value in headers if key.lower() == name.lower()]
    return ", ".join(found) if found else None


def _compare(step: Step, got: Got, seen: list[Ask], before: int, content: bytes) -> list[str]:
    problems = _asked(step, seen, before)
    want = step.gets if step.gets is not None else (step.status if step.forwarded else 200)
    if got.status != want and want != ANY:
        problems.append(f"status {got.status}, not {want}")
    for name, value in step.expect.items():
        found = _joined(got.headers, name)
        if found != value and not (
            found is not None and isinstance(value, re.Pattern) and value.fullmatch(found)
        ):
            problems.append(f"{name} is {found!r}, not {value!r}")
    if not _right_body(step, got, want, content):
        problems.append(f"the body is {got.body[:80]!r}")
    status = (_joined(got.headers, "cache-status") or "").rpartition(",")[2]
    problems += [f"Cache-Status lacks {part!r}: {status!r}" for part in step.status_has if part not in status]
    problems += [f"Cache-Status has {part!r}: {status!r}" for part in step.status_lacks if part in status]
    return problems


def _right_body(step: Step, got: Got, want: int, content: bytes) -> bool:
    if isinstance(step.body, re.Pattern):
        return step.body.fullmatch(got.body) is not None
    if step.body is not None:
        return got.body == step.body
    if step.method == "HEAD" or got.status in (204, 304):
        return got.body == b""
    return got.body == content or want == ANY or got.status in (416, 502, 504)


def _asked(step: Step, seen: list[Ask], before: int) -> list[str]:
    wanted = step.forwarded or step.background
    if wanted and not seen:
        return ["the origin was not asked"]
    if seen and not wanted:
        return ["the origin was asked"]
    if wanted and len(seen) != step.times:
        return [f"the origin was asked {len(seen)} times"]
    problems = []
    if step.forwarded and not before:
        problems.append("the origin was asked after the answer only")
    for name, value in step.saw.items():
        found = _joined(seen[-1].headers, name) if seen else None
        if found != value:
            problems.append(f"the origin saw {name}: {found!r}, not {value!r}")
    return problems
