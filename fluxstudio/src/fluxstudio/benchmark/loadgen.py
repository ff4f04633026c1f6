"""The load generator: autocannon, installed from this package's lock and driven by `load/driver.mjs`."""

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from fluxstudio.benchmark.options import BenchError

_SOURCE = Path(__file__).parent / "load"
_FILES = ("package.json", "package-lock.json", "driver.mjs")
_NODE_MAJOR = 20
_NEEDS_NODE = (
    f"The bench's load generator needs Node {_NODE_MAJOR} or newer with npm: install it and run again."
)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver is told."""

    url: str
    plan: str
    out: str
    clients: int
    requests_per_client_s: int
    ramp_s: float
    seconds: float
    timeout_s: float
    amount: int = 0
    """Ends after so many requests, not after `seconds`."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver saw. Latencies are of 2xx answers within the window; errors are of the whole load."""

    latencies_us: dict[str, list[int]]
    statuses: dict[str, dict[str, int]]
    timeouts: int
    socket_errors: dict[str, int]
    unanswered: int
    answered: int
    sent: int
    wrapped: int
    window_s: float
    cpu_s: float
    run_s: float

    def errors(self) -> dict[str, int]:
        """Everything that was not a 2xx answer, by what it was: `"POST /x → 500"`, `"timeout"`, …"""
        found = {
            f"{kind} → {status}": count
            for kind, by_status in self.statuses.items()
            for status, count in by_status.items()
            if not status.startswith("2")
        }
        found |= {f"socket: {name}": count for name, count in self.socket_errors.items()}
        found |= {"timeout": self.timeouts, "connection closed without an answer": self.unanswered}
        return {name: count for name, count in found.items() if count}


class Progress(msgspec.Struct, frozen=True):
    """One line of the driver's, each second."""

    at_s: float
    sent: int
    answered: int


class LoadGenerator:
    """An installed driver. `play` runs one load and returns what it saw."""

    def __init__(self, folder: Path, node: str) -> None:
        self._folder = folder
        self._node = node

    def play(self, job: Job, *, on_progress: Callable[[Progress], None] = lambda _: None) -> Observed:
        """Plays one load to its end. Raises BenchError when the driver fails."""
        job_file = Path(job.out).with_suffix(".job.json")
        job_file.write_bytes(msgspec.json.encode(job))
        errors_file = Path(job.out).with_suffix(".stderr")
        command = [self._node, "--max-old-space-size=4096", str(self._folder / "driver.mjs"), str(job_file)]
        with errors_file.open("wb") as errors, _running(command, errors.fileno()) as driver:
            if driver.stdout is not None:
                for line in driver.stdout:
                    on_progress(msgspec.json.decode(line, type=Progress))
            status = driver.wait(timeout=30)
        if status != 0:
            raise BenchError(f"The load generator failed (exit {status}):\n{_tail(errors_file)}")
        return msgspec.json.decode(Path(job.out).read_bytes(), type=Observed)


@contextlib.contextmanager
def _running(command: list[str], stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process, ended in any case when the block is left."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL)  # noqa: S603
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def install(cache_dir: Path) -> LoadGenerator:
    """Installs the driver and its locked dependencies once, into a folder named by what is in them."""
    node, npm = _find_node()
    content = b"".join((_SOURCE / name).read_bytes() for name in _FILES)
    folder = cache_dir / f"load-{hashlib.sha256(content).hexdigest()[:12]}"
    installed = folder / "node_modules" / ".package-lock.json"  # npm writes it last
    if not installed.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            shutil.copyfile(_SOURCE / name, folder / name)
        _npm_ci(npm, folder)
    return LoadGenerator(folder, node)


def _find_node() -> tuple[str, str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise BenchError(_NEEDS_NODE)
    version = node_version(node)
    if int(version.lstrip("v").split(".")[0]) < _NODE_MAJOR:
        raise BenchError(f"{_NEEDS_NODE} Found {version}.")
    return node, npm


def node_version(node: str = "node") -> str:
    """Node's version, as `v20.1.0`."""
    return subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


def autocannon_version() -> str:
    """The version that the lock holds."""
    lock = msgspec.json.decode((_SOURCE / "package-lock.json").read_bytes())
    return str(lock["packages"]["node_modules/autocannon"]["version"])


def _npm_ci(npm: str, folder: Path) -> None:
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise BenchError(
            f"npm could not install the load generator (exit {done.returncode}):\n{done.stderr.strip()}"
        )


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
