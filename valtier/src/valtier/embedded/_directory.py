"""A server's data directory: its lock, its password, and what an earlier run has left in it."""

import fcntl
import os
import secrets
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from valtier.embedded._errors import EmbeddedServerError


class DirectoryLock:
    """An exclusive lock on a directory that ends with the process that holds it, however it ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._fd: int | None = None  # set while it is held

    def acquire(self) -> bool:
        """Takes the lock; False if another holds it."""
        if self._fd is not None:
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def make_directory(path: Path) -> Path:
    """Makes the directory where it is missing, and returns its absolute path."""
    path = path.expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as exc:
        raise EmbeddedServerError(
            f"{path} is no directory that this user can write to ({exc.strerror}); choose another data directory"
        ) from exc
    return path


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(fd, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(fd)
    Path(name).replace(path)


def read_password(path: Path) -> str | None:
    """Returns the password kept in this file, or `None` if there is none."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None


def new_password(path: Path) -> str:
    """Makes a password of 192 bits and keeps it in this file."""
    password = secrets.token_urlsafe(24)
    write_private(path, password + "\n")
    return password


def end_leftover(pid_file: Path, *, mark: str, stop_signal: signal.Signals, deadline_s: float) -> None:
    """Ends the server that an earlier, killed run has left behind, if it still runs. Hold the lock.

    The first line of `pid_file` names it. A number that belongs to another process by now (its command line does
    not hold `mark`) makes the file stale, and it is removed. A number that nobody has is left to the server: from
    the rest of its file PostgreSQL sees whether its own children still run.
    """
    try:
        pid = int(pid_file.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        pid_file.unlink(missing_ok=True)
        return
    command = command_line(pid)
    if not command:
        return
    if mark not in command:
        pid_file.unlink(missing_ok=True)
        return
    _signal(pid, signal.SIGCONT)
    for number, patience_s in ((stop_signal, deadline_s), (signal.SIGKILL, 10.0)):
        _signal(pid, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if mark not in command_line(pid):
                return
            time.sleep(0.02)
    raise EmbeddedServerError(f"process {pid} of an earlier run does not end; end it and try again")


def command_line(pid: int) -> str:
    """Returns the command line of a process; empty if there is no such process, or it is a zombie."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - a constant and a number
    return shown.stdout.decode(errors="replace")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as exc:
        raise EmbeddedServerError(
            f"process {pid} of another user still serves this data directory; end it, or choose another directory"
        ) from exc
