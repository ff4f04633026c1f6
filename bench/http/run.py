"""A run: the subjects take turns; one server at a time, and the load generator beside it."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from bench.common.processes import play
from bench.common.report import circumstances
from bench.common.turns import Tell, rotated
from bench.http import options as o
from bench.http import signed_in
from bench.http.measures import Job, Sample, Seen
from bench.http.results import Cell, Report, judge
from bench.http.serving import serve
from valtier.embedded import EmbeddedValkey


def run(options: o.Options, say: Tell) -> Report:
    """Measures everything and returns the report. Raises BenchError when something can't be measured at all."""
    began = time.monotonic()
    samples: dict[tuple[str, int], list[Sample]] = {}
    notes: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="valtier-bench-") as folder,
        EmbeddedValkey(Path(folder), settings={"save": ""}, password="") as valkey,
    ):
        for repeat in range(options.repeats):
            for size in options.sizes:
                for subject in rotated(options.subjects, repeat):
                    if subject in notes:
                        continue
                    valkey.flush()
                    try:
                        sample = _measure(subject, size, valkey.url, options)
                    except (o.BenchError, subprocess.SubprocessError) as exc:
                        notes[subject] = str(exc)
                        say(f"{subject}: {exc}")
                        continue
                    samples.setdefault((subject, size), []).append(sample)
                    seen = sample.seen
                    say(
                        f"{repeat + 1}/{options.repeats} {size:>6} B  {subject:<32} {seen.per_s:>9,.0f}/s  "
                        f"p99 {seen.p99_us / 1000:6.2f} ms  {sample.cpu_us:6.1f} µs  errors {seen.errors}"
                    )
    parameters: dict[str, object] = {
        "connections": options.connections,
        "seconds": options.seconds,
        "repeats": options.repeats,
        "sizes": list(options.sizes),
    }
    cells = [Cell.of(subject, size, found) for (subject, size), found in samples.items()]
    return Report(
        **circumstances(parameters, o.PACKAGES, began),
        cells=cells,
        notes=notes,
        targets=judge(cells, options.sizes[0]),
    )


def _measure(subject: str, size: int, valkey: str, options: o.Options) -> Sample:
    headers = [("accept", "application/json"), ("user-agent", "bench")]
    not_modified = subject == o.NOT_MODIFIED
    if not_modified:
        headers.append(("if-none-match", '"v1"'))
    if subject == o.SIGNED_IN:
        signed_in.check()
    with serve(subject, valkey, size) as server:
        if subject == o.SIGNED_IN:
            headers.append(("cookie", signed_in.sign_in(server.port)))
        job = Job(
            port=server.port,
            path="/item",
            headers=headers,
            connections=options.connections,
            seconds=options.seconds,
            warm_up_s=options.warm_up_s,
            status=304 if not_modified else 200,
            length=0 if not_modified else size,
        )
        before = server.cpu_s()
        seen = _play(job)
        cpu_s = server.cpu_s() - before
    share = options.seconds / (options.seconds + options.warm_up_s)
    if seen.errors:
        raise o.BenchError(f"{seen.errors} wrong answers, the last: {seen.first!r}")
    return Sample(seen=seen, cpu_us=1e6 * cpu_s * share / max(1, seen.requests))


def _play(job: Job) -> Seen:
    deadline_s = job.seconds + job.warm_up_s + 60
    return play("bench.http.loadgen", job, Seen, what="the load", deadline_s=deadline_s)
