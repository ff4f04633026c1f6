"""As whom a child runs, and how it is told that we are gone.

PostgreSQL refuses to run as root, so a process that is root starts it as another user. Linux's `setpriv` does
that, and also sets the parent-death signal: whatever ends us, SIGKILL included, ends our children.
"""

import functools
import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Account:
    """The user as which a child of root runs."""

    uid: int
    gid: int
    ignores_modes: bool = False
    """It keeps the capability to pass directories that are closed to it, such as /root."""


def nobody() -> Account:
    """Returns the user that owns nothing."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(_NOBODY, _NOBODY)
    return Account(entry.pw_uid, entry.pw_gid)


def can_read(account: Account, *paths: Path) -> bool:
    """Tells whether the account reaches all these paths, by trying it."""
    script = 'for path; do [ -r "$path" ] || exit 1; done'
    tried = subprocess.run(  # noqa: S603 - a constant script
        ["/bin/sh", "-c", script, "sh", *map(str, paths)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        check=False,
    )
    return tried.returncode == 0


@functools.cache
def setpriv() -> str | None:
    """Returns the path of a `setpriv` that knows the parent-death signal, if there is one."""
    path = shutil.which("setpriv")
    if path is None:
        return None
    usage = subprocess.run([path, "--help"], capture_output=True, check=False)  # noqa: S603 - the system's own
    return path if b"--pdeathsig" in usage.stdout else None


def wrap(argv: list[str], account: Account | None, death_signal: signal.Signals | None) -> list[str]:
    """Returns the command that runs `argv` as the account and under the parent-death signal.

    Without `setpriv` it is `argv` itself: then `popen_options` change the user, and nothing but our own stop
    ends the child.
    """
    program = setpriv()
    options: list[str] = []
    if account is not None:
        options += [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
        if account.ignores_modes:
            options += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    if death_signal is not None:
        options += ["--pdeathsig", death_signal.name.removeprefix("SIG")]
    return [program, *options, "--", *argv] if program and options else argv


def popen_options(account: Account | None) -> dict[str, int | list[int]]:
    """Returns what `subprocess` needs to change the user where there is no `setpriv`."""
    if account is None or setpriv() is not None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def is_root() -> bool:
    return os.geteuid() == 0


def has_name() -> bool:
    """Tells whether the user that we run as is listed on this machine; in containers not all are."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True
