"""Writes the parts of requirements.lock that an image needs: deploy/requirements.lock to run, deploy/build.lock to build.

`--check` only tells whether they are up to date; `--list NAME[EXTRA]` prints what a package needs to run, `--part NAME…`
the part of the lock that these need. What depends on
what is read from the distributions that are installed here, so run it with the project's own Python: `make lock` does.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
PARTS = {
    "deploy/requirements.lock": "fluxstudio[image]",
    "deploy/build.lock": "hatchling",
}
OURS = {"fluxstudio", "valtier"}


def needs(wish: str) -> set[str]:
    """Returns the names of all distributions that one needs to run, itself included."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(wish)]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found.add(name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                wishes = requires(name) or []
            except PackageNotFoundError:  # for another platform or Python than this one
                continue
            for text in wishes:
                more = Requirement(text)
                if more.marker is None or more.marker.evaluate({"extra": extra}):
                    waiting.append(more)
    return found


def part_of_lock(names: set[str]) -> str:
    """Returns the entries of these distributions, with their hashes."""
    entries = re.split(r"\n(?=\S)", LOCK.read_text().strip())
    kept = [entry for entry in entries if canonicalize_name(re.split(r"[=\[ ;]", entry)[0]) in names]
    missing = names - OURS - {canonicalize_name(re.split(r"[=\[ ;]", entry)[0]) for entry in kept}
    if missing:
        sys.exit(f"requirements.lock has no {', '.join(sorted(missing))}; add it to requirements.in")
    return "\n".join(kept) + "\n"


def main() -> int:
    if sys.argv[1:2] == ["--list"]:
        print("\n".join(sorted(needs(sys.argv[2]))))  # noqa: T201 - a command line
        return 0
    if sys.argv[1:2] == ["--part"]:
        print(part_of_lock(set().union(*map(needs, sys.argv[2:]))), end="")  # noqa: T201
        return 0
    stale = [name for name, wish in PARTS.items() if _write(ROOT / name, part_of_lock(needs(wish)))]
    if stale and "--check" in sys.argv:
        print(f"stale: {', '.join(stale)}; run: .venv/bin/python tools/runtime_lock.py")  # noqa: T201
        return 1
    return 0


def _write(path: Path, text: str) -> bool:
    """Writes a file if it is another one. Returns whether it was."""
    if path.exists() and path.read_text() == text:
        return False
    if "--check" not in sys.argv:
        path.write_text(text)
    return True


if __name__ == "__main__":
    sys.exit(main())
