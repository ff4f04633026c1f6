"""`python -m fluxstudio.testing_boards`: the ordeal, for as long as one likes."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from fluxstudio.db import migrate
from fluxstudio.testing_boards.ordeal import ALL, ordeal
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fluxstudio.testing_boards", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to harm (5)")
    parser.add_argument("--editors", type=int, default=20)
    parser.add_argument("--official", type=int, default=6, help="editors with the official client, in Node")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--fault", action="append", choices=ALL, help="these, once, instead of any")
    given = parser.parse_args()
    say = sys.stdout.write
    say(f"seed {given.seed}\n")
    begin = time.monotonic()

    def tell(what: str) -> None:
        say(f"{time.monotonic() - begin:6.1f} s  {what}\n")
        sys.stdout.flush()

    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as postgres,
        EmbeddedValkey(Path(folder) / "valkey", settings={"save": ""}) as valkey,
    ):
        migrate.upgrade(postgres.url)
        outcome = asyncio.run(
            ordeal(
                postgres.url,
                valkey,
                editors=given.editors,
                official=given.official,
                workers=given.workers,
                faults=given.fault,
                for_s=given.minutes * 60,
                seed=given.seed,
                tell=tell,
            )
        )
    tell(
        f"all {given.editors} boards are the database's: {outcome.edits} edits and {outcome.messages} messages were "
        f"acknowledged, none is lost; {len(outcome.faults)} faults; official clients recovered {outcome.recovered} times"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
