"""`valtier tune`: which TTL each namespace should have."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from valtier.cache.overrides import fetch_overrides, remove_overrides, write_override
from valtier.errors import ConfigurationError, ValkeyError
from valtier.tuning import replay, report
from valtier.tuning.model import TTLS_S, Target, hit_rate, picture_of, staleness
from valtier.tuning.published import fetch_reports, merge
from valtier.wire import Valkey

Say = Callable[[str], None]
_SIZES = tuple(2**power for power in range(16, 36, 2))  # 64 KiB to 16 GiB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("address", nargs="?", metavar="URL", help="where Valkey is, as --url")
    parser.add_argument(
        "--namespace", action="append", default=[], help="of these only; as often as you like"
    )
    wish = parser.add_mutually_exclusive_group()
    wish.add_argument("--staleness", type=float, metavar="PERCENT", help="at most so many reads outdated (1)")
    wish.add_argument("--hit-rate", type=float, metavar="PERCENT", help="at least so many reads hit")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the curves (needs matplotlib)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    deed = parser.add_mutually_exclusive_group()
    deed.add_argument(
        "--apply", action="store_true", help="set what was chosen; running processes obey within 30 s"
    )
    deed.add_argument("--reset", action="store_true", help="take back what was set, of --namespace or all")
    deed.add_argument("--trace", type=Path, metavar="FILE", help="replay a recorded trace; needs no Valkey")
    parser.add_argument(
        "--sample", type=float, metavar="SHARE", help="of a trace, play this share of the keys"
    )


def target_of(given: argparse.Namespace) -> Target:
    """Returns what TTLs are chosen for.

    Raises:
        ConfigurationError: it is no share.
    """
    name, percent = (
        ("hit rate", given.hit_rate) if given.hit_rate is not None else ("staleness", given.staleness)
    )
    percent = 1.0 if percent is None else percent
    if not 0 < percent < 100:
        raise ConfigurationError(f"the {name} is a number of percent between 0 and 100, not {percent:g}")
    return Target("hit rate" if name == "hit rate" else "staleness", percent / 100)


async def tune(valkey: Valkey, prefix: str, given: argparse.Namespace, say: Say) -> int:
    """Runs the command on what a fleet has told Valkey. Returns the exit status: 1 if Valkey can't do it, or knows nothing.

    Raises:
        ConfigurationError: it was called wrongly.
    """
    target = target_of(given)
    try:
        if given.reset:
            count = await remove_overrides(valkey, prefix, *given.namespace)
            say(f"{count} overrides were removed")
            return 0
        seen = merge(await fetch_reports(valkey, prefix))
        overrides = await fetch_overrides(valkey, prefix)
        advices = [
            report.advise(name, picture_of(observed), target, overrides.get(name))
            for name, observed in sorted(seen.items())
            if not given.namespace or name in given.namespace
        ]
        if not advices:
            say(
                f"No process has told anything yet under the prefix {prefix!r}: they do after 30 s, and at their end"
            )
            return 1
        if given.json:
            say(msgspec.json.encode([_plain(advice) for advice in advices]).decode())
        else:
            for advice in advices:
                say("\n".join(report.lines(advice)) + "\n")
        if given.plot is not None:
            _plot(given.plot, advices)
        if given.apply:
            await _apply(valkey, prefix, advices, (lambda _: None) if given.json else say)
    except ValkeyError as exc:
        say(f"Valkey can't be asked: {exc}")
        return 1
    return 0


async def _apply(valkey: Valkey, prefix: str, advices: Sequence[report.Advice], say: Say) -> None:
    for advice in advices:
        if advice.chosen_s is not None and advice.chosen_s != advice.now_s:
            await write_override(valkey, prefix, advice.space, advice.chosen_s)
            say(f"{advice.space}: {report.duration(advice.now_s)} → {report.duration(advice.chosen_s)}")


def _plain(advice: report.Advice) -> dict[str, object]:
    seen = advice.picture
    return {
        "namespace": advice.space,
        "ttl_s": seen.ttl_s,
        "override_s": advice.override_s,
        "chosen_s": advice.chosen_s,
        "changes_per_s": seen.change_rate,
        "losses_per_s": seen.loss_rate,
        "compared_loads": seen.compared,
        "load_s": seen.load_s,
        "age_p50_s": seen.ages.quantile(0.5),
        "curve": [
            {"ttl_s": ttl_s, "hit_rate": hit_rate(seen, ttl_s), "stale_reads": staleness(seen, ttl_s)}
            for ttl_s in report.ttls_for(advice)
        ],
    }


def _plot(path: Path, advices: Sequence[report.Advice]) -> None:
    ttls = [2 ** (step / 4) for step in range(78)]
    panels = {
        advice.space: {
            "hit rate": (ttls, [hit_rate(advice.picture, ttl_s) for ttl_s in ttls]),
            "outdated reads": (ttls, [staleness(advice.picture, ttl_s) for ttl_s in ttls]),
        }
        for advice in advices
    }
    report.plot(path, panels, "TTL in seconds")


def tune_trace(given: argparse.Namespace, say: Say) -> int:
    """Runs the command on a recorded trace. Returns the exit status: 1 if there are no reads in it.

    Raises:
        ConfigurationError: it can't be read.
    """
    try:
        reads = replay.parse_trace(given.trace)
    except OSError as exc:
        raise ConfigurationError(f"the trace can't be read: {exc}") from exc
    if given.namespace:
        reads = [read for read in reads if read.space in given.namespace]
    if not reads:
        say("There are no reads in the trace")
        return 1
    sampled = replay.sample(reads, given.sample)
    all_bytes = replay.working_set(sampled)
    sizes = [size for size in _SIZES if size < 4 * all_bytes] or [_SIZES[0]]
    own, lru = replay.own_hit_rates(sampled, sizes), replay.lru_hit_rates(sampled, sizes)
    spaces: dict[str, list[replay.Read]] = {}
    for read in sampled.reads:
        spaces.setdefault(read.space, []).append(read)
    span_s = reads[-1].at - reads[0].at
    ttls = [float(ttl_s) for ttl_s in TTLS_S if ttl_s <= max(2 * span_s, 1)]
    by_ttl = {name: replay.ttl_hit_rates(found, ttls) for name, found in sorted(spaces.items())}
    if given.json:
        curves = {"bytes": sizes, "own": own, "lru": lru, "ttls_s": ttls, "by_ttl": by_ttl}
        say(msgspec.json.encode({"reads": len(reads), "share": sampled.share, **curves}).decode())
    else:
        say(
            f"{len(reads):,} reads in {report.duration(span_s)}; all keys take {report.size(all_bytes)}. Played: "
            f"{report.percent(sampled.share)} of the keys\n"
        )
        rows = {report.size(size): rates for size, *rates in zip(sizes, own, lru, strict=True)}
        say("\n".join(report.table("Hit rate by memory", ("valtier's own", "LRU"), rows)) + "\n")
        for name, rates in by_ttl.items():
            shown = {report.duration(ttl_s): [rate] for ttl_s, rate in zip(ttls, rates, strict=True)}
            say("\n".join(report.table(f"{name}: hit rate by TTL", ("hit rate",), shown)) + "\n")
    if given.plot is not None:
        megabytes = [size / 2**20 for size in sizes]
        panels = {"all": {"valtier's own": (megabytes, own), "LRU": (megabytes, lru)}}
        report.plot(given.plot, panels, "MiB")
    return 0
