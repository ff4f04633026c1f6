"""A process that submits one code many times at the same moment as its siblings: see test_codes_races.

Arguments: Valkey's URL, `short` or `long`, what to submit, and how often. It prints `ready`, waits for a line, submits,
and prints how many submissions were accepted, invalid and refused.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from codes_kit import one_time, open_tier, tokens

from valtier.codes import CodeError

RIGHT = "ada@example.org"


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def main(url: str, kind: str, given: str, times: int) -> None:
    async with open_tier(url, deadline=20) as tier:
        short, long = one_time(tier), tokens(tier)
        say("ready")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

        async def submit() -> str:
            try:
                if kind == "short":
                    await short.verify(RIGHT, given, binding="browser")
                else:
                    await long.redeem(given)
            except CodeError as exc:
                return type(exc).__name__
            return "accepted"

        outcomes = Counter(await asyncio.gather(*(submit() for _ in range(times))))
        say(*(str(outcomes[name]) for name in ("accepted", "InvalidCodeError", "TooManyFailuresError")))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
