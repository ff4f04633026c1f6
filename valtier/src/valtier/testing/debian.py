"""Redis, and other programs of tests, from Debian's packages: installed where they are missing and that may be done."""

import os
import shutil
import subprocess
from pathlib import Path

from valtier.embedded import EmbeddedServerError

# Debian keeps the server's program in redis-tools: redis-server is a link to redis-check-rdb, and the package of that
# name only adds the link and a system service. That service is what a test must not leave behind, so the link is ours.
_PACKAGE = "redis-tools"
_PROGRAM = "redis-check-rdb"
_APT_DEADLINE_S = 300.0


def find_redis(links: Path) -> Path | None:
    """Returns the Redis server of this machine, by a link in the directory `links` if need be; `None` if it has none."""
    path = shutil.which("redis-server")
    if path is not None:
        return Path(path)
    program = shutil.which(_PROGRAM)
    if program is None:
        return None
    link = links / "redis-server"
    if not link.is_symlink():
        link.symlink_to(program)
    return link


def ensure_redis(links: Path) -> Path:
    """Returns the Redis server of this machine; installs Debian's if there is none.

    Raises:
        EmbeddedServerError: there is none and it cannot be installed; the message says why and what to do.
    """
    found = find_redis(links)
    if found is None:
        _install(_PACKAGE, "Redis 7.0")
        found = find_redis(links)
    if found is None:
        raise EmbeddedServerError(f"{_PACKAGE} is installed, but has no {_PROGRAM}; install redis-server")
    return found


def ensure_program(program: str, package: str) -> Path:
    """Returns a program of this machine; installs Debian's package of it if there is none.

    Raises:
        EmbeddedServerError: there is none and it cannot be installed; the message says why and what to do.
    """
    found = shutil.which(program)
    if found is None:
        _install(package, program)
        found = shutil.which(program)
    if found is None:
        raise EmbeddedServerError(f"{package} is installed, but has no {program}")
    return Path(found)


def _install(package: str, title: str) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        raise EmbeddedServerError(
            f"there is no {title} here, and no apt-get to install it; install {title}, so that it is found"
        )
    if os.geteuid() != 0:
        raise EmbeddedServerError(
            f"there is no {title} here, and only root may install it; run: sudo apt-get install {package}"
        )
    install = ["install", "--yes", "--no-install-recommends", package]
    done = _run(apt, install)
    if done.returncode != 0:  # no list of packages yet, or an old one
        _run(apt, ["update"])
        done = _run(apt, install)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise EmbeddedServerError(
            f"there is no {title} here, and apt-get cannot install {package}: {_without_addresses(last)}"
        )


def _run(apt: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the system's own program, with constants
        [apt, "-o", "DPkg::Lock::Timeout=120", *arguments],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_APT_DEADLINE_S,
        check=False,
    )


def _without_addresses(lines: list[str]) -> str:
    words = (word for line in lines for word in line.split())
    return " ".join("(address)" if "://" in word else word for word in words)
