"""Locating: asks the sentinels where the primary is.

Source: "Guidelines for Sentinel clients" of the Valkey documentation: ask in turn, move who answered to the front, make
sure that the named server is a primary, and ask again at each connection.
"""

from __future__ import annotations

import asyncio
from typing import Any

from valtier.errors import RejectedError, ReplyError, UnavailableError, ValkeyError
from valtier.wire.address import Address, Endpoint
from valtier.wire.dial import dial
from valtier.wire.handshake import Server
from valtier.wire.options import WireOptions

_CREDENTIAL_CODES = frozenset(("NOAUTH", "WRONGPASS", "NOPERM"))


class SentinelLocator:
    """Tells where the primary is, for `Link`. Guarded by the event loop.

    The sentinels are asked in turn, each for its share of `connect_timeout_s`; who answers is asked first next time, who
    does not, last. Those that it knows of are asked too if need be.
    """

    def __init__(self, address: Address, options: WireOptions) -> None:
        self.address = address
        self.options = options
        self.sentinels = address.endpoints
        """Who is asked, in this order."""
        self.primary: Endpoint | None = None
        """The last answer."""
        self._sign_in = address.for_sentinels()
        self._tls = address.ssl_context()

    async def __call__(self) -> Endpoint:
        """Returns where the primary is. One connection and one round trip if the first sentinel answers.

        Raises:
            UnavailableError: no sentinel answers.
            RejectedError: they want another password, know no such service, or are no sentinels.
        """
        rejected: RejectedError | None = None
        failed: BaseException | None = None
        share_s = self.options.connect_timeout_s / (len(self.address.endpoints) + 1)
        for sentinel in self.sentinels:
            answered = False
            try:
                async with asyncio.timeout(share_s):
                    primary = await self._ask(sentinel)
                answered = True
            except RejectedError as exc:
                rejected = exc
            except (OSError, ValkeyError) as exc:  # TimeoutError is an OSError
                failed = exc
            else:
                self.primary = primary
                return primary
            finally:
                (self.prefer if answered else self.defer)(sentinel)
        if rejected is not None:
            raise rejected
        names = ", ".join(map(str, self.sentinels))
        raise UnavailableError(
            f"no sentinel answers ({names}): check their addresses, and that they run; "
            f"the last: {str(failed) or type(failed).__name__}"
        ) from failed

    def prefer(self, sentinel: Endpoint) -> None:
        """Asks this one first from now on."""
        self.sentinels = (sentinel, *(other for other in self.sentinels if other != sentinel))

    def defer(self, sentinel: Endpoint) -> None:
        """Asks this one last from now on."""
        self.sentinels = (*(other for other in self.sentinels if other != sentinel), sentinel)

    async def _ask(self, sentinel: Endpoint) -> Endpoint:
        connection = await dial(sentinel, self.options, tls=self._tls)
        service = self.address.service or ""
        try:
            if (password := self._sign_in.password) is not None:
                user = (self._sign_in.username,) if self._sign_in.username else ()
                await connection.send("AUTH", *user, password)
            where, others = await asyncio.gather(
                connection.send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service),
                connection.send("SENTINEL", "SENTINELS", service),
                return_exceptions=True,
            )
            if isinstance(where, BaseException):
                raise where
        except ReplyError as exc:
            raise self._rejection(sentinel, exc) from None
        finally:
            connection.abort(ConnectionAbortedError("asked and answered"))
        if where is None:
            raise RejectedError(
                f"the sentinel {sentinel} knows no service {service!r}: the URL has to name what its "
                "`sentinel monitor` names, as in redis+sentinel://host1,host2/mymaster/0"
            )
        self._learn(others)
        return Endpoint(where[0].decode(), int(where[1]))

    def _learn(self, reply: Any) -> None:
        """Adds the sentinels that a sentinel knows to those that were configured, and forgets what it no longer knows."""
        if not isinstance(reply, list):
            return
        known = [endpoint for fields in reply if (endpoint := _endpoint(fields)) is not None]
        kept = [one for one in self.sentinels if one in known or one in self.address.endpoints]
        self.sentinels = tuple(dict.fromkeys((*kept, *known)))

    def _rejection(self, sentinel: Endpoint, exc: ReplyError) -> RejectedError | ReplyError:
        if exc.code in _CREDENTIAL_CODES or "AUTH" in str(exc):
            what = "has another password" if self._sign_in.password is not None else "wants a password"
            advice = "give the sentinels' own as sentinel_password (and sentinel_username)"
            return RejectedError(f"the sentinel {sentinel} {what}: {advice}")
        if "unknown command" in str(exc):
            return RejectedError(f"{sentinel} is no sentinel: check the port (26379 is usual)")
        return exc


def _endpoint(fields: Any) -> Endpoint | None:
    """Reads one sentinel from `SENTINEL SENTINELS`: names and values in turn."""
    try:
        named = dict(zip(fields[::2], fields[1::2], strict=True))
        return Endpoint(named[b"ip"].decode(), int(named[b"port"]))
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


class Guided:
    """Locates the primary for one link, and trusts no sentinel twice that has led it astray.

    A sentinel that was cut off from the others may name a server that is gone or a replica for as long as it is.
    """

    def __init__(self, locator: SentinelLocator) -> None:
        self._locator = locator
        self._led_by: Endpoint | None = None  # who named the server that is being tried

    async def __call__(self) -> Endpoint:
        """As `SentinelLocator` does; if the server named last could not be used, another sentinel is asked first."""
        if self._led_by is not None:
            self._locator.defer(self._led_by)
            self._led_by = None
        primary = await self._locator()
        self._led_by = self._locator.sentinels[0]
        return primary

    def arrived(self) -> None:
        """The server that was named is in use."""
        self._led_by = None


def check_primary(server: Server) -> None:
    """Makes sure that a server which was just greeted is a primary; where it does not tell, a write will.

    Raises:
        UnavailableError: it is a replica: the sentinels have not noticed yet, or it has not.
    """
    if server.role not in (None, "master"):
        raise UnavailableError(
            f"the sentinels name a server that is a {server.role}; a failover is under way"
        )
