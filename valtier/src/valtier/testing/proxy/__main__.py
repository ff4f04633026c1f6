"""`python -m valtier.testing.proxy --origin URL --port P`: a caching reverse proxy for tests and trials."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from valtier.errors import ConfigurationError
from valtier.testing.proxy.caching import CachingProxy
from valtier.testing.proxy.clock import CLOCK_PATH, SettableClock
from valtier.tier import Tier


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the proxy until it is told to stop. Returns the exit status."""
    given = _parser().parse_args(arguments)
    with contextlib.ExitStack() as stack:
        url = given.valkey
        if url is None:
            from valtier.embedded import EmbeddedValkey

            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="valtier-proxy-"))
            url = stack.enter_context(EmbeddedValkey(Path(folder), settings={"save": ""})).url
        try:
            asyncio.run(_serve(given, url))
        except ConfigurationError as exc:
            print(exc, file=sys.stderr)  # noqa: T201 - a command line
            return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m valtier.testing.proxy", description=__doc__)
    parser.add_argument("--origin", required=True, help="where responses come from: http://host:port")
    parser.add_argument(
        "--port", type=int, default=0, help="where to listen on 127.0.0.1; 0 for any free port"
    )
    parser.add_argument("--valkey", help="redis://…; without it a Valkey is started for as long as this runs")
    parser.add_argument("--prefix", default="valtier", help="the first part of every name in Valkey")
    parser.add_argument("--identity-field", help="the request field that names who asks; only for tests")
    parser.add_argument("--query-ignore", action="append", default=[], metavar="NAME", help="such as utm_*")
    parser.add_argument(
        "--test-clock",
        action="store_true",
        help=f"the cache's time is what was last PUT to {CLOCK_PATH} (Unix seconds)",
    )
    return parser


async def _serve(given: argparse.Namespace, url: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    options: dict[str, Any] = {"query_ignore": tuple(given.query_ignore)}
    clock = SettableClock() if given.test_clock else None
    if clock is not None:
        options["clock"] = clock.clock
    if given.identity_field:
        options["identity_field"] = given.identity_field
    async with (
        Tier.from_url(url, prefix=given.prefix) as tier,
        CachingProxy(given.origin, tier, port=given.port, around=clock, **options) as proxy,
    ):
        print(proxy.url, flush=True)  # noqa: T201 - for whoever has started it
        await stop.wait()


if __name__ == "__main__":
    raise SystemExit(main())
