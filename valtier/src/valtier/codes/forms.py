"""Forms: one spelling for what people type, whatever the case, the alphabet's width or the spaces. Pure functions."""

from __future__ import annotations

import re
import unicodedata

from valtier.errors import ValtierError

MAX_EMAIL = 254
"""Characters of a whole address (RFC 5321, 4.5.3.1.3, without the angle brackets)."""
_MAX_LOCAL = 64
_MAX_LABEL = 63
_MAX_TYPED = 64
_DOTS = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_SPECIAL = frozenset('()<>[]:;,\\"@')


class MalformedEmailError(ValtierError, ValueError):
    """The text is no e-mail address that mail could go to."""


def normalise_email(text: str) -> str:
    """Returns the one spelling of an e-mail address: for looking accounts up and for counting, not for sending.

    Case is folded in both parts, since no mail system in use tells `Ada@` from `ada@`; letters are composed (NFC) and the
    domain is spelt in ASCII (`xn--…`). Nothing that only looks alike becomes equal (no NFKC, no ß = ss): an address that
    resembles another one must never be taken for it. Mail goes to the address that the account has stored.

    Raises:
        MalformedEmailError: it has no single @, an empty or overlong part, white space, quotes or invisible characters.
    """
    value = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).lower())
    local, at, domain = value.rpartition("@")
    if not at or not local or not domain:
        raise MalformedEmailError("an e-mail address looks like ada@example.org")
    if any(_is_foreign(char) for char in local) or local[0] == "." or local[-1] == "." or ".." in local:
        raise MalformedEmailError("the part before the @ has characters that an address can't have")
    spelt = ".".join(_label(label) for label in domain.translate(_DOTS).split("."))
    if "." not in spelt:
        raise MalformedEmailError("the part behind the @ needs a dot, as in ada@example.org")
    if len(local.encode()) > _MAX_LOCAL or len(local.encode()) + 1 + len(spelt) > MAX_EMAIL:
        raise MalformedEmailError(f"an e-mail address has {MAX_EMAIL} characters at most, 64 before the @")
    return f"{local}@{spelt}"


def _is_foreign(char: str) -> bool:
    """Whether no unquoted local part may hold it (RFC 6531 allows letters of every script)."""
    return char in _SPECIAL or char.isspace() or not char.isprintable() or char == "\ufffd"


def _label(label: str) -> str:
    if not label.isascii():
        if any(not (char.isalnum() or char == "-" or unicodedata.combining(char)) for char in label):
            raise MalformedEmailError("the part behind the @ is no host name")
        label = "xn--" + label.encode("punycode").decode("ascii")
    if len(label) > _MAX_LABEL or not _LABEL.fullmatch(label):
        raise MalformedEmailError("the part behind the @ is no host name")
    return label


def normalise_digits(text: str) -> str:
    """Returns the digits of a typed code: any script's decimal digits, without spaces, dashes and invisible characters.

    What can't be a code comes back as the empty text.
    """
    if len(text) > _MAX_TYPED:
        return ""
    digits: list[str] = []
    for char in text:
        value = unicodedata.decimal(char, None)
        if value is not None:
            digits.append(str(value))
        elif unicodedata.category(char) not in _BETWEEN and not char.isspace():
            return ""
    return "".join(digits)


_BETWEEN = frozenset({"Zs", "Pd", "Cf"})
