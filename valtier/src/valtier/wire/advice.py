"""Advice: why a connection could not be opened, and what to do about it, without a secret in it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from valtier.errors import ProtocolError, RejectedError, ReplyError, UnavailableError
from valtier.wire.address import Address, Endpoint

_REFUSALS = (  # what the server's error holds, and what to do
    (
        "WRONGPASS",
        "correct user and password, percent-encoded in the URL, or enable the user with ACL SETUSER",
    ),
    ("invalid password", "correct the password, percent-encoded in the URL"),
    ("NOAUTH", "this server wants a password: redis://user:password@host, or password=… as a keyword"),
    ("without any password configured", "this server has no password: leave it out, or set one there"),
    ("no password is set", "this server has no password: leave it out, or set one there"),
    ("wrong number of arguments for 'auth'", "this server knows no user names: redis://:password@host"),
    ("DB index", "choose a database below the server's 'databases', or raise that"),
    (
        "SELECT is not allowed in cluster",
        "a cluster has database 0 only: leave the number out, add ?cluster=true",
    ),
    ("NOPERM", "grant the permission with ACL SETUSER, or sign in as another user"),
    ("max number of clients", "raise 'maxclients' on the server, or open fewer connections"),
    ("invalid client name", "choose a client_name without spaces"),
    ("Client names cannot contain", "choose a client_name without spaces"),
)
_CHECK = "check user, password, database and ACL"
_NOT_YET = {
    "LOADING": "it is loading its data, and is asked again until it is done",
    "MASTERDOWN": "it is a replica without its primary, and is asked again until it has one",
    "BUSY": "it is running a script that does not end: SCRIPT KILL ends it",
}
_PROTECTED = (
    "DENIED the server is in protected mode, which serves its own machine only: set a password there "
    "(requirepass or ACL SETUSER) and give it here, or set 'protected-mode no' where the network is closed"
)

_CERTIFICATE = {  # OpenSSL's X509_V_ERR_…
    9: "the server's certificate is not valid yet: compare the clocks of both machines",
    10: "the server's certificate has expired: renew it",
    62: "the server's certificate is for another host: connect by a name that it holds, or issue one for this host "
    "(tls_check_hostname=false goes without the check)",
}
_CERTIFICATE[64] = _CERTIFICATE[62]  # an IP address instead of a name
_UNTRUSTED = "the server's certificate comes from no authority that is trusted here: give the authority's file as tls_ca"
_TLS = (  # what the reason of an SSLError holds, and what to do
    (
        ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE"),
        "the server asks for a certificate of this process: give tls_certificate and tls_key",
    ),
    (
        (
            "UNKNOWN_CA",
            "BAD_CERTIFICATE",
            "CERTIFICATE_EXPIRED",
            "CERTIFICATE_REVOKED",
            "CERTIFICATE_UNKNOWN",
        ),
        "the server does not accept this process's certificate: give one from an authority that it trusts, in date",
    ),
    (
        ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL"),
        "no version of TLS is common to both: valtier speaks 1.2 and newer",
    ),
    (
        ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"),
        "the server speaks no TLS on this port: begin the URL with redis://, or give the port where it does",
    ),
)
_TLS_ALERT = "\\x15"  # how hiredis quotes the first byte of an alert, which is TLS and no RESP
_SPEAKS_TLS = "begin the URL with rediss:// if this port speaks TLS"


def refusal(error: ReplyError, address: Address) -> RejectedError | UnavailableError:
    """Returns what to raise for a handshake that the server answered with `error`."""
    if error.code in _NOT_YET:
        return UnavailableError(f"Valkey at {address} can't serve now: {_NOT_YET[error.code]}")
    if error.code == "DENIED":
        return RejectedError(f"{_PROTECTED} ({address})")
    advice = next((advice for word, advice in _REFUSALS if word in str(error)), _CHECK)
    said = str(error).partition(",")[0].rstrip(".")  # an old server goes on to quote what it was sent
    return RejectedError(f"{_without_secrets(said, address)}: {advice} ({address})")


def explain(exc: BaseException, where: Endpoint | Address, *, tls: bool) -> str:
    """Returns why a connection to `where` could not be opened or greeted and, where that is known, what to do.

    `exc` is what `create_connection` or `greet` raised. The text holds no secret.
    """
    if isinstance(exc, RejectedError | UnavailableError):  # from `greet`, and explained
        return str(exc)
    errors = list(_chain(exc))
    advice = next(filter(None, (_explain_one(error, tls=tls) for error in errors)), None)
    return f"{where}: {advice or str(errors[-1]) or type(exc).__name__}"


def _explain_one(error: BaseException, *, tls: bool) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            return _CERTIFICATE.get(error.verify_code) or f"{_UNTRUSTED} ({error.verify_message})"
        case ssl.SSLError():
            return _explain_tls(error)
        case TimeoutError() if tls:
            return "no answer in time: check host and port, and begin the URL with redis:// if it speaks no TLS there"
        case TimeoutError():
            return "no answer in time: check host, port and firewall, or raise connect_timeout"
        case socket.gaierror():
            return f"the host's name can't be resolved ({error.strerror}): correct it, or the name service"
        case ConnectionRefusedError():
            return "nobody listens there: start Valkey, or correct host and port"
        case FileNotFoundError() | PermissionError():
            return f"the socket can't be opened ({error.strerror}): correct the path, or its permissions"
        case ConnectionResetError() | BrokenPipeError() if not tls:
            return f"the server hung up when it was greeted: check that it is Valkey, and {_SPEAKS_TLS}"
        case ConnectionResetError() | BrokenPipeError():
            return (  # with TLS 1.3 its reason may be lost behind the reset
                "the server hung up during the TLS handshake: check that this is its TLS port; or it "
                "asks for a certificate of this process: give tls_certificate and tls_key"
            )
        case ProtocolError() if _TLS_ALERT in str(error):
            return f"the server does not answer in RESP: {_SPEAKS_TLS}"
    return None


def _explain_tls(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    for words, advice in _TLS:
        if any(word in reason for word in words):
            return advice
    return (
        f"TLS failed ({reason}): check that this is the server's TLS port, and the certificates of both sides"
    )


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__


def _without_secrets(said: str, address: Address) -> str:
    for secret in (address.password, address.sentinel_password):
        if secret:
            said = said.replace(secret, "…")
    return said
