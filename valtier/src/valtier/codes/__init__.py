"""One-time codes: long tokens for links in mails, and short codes that people type, each good once.

    reset = tier.codes("password-reset", ttl="1h")
    token = await reset.issue("user:42", address=client_address)      # into the mail's link
    subject = await reset.redeem(token)                               # "user:42", once

    sign_in = tier.codes("sign-in", digits=6, pepper=secret)          # ttl 5 minutes
    code = await sign_in.issue(email, binding=browser, address=client_address)
    await sign_in.verify(email, typed, binding=browser)               # or it raises

Every step is one script, decided on the server by the server's clock. In an outage everything is closed:
`CodesUnavailableError`, which is an HTTP 503. Every error has its HTTP status as `status`.
"""

from valtier.codes.errors import (
    CodeError,
    CodesUnavailableError,
    CooldownError,
    InvalidCodeError,
    TooManyFailuresError,
)
from valtier.codes.forms import MalformedEmailError, normalise_digits, normalise_email
from valtier.codes.issuing import CodeStats, new_binding
from valtier.codes.onetime import OneTimeCodes
from valtier.codes.rules import CodeStore
from valtier.codes.store import COMMANDS, acl
from valtier.codes.tokens import Codes

__all__ = [
    "COMMANDS",
    "CodeError",
    "CodeStats",
    "CodeStore",
    "Codes",
    "CodesUnavailableError",
    "CooldownError",
    "InvalidCodeError",
    "MalformedEmailError",
    "OneTimeCodes",
    "TooManyFailuresError",
    "acl",
    "new_binding",
    "normalise_digits",
    "normalise_email",
]
