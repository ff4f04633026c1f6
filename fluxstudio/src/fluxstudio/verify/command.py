"""What `fluxstudio verify` prints, and how often it looks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import msgspec
from rich.console import Console
from rich.text import Text

from fluxstudio.verify.findings import Finding, Mark
from fluxstudio.verify.options import Options
from fluxstudio.verify.run import verify

_SIGNS = {Mark.PASSED: ("✓", "green"), Mark.FAILED: ("✗", "red bold"), Mark.SKIPPED: ("–", "dim")}


def run(
    options: Options,
    *,
    as_json: bool = False,
    watch: bool = False,
    every_s: float = 5.0,
    patience_s: float = 600.0,
    console: Console | None = None,
) -> int:
    """Verifies, until all is well if it watches. Returns the exit code: 0 if nothing failed."""
    console = console or Console(highlight=False, soft_wrap=True)
    deadline = time.monotonic() + patience_s
    while True:
        findings = asyncio.run(verify(options))
        good = all(finding.mark is not Mark.FAILED for finding in findings)
        if good or not watch or time.monotonic() + every_s > deadline:
            break
        if not as_json:
            failed = [finding.name for finding in findings if finding.mark is Mark.FAILED]
            console.print(Text(f"… not yet: {', '.join(failed)}", style="dim"))
        time.sleep(every_s)
    if as_json:
        console.out(_json(options, findings, good=good), highlight=False)
    else:
        _show(console, options, findings, good=good)
    return 0 if good else 1


def _json(options: Options, findings: list[Finding], *, good: bool) -> str:
    told = {"url": options.base, "ok": good, "findings": findings}
    return msgspec.json.format(msgspec.json.encode(told)).decode()


def _show(console: Console, options: Options, findings: list[Finding], *, good: bool) -> None:
    console.print(Text(options.base, style="bold"))
    for finding in findings:
        sign, style = _SIGNS[finding.mark]
        console.print(Text.assemble((f"  {sign} ", style), finding.name, "  ", (finding.detail, "dim")))
        if finding.advice:
            console.print(Text(f"      {finding.advice}"))
    count = Counter(finding.mark for finding in findings)
    ending = "all is well" if good else f"{count[Mark.FAILED]} failed"
    console.print(
        Text.assemble(
            (f"  {ending}", "bold green" if good else "bold red"),
            f": {count[Mark.PASSED]} passed, {count[Mark.SKIPPED]} skipped",
        )
    )
