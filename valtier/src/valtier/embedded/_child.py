"""ChildProcess: a server that runs as our child, in the foreground, and does not outlive us."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from valtier.embedded import _privileges
from valtier.embedded._privileges import Account

_ROTATE_BYTES = 10_000_000
_TAIL_BYTES = 16_000

# The kernel ties the parent-death signal to the *thread* that forked: a child of a pool's worker would be ended
# with that worker. So one thread, which lives as long as the interpreter, starts all of them.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="valtier-spawner")


def _new_spawner() -> None:
    global _spawner  # noqa: PLW0603 - threads do not survive a fork
    _spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="valtier-spawner")


os.register_at_fork(after_in_child=_new_spawner)


def _spawn(command: list[str], output: int | None, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the caller's own command
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
        umask=0o077,  # data and logs are nobody else's
        **options,
    )


def _open_log(path: Path) -> int:
    if path.exists() and path.stat().st_size > _ROTATE_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


class ChildProcess:
    """A running process in a session of its own, so that a terminal's Ctrl-C reaches only us.

    Its output is appended to `log` (mode 0600), or goes where ours goes if that is `None`. If we die, even of SIGKILL, the kernel sends it `death_signal`
    (on Linux; elsewhere it only ends with `end`).
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path | None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        account: Account | None = None,
        death_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.log = log
        command = _privileges.wrap(list(argv), account, death_signal)
        options: dict[str, Any] = dict(_privileges.popen_options(account))
        output = _open_log(log) if log is not None else None
        try:
            self.log_start = os.lseek(output, 0, os.SEEK_END) if output is not None else 0
            self._process = _spawner.submit(_spawn, command, output, env=env, cwd=cwd, **options).result()
        finally:
            if output is not None:
                os.close(output)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; `None` while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> bool:
        """Waits for its end; False if it still runs after `timeout_s`."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens if it has ended."""
        self._process.send_signal(number)

    def end(self, *steps: tuple[signal.Signals, float]) -> None:
        """Sends each signal and waits so many seconds, until it has ended; SIGKILL to its whole group is last."""
        for number, timeout_s in steps:
            self.send(number)
            if self.wait(timeout_s):
                break
        self.kill()

    def kill(self) -> None:
        """Sends SIGKILL to it and to whatever is left of its group, and waits."""
        self.kill_group()
        self._process.wait()

    def kill_group(self) -> None:
        """Sends SIGKILL to its group without waiting; may be called from a signal handler."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter: macOS, of zombies
            os.killpg(self.pid, signal.SIGKILL)

    def tail(self, lines: int = 20) -> str:
        """Returns the last lines that this process has logged."""
        if self.log is None:
            return ""
        with self.log.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(min(self.log_start, end), end - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])
