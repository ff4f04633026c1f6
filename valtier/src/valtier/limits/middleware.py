"""The middleware: every request has a limit, or is on the list of exemptions."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from valtier.asgi import App, Header, Message, Receive, Scope, Send, send_problem
from valtier.errors import ConfigurationError
from valtier.limits.address import ClientAddress
from valtier.limits.asked import Asked
from valtier.limits.decision import Decision, LimitUnavailableError
from valtier.limits.headers import QUOTA_EXCEEDED, Told, limiters_of, retry_after, violated
from valtier.limits.names import digest
from valtier.limits.rules import By, Limited, MakesLimiters, Rule, RuleSet, make, walk
from valtier.limits.stack import StackDecision

log = logging.getLogger("valtier")

DEFAULT_RATE = "100/minute"
ASKED = "valtier.limit.asked"
DECIDED = "valtier.limit"
"""Where in the scope an application finds the decision."""


class _Plan:
    """A rule, ready to be used."""

    __slots__ = ("by", "limit", "told")

    def __init__(self, limit: Limited, by: By) -> None:
        self.limit = limit
        self.by = by
        self.told = Told(limit)


class RateLimit:
    """ASGI middleware that limits HTTP requests and WebSocket handshakes. No framework is needed.

    ```python
    app = RateLimit(
        app, tier,
        rules=[Rule("/api/search", "30/minute"), Rule("/api/exports", "5/hour", methods=["POST"], by="identity")],
        exempt=["/healthz", "/static/*"],
        routes=lambda: app.routes,                  # what endpoints declare with @limited
        client=ClientAddress(trusted=["10.0.0.0/8"]),
    )
    ```

    The first that fits is taken of: exemptions, rules, what routes declare, the default. A request over its limit is
    answered with 429 and a problem of type `quota-exceeded`, one whose closed limit can't be asked with 503. Every answer
    tells `RateLimit-Policy` and `RateLimit`. One round trip, or none for an address known to be blocked; inside `Together`
    the question leaves in the same write as those of sessions and the response cache.

    In an outage the limits do what their `on_outage` says; that of the default is `"insurance"`.
    """

    def __init__(
        self,
        app: App,
        limits: MakesLimiters,
        *,
        default: Limited | str | None = DEFAULT_RATE,
        default_by: By = "address",
        rules: Iterable[Rule] = (),
        exempt: Iterable[str] = (),
        routes: Callable[[], Iterable[Any]] | None = None,
        client: ClientAddress | None = None,
        identity: Callable[[Scope], str | None] | None = None,
    ) -> None:
        """Prepares the middleware.

        Args:
            app: the application.
            limits: the tier, which makes limiters for rates.
            default: of requests that no rule fits: 100 a minute for each address. None: they have no limit.
            default_by: whether the default counts by address or by identity.
            rules: limits by path and method.
            exempt: paths without a limit, as in a rule.
            routes: returns the routes of the framework, which are asked for what they declare when the first request comes.
            client: finds a request's address; without it that is the peer of the connection.
            identity: finds who is signed in, in the scope, for limits by identity; where it returns None the address counts.
                It is asked when the request has come here: what finds identities has to be outside of this middleware.

        Raises:
            ConfigurationError: a rule can't be used, or asks for an identity that nothing finds.
        """
        if isinstance(exempt, str):
            raise ConfigurationError(f"exempt is a list of paths: [{exempt!r}]")
        self.app = app
        self._limits = limits
        self._given = [*(Rule(path, None) for path in exempt), *rules]
        self._routes = routes
        self._client = client or ClientAddress()
        self._identity = identity
        self._default = (
            None if default is None else make(Rule("/*", default, (), default_by, "default"), limits)
        )
        self._rules: RuleSet | None = None
        self._plans: dict[int, _Plan] = {}
        for rule in self._given:
            self._check(rule)
        if self._default is not None:
            self._check(self._default)

    def _check(self, rule: Rule) -> None:
        if rule.by == "identity" and self._identity is None:
            raise ConfigurationError(f"{rule.path}: a limit by identity needs `identity`, which finds it")

    def begin(self, scope: Scope) -> None:
        """Asks for the decision without waiting. Never raises."""
        try:
            plan = self._plan_of(scope)
            if plan is not None and plan.by == "address":
                scope[ASKED] = plan, plan.limit.begin(self._client.of(scope))
        except Exception:  # its own turn will tell
            log.exception("A limit could not be asked early")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        asked: Asked[Any]
        if ASKED in scope:
            plan, asked = scope.pop(ASKED)
        else:
            plan = self._plan_of(scope)
            if plan is None:
                await self.app(scope, receive, send)
                return
            asked = plan.limit.begin(self._key(scope, plan.by))
        try:
            decision = await asked.decision()
        except LimitUnavailableError as exc:
            await _refuse_unavailable(scope, receive, send, exc)
            return
        headers = plan.told.headers(decision)
        if not decision.allowed:
            await _refuse(scope, receive, send, decision, headers)
            return
        scope[DECIDED] = decision

        def send_told(message: Message) -> Awaitable[None]:  # no coroutine of its own for each message
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            return send(message)

        await self.app(scope, receive, send_told if headers else send)

    # -- which limit ---------------------------------------------------------------------------------------

    def audit(self) -> dict[str, str | None]:
        """Returns for each route, as `"GET /path"`, the names of its limits, or None if it has none.

        For a test: every route has a limit, or is on a short list of exemptions. No round trip.
        """
        found: dict[str, str | None] = {}
        for route in walk(self._routes() if self._routes is not None else ()):
            for method in route.methods or ("*",):
                rule = self._compiled().find(method, route.sample) or self._default
                limit = rule.limit if rule is not None else None
                if limit is None or isinstance(limit, str):
                    names = None
                else:
                    names = ", ".join(limiter.limit.name for limiter in limiters_of(limit))
                found.setdefault(f"{method} {route.path}", names)
        return found

    def _compiled(self) -> RuleSet:
        if self._rules is None:
            own = [route.rule for route in walk(self._routes() if self._routes is not None else ())]
            rules = [make(rule, self._limits) for rule in [*self._given, *own] if rule is not None]
            for rule in rules:
                self._check(rule)
            self._rules = RuleSet(rules)
        return self._rules

    def _plan_of(self, scope: Scope) -> _Plan | None:
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
            path = path[len(root) :] or "/"
        rule = (self._rules or self._compiled()).find(scope.get("method", "GET"), path) or self._default
        if rule is None or rule.limit is None or isinstance(rule.limit, str):
            return None
        plan = self._plans.get(id(rule))
        if plan is None:
            plan = self._plans[id(rule)] = _Plan(rule.limit, rule.by)
        return plan

    def _key(self, scope: Scope, by: By) -> str:
        if by == "identity" and self._identity is not None:
            identity = self._identity(scope)
            if identity is not None:
                return f"@{identity}" if len(identity) < 512 else digest(identity)
        return self._client.of(scope)


async def _refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    decision: Decision | StackDecision,
    headers: list[Header],
) -> None:
    wait_s = retry_after(decision)
    await _answer(
        scope,
        receive,
        send,
        429,
        kind=QUOTA_EXCEEDED,
        title="Too many requests",
        detail=f"Try again in {wait_s} s.",
        headers=[*headers, (b"retry-after", b"%d" % wait_s)],
        **{"violated-policies": violated(decision)},
    )


async def _refuse_unavailable(
    scope: Scope, receive: Receive, send: Send, error: LimitUnavailableError
) -> None:
    await _answer(
        scope,
        receive,
        send,
        503,
        kind="about:blank",
        title="Service unavailable",
        detail="This can't be done at the moment. Try again in a moment.",
        headers=[(b"retry-after", b"%d" % max(1, round(error.retry_after_s)))],
    )


async def _answer(
    scope: Scope, receive: Receive, send: Send, status: int, *, headers: list[Header], **problem: Any
) -> None:
    if scope["type"] == "http":
        await send_problem(send, status, headers=headers, **problem)
        return
    await receive()  # websocket.connect
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1013, "reason": ""})  # try again later
        return

    async def send_denial(message: Message) -> None:
        message["type"] = "websocket." + message["type"]
        await send(message)

    await send_problem(send_denial, status, headers=headers, **problem)
