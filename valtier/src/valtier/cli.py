"""The command line: `valtier ping`, `purge`, `doctor`, `top`, `tune`. Where Valkey is, the environment says, or `--url`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from valtier import doctor
from valtier.doctor.show import show
from valtier.durations import seconds
from valtier.errors import ConfigurationError
from valtier.http import ResponseCache
from valtier.settings import Settings
from valtier.tier import Tier
from valtier.top.command import top
from valtier.tuning import command as tuning
from valtier.wire import WireOptions, parse_url

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Returns the exit status: 0, 1 if Valkey can't do it now, 2 if it was called wrongly."""
    given = _parser().parse_args(arguments)
    if given.command == "tune":
        given.url = given.address or given.url
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(message)s")
    try:
        if given.command == "tune" and given.trace is not None:
            return tuning.tune_trace(given, print)
        return asyncio.run(_run(given, _settings(given)))
    except ConfigurationError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - a command line
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED


def _settings(given: argparse.Namespace) -> Settings:
    settings = Settings.from_env(os.environ)
    if not settings.use_redis:
        raise ConfigurationError("USE_REDIS is false: there is no Valkey to talk to")
    url = getattr(given, "where", None) or given.url or settings.url
    return replace(settings, url=url, prefix=given.prefix or settings.prefix)


def _given_prefix(given: argparse.Namespace) -> str | None:
    """Returns the prefix, if somebody said it: else it is looked for."""
    return given.prefix or os.environ.get("VALTIER_PREFIX") or None


async def _run(given: argparse.Namespace, settings: Settings) -> int:
    if given.command == "doctor":
        return await _doctor(given, settings)
    if given.command == "top":
        return await _top(given, settings)
    async with Tier(settings, local_bytes=0, vitals_every=0) as tier:
        if given.command == "ping":
            return await _ping(tier)
        if given.command == "tune":
            return await tuning.tune(tier.valkey, settings.prefix, given, print)
        return await _purge(tier, given)


async def _ping(tier: Tier) -> int:
    report = (await tier.health())["cache"]
    shown = {name: report[name] for name in ("connected", "status", "server", "latency_ms") if name in report}
    print(json.dumps(shown))  # noqa: T201
    return OK if report["connected"] else FAILED


async def _doctor(given: argparse.Namespace, settings: Settings) -> int:
    address, options = parse_url(settings.url)
    report = await doctor.examine(
        address,
        WireOptions(**options),
        prefix=_given_prefix(given),
        features=given.features or doctor.FEATURES,
        read_only=given.read_only,
    )
    if given.json:
        print(json.dumps(report.as_dict()))  # noqa: T201
    else:
        show(report)
    return OK if report.healthy else FAILED


async def _top(given: argparse.Namespace, settings: Settings) -> int:
    address, options = parse_url(settings.url)
    answered = await top(
        address,
        WireOptions(**options),
        prefix=_given_prefix(given),
        every_s=seconds(given.every, name="--every"),
        once=given.once,
        as_json=given.json,
        big=given.big,
    )
    return OK if answered else FAILED


async def _purge(tier: Tier, given: argparse.Namespace) -> int:
    cache = ResponseCache(_no_app, tier, query_sort=given.query_sort, query_ignore=tuple(given.query_ignore))
    try:
        for uri in given.uri:
            await cache.purge(uri)
        for tag in given.tag:
            await cache.purge(tag=tag)
        for group in given.group:
            origin, separator, name = group.rpartition("#")
            if not separator:
                raise ConfigurationError(f"a group is written origin#name, not {group!r}")
            await cache.purge(group=(origin, name))
    finally:
        await cache.stop()
    if tier.cache.undelivered:
        print("Valkey did not take it: nothing is purged. Try again when it is back", file=sys.stderr)  # noqa: T201
        return FAILED
    return OK


async def _no_app(scope: object, receive: object, send: object) -> None:
    raise RuntimeError("the command line serves nothing")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="valtier", description=__doc__)
    parser.add_argument("--url", help="where Valkey is; without it REDIS_URL or VALKEY_URL says so")
    parser.add_argument("--prefix", help="the first part of every name in Valkey; without it VALTIER_PREFIX")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ping", help="asks Valkey, and prints what it is; fails if it does not answer")
    examine = commands.add_parser(
        "doctor", help="looks at how Valkey is set up, and says what to change; fails if something is wrong"
    )
    examine.add_argument("where", nargs="?", metavar="URL", help="as --url")
    examine.add_argument("--json", action="store_true", help="prints one JSON object")
    examine.add_argument("--read-only", action="store_true", help="writes nothing, not even throw-away keys")
    examine.add_argument(
        "--features",
        type=lambda text: text.split(","),
        metavar="NAME,…",
        help=f"those in use, for the rights that they take; without it all: {','.join(doctor.FEATURES)}",
    )
    watch = commands.add_parser("top", help="shows what a deployment does right now; q quits")
    watch.add_argument("where", nargs="?", metavar="URL", help="as --url")
    watch.add_argument(
        "--every", default="2s", metavar="DURATION", help="how often it looks; 2s if not given"
    )
    watch.add_argument("--once", action="store_true", help="prints one frame, after one interval, and ends")
    watch.add_argument("--json", action="store_true", help="likewise, as one JSON object")
    watch.add_argument("--big", action="store_true", help="looks for big keys too, some at a time")
    tuning.add_arguments(commands.add_parser("tune", help="tells which TTL each namespace should have"))
    purge = commands.add_parser("purge", help="invalidates responses by URI, tag or group")
    purge.add_argument("uri", nargs="*", help="absolute URIs: each variant, for all users")
    purge.add_argument("--tag", action="append", default=[])
    purge.add_argument("--group", action="append", default=[], metavar="ORIGIN#NAME")
    purge.add_argument("--query-sort", action="store_true", help="as the application's ResponseCache has it")
    purge.add_argument("--query-ignore", action="append", default=[], metavar="NAME", help="likewise")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
