"""Installs the Redis that some tests run against, where it is missing and this user may do it."""

import sys
import tempfile
from pathlib import Path

from valtier.embedded import EmbeddedServerError
from valtier.testing.debian import ensure_redis


def main() -> str | None:
    with tempfile.TemporaryDirectory() as links:
        try:
            ensure_redis(Path(links))
        except EmbeddedServerError as exc:
            return f"{exc}. Everything but the tests that want it works without."
    return None


if __name__ == "__main__":
    sys.exit(main())
