"""Problems: every answer that is not a success, as RFC 9457 `application/problem+json`."""

from __future__ import annotations

import errno
import http
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg
import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from valtier.codes import CodesUnavailableError, CooldownError, InvalidCodeError, TooManyFailuresError
from valtier.limits import LimitUnavailableError
from valtier.sessions import SessionEndedError, SessionUnavailableError

log = logging.getLogger("fluxstudio")

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
_MAX_ERRORS = 20
_MAX_FIELD = 100

DATABASE_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,  # statement_timeout: it works too slowly
    TimeoutError,
    ConnectionError,
)
"""What asyncpg raises when PostgreSQL can't be asked, or does not answer in time."""

_CLOSED = (
    "pool is clos",  # closing, closed
    "connection is closed",
    "connection was closed",
    "connection has been released back to the pool",  # what its pool does with one that was lost
)
"""How an InterfaceError says so. The others tell of our own mistakes: arguments, types, two queries at once."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with the input. `field` is its place, such as `body.title` or `query.limit`."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ProblemDetails:
    """The body of every answer that is not a success (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    """A word for programs: `not-signed-in`, `invalid-input`, `slug-taken`, …"""
    detail: str
    errors: list[FieldError]


class Problem(Exception):  # noqa: N818 - as RFC 9457 calls it
    """A request that can't be answered as asked. `code` is for programs, `detail` tells people what to do."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def response(self) -> Response:
        details = ProblemDetails(
            type="about:blank",
            title=_title(self.status),
            status=self.status,
            code=self.code,
            detail=self.detail,
            errors=self.errors,
        )
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff", **self.headers}
        return Response(msgspec.json.encode(details), self.status, headers, MEDIA_TYPE)


def not_found(what: str = "page") -> Problem:
    """There is none, or the caller may not know that there is one."""
    return Problem(404, "not-found", f"There is no such {what}, or you may not see it.")


def forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail)


def conflict(code: str, detail: str, *, field: str | None = None) -> Problem:
    errors = [FieldError(field, detail)] if field else []
    return Problem(409, code, detail, errors=errors)


def invalid(errors: Sequence[FieldError]) -> Problem:
    """The input was understood and can't be accepted."""
    return Problem(
        422, "invalid-input", "The input is not valid: see `errors`.", errors=list(errors[:_MAX_ERRORS])
    )


def unavailable(code: str, detail: str) -> Problem:
    return Problem(503, code, detail, headers={"retry-after": str(RETRY_AFTER_S)})


def field_error(place: Sequence[object], message: str) -> FieldError:
    """Returns an error that can always be encoded, whatever characters the field's name has."""
    name = ".".join(str(part) for part in place)[:_MAX_FIELD]
    return FieldError(_encodable(name), _encodable(message.removeprefix("Value error, ")))


def problem_of(exc: Exception) -> Problem:
    """Returns the problem that an exception means to the client; logs what the operator has to know."""
    if isinstance(exc, Problem):
        return exc
    if isinstance(exc, RequestValidationError):
        return _invalid_request(exc)
    if isinstance(exc, HTTPException):
        return _http_problem(exc)
    if (problem := _told_by_valtier(exc)) is not None:
        return problem
    if is_database_away(exc):
        _complaints.add(exc, time.monotonic())
        return unavailable("database-unavailable", "The database does not answer now. Try again soon.")
    log.error("A request failed", exc_info=exc)
    return Problem(500, "internal-error", "Something went wrong on our side. It was logged.")


def _told_by_valtier(exc: Exception) -> Problem | None:
    """Returns the problem that an error of valtier's features means: a closed door is 503, never 429 or "signed out"."""
    if isinstance(exc, InvalidCodeError):
        return Problem(400, "invalid-code", "The code is wrong, was used or has expired. Ask for a new one.")
    if isinstance(exc, TooManyFailuresError | CooldownError):
        seconds = max(1, math.ceil(exc.retry_after_s))
        code = "too-many-attempts" if isinstance(exc, TooManyFailuresError) else "too-soon"
        what = (
            "Too many wrong codes." if code == "too-many-attempts" else "A mail was asked for a moment ago."
        )
        headers = {"retry-after": str(seconds)}
        return Problem(429, code, f"{what} Try again in {in_words(seconds)}.", headers=headers)
    if isinstance(exc, CodesUnavailableError | LimitUnavailableError):
        return unavailable(
            "limits-unavailable", "Attempts can't be counted now, so none is let in. Try again soon."
        )
    if isinstance(exc, SessionUnavailableError):
        return unavailable(
            "sessions-unavailable", "Who you are can't be told now. Try again; you stay signed in."
        )
    if isinstance(exc, SessionEndedError):
        return Problem(401, "not-signed-in", "The session has ended. Sign in: POST /api/sign-in.")
    return None


def in_words(seconds: int) -> str:
    """Returns how long to wait, for people."""
    if seconds < 120:
        return f"{seconds} seconds"
    return f"{math.ceil(seconds / 60)} minutes" if seconds < 7200 else f"{math.ceil(seconds / 3600)} hours"


class _Complaints:
    """Logs that the database is away: one line a second at most, not one for each request.

    Guarded by the event loop.
    """

    def __init__(self) -> None:
        self._quiet_until = 0.0
        self._unsaid = 0

    def add(self, exc: Exception, now: float) -> None:
        if now < self._quiet_until:
            self._unsaid += 1
            return
        others = f" ({self._unsaid} more requests failed before)" if self._unsaid else ""
        log.warning("The database does not answer: %s: %s%s", type(exc).__name__, exc, others)
        self._quiet_until, self._unsaid = now + 1.0, 0


_complaints = _Complaints()


def is_database_away(exc: BaseException) -> bool:
    """Whether the exception says that PostgreSQL can't be asked now."""
    if isinstance(exc, DATABASE_AWAY):
        return True
    if isinstance(exc, asyncpg.InterfaceError):
        return any(words in str(exc) for words in _CLOSED)
    return isinstance(exc, OSError) and (exc.errno is None or exc.errno in _UNREACHABLE)


_UNREACHABLE = {errno.ENOENT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT}


def _invalid_request(exc: RequestValidationError) -> Problem:
    errors = exc.errors()
    if any(error["type"] == "json_invalid" for error in errors):
        context = errors[0].get("ctx", {}).get("error", "")
        place = errors[0]["loc"][-1]
        return Problem(
            400, "malformed-json", _encodable(f"The body is not JSON: {context} at character {place}.")
        )
    return invalid([field_error(error["loc"], error["msg"]) for error in errors[:_MAX_ERRORS]])


def _http_problem(exc: HTTPException) -> Problem:
    code = _title(exc.status_code).lower().replace(" ", "-")
    detail = {
        400: "The body can't be read: send one JSON object in UTF-8.",
        404: "There is nothing at this address.",
        405: "This address does not take that method: see the Allow header.",
    }.get(exc.status_code, str(exc.detail))
    return Problem(exc.status_code, code, detail, headers=exc.headers)


_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Where Python 3.11 still has the names of older RFCs."""


def _title(status: int) -> str:
    return _TITLES.get(status) or http.HTTPStatus(status).phrase


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
