"""Installs the Chromium that the tests in the browser drive, where it is missing and this user may do it."""

import sys

from valtier.embedded import EmbeddedServerError
from valtier.testing.debian import ensure_program


def main() -> str | None:
    try:
        ensure_program("chromium", "chromium")
    except EmbeddedServerError as exc:
        return f"{exc}. Everything but the tests in the browser works without."
    return None


if __name__ == "__main__":
    sys.exit(main())
