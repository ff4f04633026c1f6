"""Codes under races: hundreds of submissions at once from several processes, and any order of steps against a model."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from codes_kit import one_time, open_tier, states, tokens, wrong
from hypothesis import given, settings
from hypothesis import strategies as st

from valtier.codes import CodeError, InvalidCodeError, OneTimeCodes, TooManyFailuresError, rules
from valtier.codes.store import ValkeyStore
from valtier.embedded import EmbeddedValkey

ADA = "ada@example.org"
PROCESSES, TIMES = 3, 200


async def rivals(url: str, kind: str, submitted: str) -> list[tuple[int, int, int]]:
    """Lets several processes submit at once. Returns how many were accepted, invalid and refused in each."""
    script = Path(__file__).with_name("codes_rival.py")
    environment = os.environ | {"PYTHONPATH": str(script.parent)}
    children = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, script, url, kind, submitted, str(TIMES)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        for _ in range(PROCESSES)
    ]
    for child in children:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
    counts = [tuple(int(word) for word in said.split()) for said, _ in answers]
    return [(accepted, invalid, refused) for accepted, invalid, refused in counts]


@pytest.mark.parametrize("kind", ["short", "long"])
async def test_26_of_many_parallel_right_submissions_from_several_processes_exactly_one_succeeds(
    valkey: EmbeddedValkey, kind: str
) -> None:
    async with open_tier(valkey.url) as tier:
        if kind == "short":
            code = await one_time(tier).issue(ADA, binding="browser")
        else:
            code = await tokens(tier).issue(ADA)
    counts = await rivals(valkey.url, kind, code)
    accepted, invalid, refused = map(sum, zip(*counts, strict=True))
    assert (accepted, invalid, refused) == (1, PROCESSES * TIMES - 1, 0)


async def test_25_parallel_wrong_submissions_from_several_processes_never_get_past_the_caps(
    valkey: EmbeddedValkey,
) -> None:
    async with open_tier(valkey.url) as tier:
        codes = one_time(tier)  # 5 tries a code, 10 failures an account
        tried = 0
        for _ in range(2):
            code = await codes.issue(ADA, binding="browser")
            counts = await rivals(valkey.url, "short", wrong(code))
            assert sum(accepted for accepted, _, _ in counts) == 0
            tried += 5
            [state] = await states(tier)
            failures = [
                value for field, value in (await tier.valkey.call("HGETALL", state)).items() if field == b"f"
            ]
            assert [int(value.split(b":")[0]) for value in failures] == [tried]
        code = await codes.issue(ADA, binding="browser")
        with pytest.raises(TooManyFailuresError):
            await codes.verify(ADA, code, binding="browser")


async def test_29_of_parallel_requests_for_a_code_one_gets_it(valkey: EmbeddedValkey) -> None:
    async with open_tier(valkey.url) as here, open_tier(valkey.url) as there:
        asked = [tokens(tier, cooldown="1m").issue(ADA) for tier in (here, there) * 100]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, str) for answer in answers) == 1


async def test_29_of_parallel_requests_from_an_address_so_many_as_it_has_points_pass(
    valkey: EmbeddedValkey,
) -> None:
    async with open_tier(valkey.url) as here, open_tier(valkey.url) as there:
        asked = [
            tokens(tier, address_points=7).issue(f"user:{number}", address="203.0.113.9")
            for number in range(100)
            for tier in (here, there)
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, str) for answer in answers) == 7


class Model:
    """What short codes promise, in a few lines: one subject, browsers, caps."""

    def __init__(self, tries: int, failures: int) -> None:
        self.tries, self.most = tries, failures
        self.failures = 0
        self.codes: dict[str, tuple[str, int]] = {}

    def issued(self, browser: str, code: str) -> None:
        self.codes[browser] = (code, self.tries)

    def verify(self, browser: str, given: str) -> type[CodeError] | None:
        if self.failures >= self.most:
            return TooManyFailuresError
        if browser not in self.codes:
            return InvalidCodeError
        code, left = self.codes.pop(browser)
        if given == code:
            self.failures = 0
            return None
        self.failures += 1
        if left > 1:
            self.codes[browser] = (code, left - 1)
        return InvalidCodeError


steps = st.lists(
    st.tuples(st.sampled_from(["issue", "right", "wrong", "wrong", "replay"]), st.sampled_from(["a", "b"])),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, tries=st.integers(1, 3), failures=st.integers(1, 5))
def test_25_in_any_order_of_steps_the_script_decides_as_the_model(
    valkey_server: EmbeddedValkey, steps: list[tuple[str, str]], tries: int, failures: int
) -> None:
    async def play() -> None:
        async with open_tier(valkey_server.url) as tier:
            codes = one_time(tier, max_tries=tries, max_failures=failures)
            await follow(codes, Model(tries, failures))

    async def follow(codes: OneTimeCodes, model: Model) -> None:
        last: dict[str, str] = {}
        used: dict[str, str] = {}
        for step, browser in steps:
            if step == "issue":
                last[browser] = await codes.issue(ADA, binding=browser)
                model.issued(browser, last[browser])
                continue
            submitted = used.get(browser, "") if step == "replay" else last.get(browser, "123456")
            if step == "wrong":
                submitted = wrong(submitted)
            expected = model.verify(browser, submitted) if submitted else InvalidCodeError
            if expected is None:
                await codes.verify(ADA, submitted, binding=browser)
                used[browser] = submitted
            else:
                with pytest.raises(expected):
                    await codes.verify(ADA, submitted, binding=browser)

    valkey_server.flush()
    asyncio.run(play())


@pytest.mark.parametrize("server", ["valkey81", "redis70", "cluster"])
async def test_26_the_same_on_every_kind_of_server(request: pytest.FixtureRequest, server: str) -> None:
    chosen = request.getfixturevalue(server)
    if server != "cluster":
        chosen.flush()
    async with open_tier(chosen.url) as tier:
        short, long = one_time(tier, max_failures=2, cooldown="1m"), tokens(tier)
        subjects = [f"user:{number}" for number in range(20)]
        for subject in subjects:
            code = await short.issue(subject, binding="browser", address="203.0.113.9")
            for expected in (InvalidCodeError, InvalidCodeError, TooManyFailuresError):
                with pytest.raises(expected):
                    await short.verify(subject, wrong(code), binding="browser")
            token = await long.issue(subject)
            taken = await asyncio.gather(*(long.redeem(token) for _ in range(20)), return_exceptions=True)
            assert [answer for answer in taken if isinstance(answer, str)] == [subject]


class Beside:
    """States in this process, decided upon by the rules."""

    def __init__(self) -> None:
        self.state: rules.State = {}

    def now(self) -> int:
        return int(time.time() * 1000)


field = st.sampled_from(["a", "b", "c"])
lane = st.sampled_from(["", "1"])
calls = st.lists(
    st.one_of(
        st.tuples(
            st.just("issue"),
            st.fixed_dictionaries(
                {
                    "lane": lane,
                    "cooldown_ms": st.sampled_from([0, 10**6]),
                    "field": st.sampled_from(["", "a", "b", "c"]),
                    "data": st.sampled_from([":ada", "ff:ada:lovelace", "ff:"]),
                    "ttl_ms": st.sampled_from([10**6, 2 * 10**6, 3 * 10**6]),
                    "tries": st.integers(1, 3),
                    "most": st.integers(1, 3),
                }
            ),
        ),
        st.tuples(
            st.just("verify"),
            st.fixed_dictionaries(
                {
                    "field": field,
                    "mac": st.sampled_from([":ada", "ff:", "z"]),
                    "lane": lane,
                    "most_failures": st.integers(1, 4),
                    "window_ms": st.just(10**6),
                }
            ),
        ),
        st.tuples(
            st.just("redeem"),
            st.fixed_dictionaries(
                {"field": field, "bound": st.sampled_from(["", "ff"]), "keep": st.booleans()}
            ),
        ),
        st.tuples(st.just("revoke"), st.just({})),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(calls=calls)
def test_26_the_rules_decide_as_the_scripts_do(
    valkey_server: EmbeddedValkey, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    async def play() -> None:
        async with open_tier(valkey_server.url) as tier:
            store, beside = ValkeyStore(tier.valkey, "valtier", "test"), Beside()
            for number, (name, given_options) in enumerate(calls):
                options = dict(given_options)
                if (
                    name == "issue"
                ):  # no two codes end in the same millisecond: which goes first would be chance
                    options["ttl_ms"] += 10_000 * number
                there = await getattr(store, name)("subject", **options)
                timed = () if name == "revoke" else (beside.now(),)
                here = getattr(rules, name)(beside.state, *timed, **options)
                assert about(here) == about(there), (name, options)

    valkey_server.flush()
    asyncio.run(play())


def about(outcome: Any) -> Any:
    """Returns an outcome without the seconds that have passed between the two."""
    if isinstance(outcome, tuple):
        return tuple(map(about, outcome))
    return "later" if isinstance(outcome, int) and outcome > 1000 else outcome


def test_a_state_ends_with_the_last_of_what_it_says() -> None:
    state: rules.State = {}
    assert rules.ends_at(state) == 0
    assert rules.issue(state, 1000, lane="", cooldown_ms=500, field="a", data="x", ttl_ms=300) == 0
    assert rules.ends_at(state) == 1500
    assert rules.verify(state, 1000, "a", "y", lane="", most_failures=9, window_ms=7000) == (0, 0)
    assert rules.ends_at(state) == 8000
    assert rules.verify(state, 8000, "a", "y", lane="", most_failures=1, window_ms=7000) == (0, 0)
