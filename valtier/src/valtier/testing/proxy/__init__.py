"""A reverse proxy in front of any HTTP/1.1 origin, with the response cache in it: for tests, and to try things out.

`python -m valtier.testing.proxy --origin URL --port P`, or `CachingProxy` in a test.
"""

from valtier.testing.proxy.caching import CachingProxy
from valtier.testing.proxy.forward import Forwarder
from valtier.testing.proxy.server import Server

__all__ = ["CachingProxy", "Forwarder", "Server"]
