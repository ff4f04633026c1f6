"""Puts sessions together: which backend, what is kept in the process, who hears of ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from valtier import keys
from valtier.clock import Clock
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.sessions.alone import Alone
from valtier.sessions.backend import Backend
from valtier.sessions.cookie import SessionCookie
from valtier.sessions.ends import Ends
from valtier.sessions.fields import Fields
from valtier.sessions.limits import SessionLimits
from valtier.sessions.local import Local
from valtier.sessions.reads import TIME
from valtier.sessions.schema import SessionSchema
from valtier.sessions.sessions import Sessions
from valtier.sessions.state import State
from valtier.sessions.statements import CLOCK, Statements
from valtier.sessions.stats import SessionStats
from valtier.sessions.store import Store
from valtier.wire import Argument, Valkey

if TYPE_CHECKING:
    from valtier.sessions.postgres import Database, Pool

T = TypeVar("T")


def open_sessions(
    valkey: Valkey | None,
    *,
    prefix: str,
    durable: str | Pool | None = None,
    listen: bool | str = True,
    schema: SessionSchema | None = None,
    data: Any = None,
    idle: Duration = "1h",
    absolute: Duration = "24h",
    remember: Duration = "30d",
    sudo: Duration = "10m",
    touch: Duration = "1m",
    renew: Duration | None = None,
    grace: Duration = "10s",
    max_bytes: int = 16 * 1024,
    cookie: SessionCookie | None = None,
    local_bytes: int = 16 * 2**20,
    local_age: Duration = "5s",
    recheck: Duration = "1m",
    copy: Duration = "1h",
    look_every: Duration = "500ms",
    durable_deadline: Duration = "1s",
    clock: Clock | None = None,
    _scripts: Callable[[str], str] | None = None,
    _now: str = CLOCK,
    _time: tuple[Argument, ...] = TIME,
) -> Sessions[Any]:
    """Makes sessions; `Tier.sessions` is the usual way, and says what the options are."""
    keys.check_prefix(prefix)
    clock = clock or Clock()
    limits = SessionLimits.of(
        idle=idle, absolute=absolute, remember=remember, sudo=sudo, touch=touch, renew=renew, grace=grace,
        max_bytes=max_bytes,
    )  # fmt: skip
    if valkey is None and durable is None:
        raise ConfigurationError(
            "without Valkey (USE_REDIS=false) sessions need durable=…: a PostgreSQL URL or pool"
        )
    stats = SessionStats()
    local = Local(
        max_bytes=local_bytes, max_age_s=seconds(local_age, name="local_age"), monotonic=clock.monotonic
    )
    store = None
    if valkey is not None:
        store = Store(valkey, prefix, copies=durable is not None, load=_scripts, time=_time)
        _follow(valkey, store, local)

    async def load(name: str) -> State | None:
        return await backend.load(name)

    ends = Ends(
        valkey,
        f"{prefix}:s:ended",
        recheck_s=seconds(recheck, name="recheck"),
        load=load,
        heard=lambda name: local.end((name,)),
        monotonic=clock.monotonic,
    )
    backend: Backend
    if durable is None:
        if store is None:  # pragma: no cover - refused above
            raise ConfigurationError("sessions need a place")
        backend = Alone(store, local, stats, clock)
    else:
        database = _database(
            durable,
            Statements(schema or SessionSchema(), _now),
            seconds(durable_deadline, name="durable_deadline"),
            listen,
        )
        from valtier.sessions.durable import Durable

        backend = Durable(
            database, store, local, ends, stats, clock, copy_s=seconds(copy, name="copy"),
            look_every_s=seconds(look_every, name="look_every"),
        )  # fmt: skip
    return Sessions(
        backend=backend, local=local, ends=ends, fields=Fields(data), limits=limits, cookie=cookie or SessionCookie(),
        stats=stats, clock=clock,
    )  # fmt: skip


def _follow(valkey: Valkey, store: Store, local: Local) -> None:
    """Lets Valkey's messages about changes reach what this process keeps."""

    def on_message(names: list[bytes] | None) -> None:
        if names is None:
            local.clear()
            return
        for key in names:
            if (name := store.name_of(key)) is not None:
                local.drop(name)

    valkey.on_invalidate(on_message)


def _database(durable: str | Pool, statements: Statements, deadline_s: float, listen: bool | str) -> Database:
    try:
        from valtier.sessions.postgres import Database
    except ImportError as exc:
        raise ConfigurationError(
            "durable sessions need asyncpg: install it with `pip install 'valtier[postgres]'`"
        ) from exc
    if not isinstance(durable, str) and not hasattr(durable, "acquire"):
        raise ConfigurationError("durable is a PostgreSQL URL, or a pool with `async with pool.acquire()`")
    url = durable if isinstance(durable, str) else None
    where = listen if isinstance(listen, str) else (url if listen else None)
    return Database(durable, statements, deadline_s=deadline_s, listen=where)
