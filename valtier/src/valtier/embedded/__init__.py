"""Real PostgreSQL and Valkey servers from wheels, for development and tests: nothing else has to be installed."""

from valtier.embedded._child import ChildProcess
from valtier.embedded._cluster_node import ClusterNode
from valtier.embedded._directory import DirectoryLock, make_directory
from valtier.embedded._errors import EmbeddedServerError, ServerReplyError
from valtier.embedded._ports import free_port, port_is_free
from valtier.embedded._resp import ServerConnection
from valtier.embedded._valkey_binaries import valkey_81, valkey_91
from valtier.embedded._valkey_config import ServerTls, User
from valtier.embedded.cluster import EmbeddedCluster
from valtier.embedded.postgres import EmbeddedPostgres
from valtier.embedded.sentinel import EmbeddedSentinel
from valtier.embedded.valkey import EmbeddedValkey

__all__ = [
    "ChildProcess",
    "ClusterNode",
    "DirectoryLock",
    "EmbeddedCluster",
    "EmbeddedPostgres",
    "EmbeddedSentinel",
    "EmbeddedServerError",
    "EmbeddedValkey",
    "ServerConnection",
    "ServerReplyError",
    "ServerTls",
    "User",
    "free_port",
    "make_directory",
    "port_is_free",
    "valkey_81",
    "valkey_91",
]
