"""Sessions against a simple model of them: random steps of two workers, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sessions_world import World

from valtier import Session, SessionEndedError, Sessions
from valtier.embedded import EmbeddedValkey

T = TypeVar("T")

HOUR = 3600
IDLE, ABSOLUTE, REMEMBER, SUDO, TOUCH, GRACE = HOUR, 24 * HOUR, 30 * 24 * HOUR, 600, 60, 10
SUBJECTS = st.sampled_from(["ada", "bob", None])
FIELDS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=2)


@dataclass
class Model:
    """A session as it should be."""

    subject: str | None
    token: str
    fields: dict[str, int]
    idle: int
    ends_at_most: float
    seen: float
    sudo_until: float
    old: str = ""
    old_until: float = 0.0
    ended: bool = False
    tokens: set[str] = field(default_factory=set)

    def lives(self, now: float) -> bool:
        return not self.ended and now < min(self.ends_at_most, self.seen + self.idle)

    def opens(self, token: str, now: float) -> bool:
        return self.lives(now) and (token == self.token or (token == self.old and now < self.old_until))


class Machine(RuleBasedStateMachine):
    """Two workers and the model. Each step is done by one of them, and told to both before the next."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.models: list[Model] = []
        self.held: list[tuple[Session[Any], Model]] = []
        self.now = 0.0

    def play(self, work: Awaitable[T]) -> T:
        async def settled() -> T:
            result = await work
            for worker in self.workers:
                if (store := getattr(worker._backend, "_store", None)) is not None:
                    await store.valkey.call_tracked("PING")
            return result

        return self.runner.run(settled())

    @initialize()
    def begin(self) -> None:
        async def start() -> list[Sessions[Any]]:
            world = self.world
            world.valkey.flush()
            if world.durable:
                connection = await asyncpg.connect(world.database_url)
                await connection.execute("DELETE FROM valtier_sessions")
                await connection.execute("DELETE FROM valtier_sessions_stale")
                await connection.close()
            await world.advance(0)
            return [
                await self.stack.enter_async_context(world.worker(renew="5m", look_every="5s"))
                for _ in range(2)
            ]

        self.workers = self.runner.run(start())

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    def hold(self, session: Session[Any], model: Model) -> None:
        """What requests in flight hold: the last few, so that steps meet the same session."""
        self.held = [*self.held[-5:], (session, model)]

    # -- steps ---------------------------------------------------------------------------------------------

    @rule(
        who=st.integers(0, 1),
        subject=SUBJECTS,
        remember=st.booleans(),
        fields=FIELDS,
        replaces=st.integers(0, 20),
    )
    def create(
        self, who: int, subject: str | None, remember: bool, fields: dict[str, int], replaces: int
    ) -> None:
        old = self.held[replaces] if replaces < len(self.held) else None
        session = self.play(
            self.workers[who].create(
                subject, remember=remember, data=fields, replaces=old[0] if old is not None else None
            )
        )
        if old is not None:
            old[1].ended = True
        model = Model(
            subject=subject,
            token=session.token,
            fields=dict(fields),
            idle=REMEMBER if remember else IDLE,
            ends_at_most=self.now + (REMEMBER if remember else ABSOLUTE),
            seen=self.now,
            sudo_until=self.now + (SUDO if subject else 0),
        )
        model.tokens.add(session.token)
        self.models.append(model)
        self.hold(session, model)

    @rule(who=st.integers(0, 1), at=st.integers(0, 30), which=st.integers(0, 5))
    def load(self, who: int, at: int, which: int) -> None:
        """Any token that there ever was opens what the model says, at any worker."""
        if not self.models:
            return
        model = self.models[-1 - at % min(3, len(self.models))]
        token = sorted(model.tokens)[which % len(model.tokens)]
        session = self.play(self.workers[who].load(token))
        assert (session is not None) == model.opens(token, self.now)
        if session is not None:
            assert session.subject == model.subject
            assert session.data == model.fields
            assert session.token == model.token
            assert session.is_sudo == (self.now < model.sudo_until)
            self.hold(session, model)

    @rule(at=st.integers(0, 20), sets=FIELDS, removes=st.sets(st.sampled_from("abc"), max_size=1))
    def write(self, at: int, sets: dict[str, int], removes: set[str]) -> None:
        """Whoever holds a session, loaded at any time before, writes if its id still opens it."""
        removes = removes - set(sets)
        if not self.held or not (sets or removes):
            return
        session, model = self.held[at % len(self.held)]
        expected = model.opens(session.token, self.now)
        assert self._succeeds(session._sessions.write(session, sets, removes=removes)) == expected
        if expected:
            model.fields = {name: value for name, value in model.fields.items() if name not in removes} | sets

    @rule(at=st.integers(0, 20), how=st.sampled_from(["rotate", "confirm", "renew"]))
    def change_token(self, at: int, how: str) -> None:
        if not self.held:
            return
        session, model = self.held[at % len(self.held)]
        before = session.token
        expected = model.opens(before, self.now)
        change: Callable[[], Awaitable[None]] = {
            "rotate": session.rotate,
            "confirm": session.confirm,
            "renew": lambda: session._sessions.renew(session),
        }[how]
        assert self._succeeds(change()) == expected
        if not expected:
            return
        if how == "renew" and before != model.token:  # somebody else has renewed it: the same successor
            assert session.token == model.token
            return
        assert session.token != before
        model.old, model.old_until = (before, self.now + GRACE) if how == "renew" else ("", 0.0)
        model.token, model.seen = session.token, self.now
        model.tokens.add(session.token)
        if how == "confirm":
            model.sudo_until = self.now + SUDO

    @rule(
        at=st.integers(0, 2),
        how=st.sampled_from(["rotate", "confirm", "renew"]),
        seconds=st.sampled_from([0, 9, 11]),
    )
    def two_requests(self, at: int, how: str, seconds: int) -> None:
        """Two requests hold a session; one changes its token, and some time later the other writes."""
        living = [model for model in self.models if model.lives(self.now)]
        if not living:
            return
        model = living[-1 - at % min(3, len(living))]
        for worker in self.workers:
            session = self.play(worker.load(model.token))
            assert session is not None
            self.hold(session, model)
        self.change_token(at=len(self.held) - 1, how=how)
        if seconds:
            self.wait(seconds)
        self.write(at=len(self.held) - 2, sets={"a": 1}, removes=set())

    def _succeeds(self, work: Awaitable[Any]) -> bool:
        try:
            self.play(work)
        except SessionEndedError:
            return False
        return True

    @rule(at=st.integers(0, 20))
    def touch(self, at: int) -> None:
        if not self.held:
            return
        session, model = self.held[at % len(self.held)]
        touched = self.play(session._sessions.touch(session))
        assert touched == (model.lives(self.now) and self.now - model.seen >= TOUCH)
        if touched:
            model.seen = self.now

    @rule(at=st.integers(0, 20))
    def destroy(self, at: int) -> None:
        if not self.held:
            return
        session, model = self.held[at % len(self.held)]
        lived = model.lives(self.now)
        assert self.play(session._sessions.destroy(session)) in ((lived, True) if not lived else (True,))
        model.ended = True

    @rule(who=st.integers(0, 1), subject=st.sampled_from(["ada", "bob"]), keeps=st.integers(0, 20))
    def destroy_all(self, who: int, subject: str, keeps: int) -> None:
        kept = self.held[keeps] if keeps < len(self.held) else None
        count = self.play(self.workers[who].destroy_all(subject, except_=kept[0] if kept else None))
        living = [model for model in self._of(subject) if kept is None or model is not kept[1]]
        assert count >= len(living)  # Valkey alone may count one whose time is up and that it still holds
        for model in self.models:
            if model.subject == subject and (kept is None or model is not kept[1]):
                model.ended = True

    @rule(who=st.integers(0, 1), subject=st.sampled_from(["ada", "bob"]), revokes=st.booleans())
    def devices(self, who: int, subject: str, revokes: bool) -> None:
        devices = self.play(self.workers[who].devices(subject))
        assert {device.id for device in devices} == {model.token[:20] for model in self._of(subject)}
        if revokes and devices:
            assert self.play(self.workers[1 - who].revoke(subject, devices[-1].id))
            for model in self.models:
                model.ended |= model.token[:20] == devices[-1].id

    @rule(seconds=st.sampled_from([1, 9, 11, 59, 61, 301, 601, HOUR - 700, HOUR, 23 * HOUR]))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.runner.run(self.world.advance(seconds))

    @rule()
    def lose_copies(self) -> None:
        """Where sessions are durable a flush of Valkey changes nothing."""
        if self.world.place == "durable":
            self.world.valkey.flush()
            self.runner.run(self.world.advance(0))

    def _of(self, subject: str) -> list[Model]:
        return [model for model in self.models if model.subject == subject and model.lives(self.now)]


@pytest.mark.parametrize("place", ["valkey", "durable", "postgres"])
def test_sessions_do_what_a_simple_model_of_them_does(
    valkey: EmbeddedValkey, shared_database_url: str, place: str
) -> None:
    """Requirements 2, 3, 4, 5, 6, 7, 8 and 9, in every order that Hypothesis comes up with."""
    world = World(place, valkey, shared_database_url)
    asyncio.run(world.prepare())
    run_state_machine_as_test(
        type("Case", (Machine,), {"world": world}),
        settings=settings(
            max_examples=40 if place == "valkey" else 15,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
