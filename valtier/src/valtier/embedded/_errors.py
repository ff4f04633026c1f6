"""The errors of the embedded servers."""

from valtier.errors import ValtierError


class EmbeddedServerError(ValtierError):
    """A server cannot be started here, or not do what it is asked; the message says why and what to do."""


class ServerReplyError(EmbeddedServerError):
    """A server's reply is an error; the message is the reply's, and begins with its code."""

    @property
    def code(self) -> str:
        """The first word, such as `WRONGPASS`."""
        return str(self).split(" ", 1)[0]
