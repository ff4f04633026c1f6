"""Real PostgreSQL and Valkey servers from wheels, for development and tests: nothing else has to be installed."""

from valtier.embedded._child import ChildProcess
from valtier.embedded._directory import DirectoryLock, make_directory
from valtier.embedded._errors import EmbeddedServerError
from valtier.embedded._ports import free_port, port_is_free
from valtier.embedded.postgres import EmbeddedPostgres
from valtier.embedded.valkey import EmbeddedValkey

__all__ = [
    "ChildProcess",
    "DirectoryLock",
    "EmbeddedPostgres",
    "EmbeddedServerError",
    "EmbeddedValkey",
    "free_port",
    "make_directory",
    "port_is_free",
]
