"""The one error of the embedded servers."""

from valtier.errors import ValtierError


class EmbeddedServerError(ValtierError):
    """A server cannot be started here; the message says why and what to do."""
