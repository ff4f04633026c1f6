"""Codes under races: hundreds of submissions at once from several processes, and any order of steps against a model."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from codes_kit import one_time, open_tier, states, tokens, wrong
from hypothesis import given, settings
from hypothesis import strategies as st

from valtier.codes import CodeError, InvalidCodeError, OneTimeCodes, TooManyFailuresError
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
