"""The servers: Granian with one worker for each subject, and nginx in front of the bare one."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.http import options as o
from valtier.embedded import EmbeddedServerError, free_port
from valtier.testing.debian import ensure_program

_ROOT = Path(__file__).parents[2]
_START_S = 30.0


class Server:
    """A running server: its port and its processes."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = process

    def cpu_s(self) -> float:
        """CPU time of the process and its children so far."""
        ticks = sum(_ticks(pid) for pid in _family(self._process.pid))
        return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serve(subject: str, valkey: str, size: int) -> Iterator[Server]:
    """Runs a subject's server while the block runs. Raises BenchError when it does not start."""
    if subject == o.NGINX:
        with serve(o.BARE, valkey, size) as origin, _nginx(origin.port) as server:
            yield server
        return
    port = free_port()
    command = [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--workers", "1"),
        *("--http", "1", "--loop", "uvloop", "--host", "127.0.0.1", "--port", str(port)),
        *("--no-access-log", "--log-level", "warning", "bench.http.subjects:make"),
    ]
    environ = {
        **os.environ,
        "BENCH_SUBJECT": subject,
        "BENCH_VALKEY": valkey,
        "BENCH_SIZE": str(size),
        "PYTHONPATH": str(_ROOT),
    }
    with _running(command, environ, port, subject) as server:
        yield server


@contextlib.contextmanager
def _nginx(origin: int) -> Iterator[Server]:
    binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if binary is None:
        try:
            binary = str(ensure_program("nginx", "nginx"))
        except EmbeddedServerError as exc:
            raise o.BenchError(str(exc)) from exc
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="valtier-nginx-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # started by root, nginx works as somebody else
        config = folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, port=port, origin=origin))
        command = [binary, "-p", name, "-c", str(config), "-e", str(folder / "error.log")]
        with _running(command, dict(os.environ), port, o.NGINX) as server:
            yield server


_NGINX = """
daemon off; worker_processes 1; pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  proxy_temp_path {folder}/proxy; client_body_temp_path {folder}/client;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  proxy_cache_path {folder}/cache keys_zone=all:10m;
  keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_cache all; proxy_cache_lock on; }}
  }}
}}
"""


@contextlib.contextmanager
def _running(command: list[str], environ: dict[str, str], port: int, subject: str) -> Iterator[Server]:
    process = subprocess.Popen(command, cwd=_ROOT, env=environ, stdin=subprocess.DEVNULL)  # noqa: S603
    try:
        _wait(port, process, subject)
        yield Server(port, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], subject: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise o.BenchError(f"the server of {subject!r} did not start")


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])
