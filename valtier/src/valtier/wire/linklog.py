"""What a link writes into the log, for an operator: a line for each change, and none for what goes on as before."""

from __future__ import annotations

import logging
from collections.abc import Callable

from valtier.errors import DeadlineError, RejectedError, ValkeyError
from valtier.wire.backoff import Backoff
from valtier.wire.breaker import State
from valtier.wire.handshake import Server

log = logging.getLogger("valtier")


class LinkLog:
    """The lines of one link. Guarded by the event loop."""

    def __init__(
        self, purpose: str, where: Callable[[], object], backoff: Backoff, *, each_retry: bool
    ) -> None:
        """Prepares.

        Args:
            purpose: what the connection is for.
            where: tells where it goes now.
            backoff: which tells when tries become probes.
            each_retry: whether each try to connect that fails is logged; else each reason once, until one succeeds.
        """
        self._purpose = purpose
        self._where = where
        self._backoff = backoff
        self._each_retry = each_retry
        self._told: set[str] = set()  # why it can't connect, as it was logged since it last could
        self._reopened = False  # this outage has seen a probe fail: further ones are details

    def connected(self, server: Server) -> None:
        self._told.clear()
        log.info("Redis connection established (%s, %s, %s)", self._where(), server, self._purpose)

    def lost(self, cause: Exception) -> None:
        log.warning("Redis connection lost: %s (%s)", cause, self._name)

    def failed(self, exc: Exception, why: str, failures: int, delay_s: float) -> None:
        """Logs that a try failed, the how many-th in a row; `why` is the reason, and what to do."""
        news = self._each_retry or why not in self._told
        self._told.add(why)
        if news and not isinstance(exc, OSError | TimeoutError | ValkeyError):
            log.error("An unforeseen error while connecting to Redis", exc_info=exc)
        if failures <= self._backoff.max_retries or (news and not self._each_retry):
            level = logging.WARNING if news else logging.DEBUG
            log.log(level, "%s (retry in %.1fs): %s (%s)", _what(exc), delay_s, why, self._purpose)
        elif failures == self._backoff.max_retries + 1:
            log.error(
                "Redis max retries reached, giving up: %s is probed every %.0fs from now on",
                self._where(),
                self._backoff.probe_s,
            )
        if failures == 1 and self._purpose == "commands" and self._each_retry:
            log.warning("Continuing without cache")

    def breaker(self, before: State, now: State, missed: int) -> None:
        """Logs a change of the breaker's state; in a long outage only the first probe is worth more than a DEBUG line."""
        detail = logging.DEBUG if self._reopened else logging.INFO
        if now is State.CLOSED:
            self._reopened = False
            log.info("Redis answers again; the cache is back (%s)", self._name)
        elif now is State.HALF_OPEN:
            log.log(detail, "Redis is asked whether it answers in time again (%s)", self._name)
        elif before is State.HALF_OPEN:
            self._reopened = True
            log.log(detail, "Redis does not answer in time yet (%s)", self._name)
        else:
            log.warning(
                "Redis connection timeout (%d commands unanswered, %s); Continuing without cache",
                missed,
                self._name,
            )

    @property
    def _name(self) -> str:
        return f"{self._purpose}, {self._where()}"


def _what(exc: Exception) -> str:
    if isinstance(exc, RejectedError):
        return "Redis connection refused by the server"
    if isinstance(exc, TimeoutError | DeadlineError):
        return "Redis connection timeout"
    return "Redis connection failed"
