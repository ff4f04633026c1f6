"""One run: a PostgreSQL, a Valkey, and the subjects in turn."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import uvloop

from bench.common.report import circumstances
from bench.common.turns import Tell
from bench.staleness.checker import Allowance, check
from bench.staleness.evidence import tell as tell_violations
from bench.staleness.history import histories
from bench.staleness.keys import make_keys
from bench.staleness.options import Options
from bench.staleness.peers import SUBJECTS
from bench.staleness.results import Outcome, Report
from bench.staleness.supervisor import Supervisor
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey
from valtier.testing import POSTGRES_SETTINGS, VALKEY_SETTINGS


def run(options: Options, tell: Tell) -> Report:
    """Puts each subject to the test. Raises BenchError when it can't."""
    options.checked()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="staleness-") as folder:
        root = Path(folder)
        root.chmod(0o755)  # PostgreSQL may run as another user
        with (
            EmbeddedPostgres(root / "postgres", settings=POSTGRES_SETTINGS) as postgres,
            EmbeddedValkey(root / "valkey", settings=VALKEY_SETTINGS) as valkey,
        ):
            outcomes = [
                _put_to_the_test(name, options, root, postgres, valkey, tell) for name in options.subjects
            ]
    packages = dict.fromkeys(package for name in options.subjects for package in SUBJECTS[name].packages)
    return Report(
        **circumstances(asdict(options) | {"out": str(options.out)}, packages, start),
        outcomes=outcomes,
    )


def _put_to_the_test(
    name: str, options: Options, root: Path, postgres: EmbeddedPostgres, valkey: EmbeddedValkey, tell: Tell
) -> Outcome:
    folder = root / name
    folder.mkdir()
    supervisor = Supervisor(name, options, folder, postgres, valkey, tell)
    found = uvloop.run(supervisor.supervise(options.operations_of(name), options.seconds_of(name)))
    tell(f"{name}: checking")
    keys = make_keys(options.keys, options.tags)
    past = histories(folder)
    verdict = check(
        past,
        found.current,
        local=[key.number for key in keys if key.local and SUBJECTS[name].local],
        harms=found.harms,
        places=options.processes,
        allowance=Allowance(local=options.local_lag_ms * 1_000_000, harmed=options.harmed_lag_ms * 1_000_000),
    )
    examples = tell_violations(verdict.examples, past, keys, found.harms, options.processes)
    return Outcome.of(name, SUBJECTS[name].how, found, verdict, examples)
