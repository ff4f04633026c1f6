"""Rights: what an ACL user has to be allowed for the connection itself, whatever is then done with it."""

from __future__ import annotations

CONNECTION = ("ping", "info", "client|setinfo")
"""What every connection begins with. AUTH and HELLO need no right."""
CLUSTER = ("cluster|slots", "cluster|nodes")
"""What a client of a cluster asks besides."""
