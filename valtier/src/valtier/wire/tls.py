"""TLS: what a connection verifies, and what it shows of itself."""

from __future__ import annotations

import functools
import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from valtier.errors import ConfigurationError

log = logging.getLogger("valtier")


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server proves who it is, and how this process does. Certificate and host name are verified by default."""

    ca: Path | None = None
    """A PEM file with the authorities to trust; `None` trusts those of the system."""
    certificate: Path | None = None
    """This process's own certificate (PEM, with what it is chained to), for servers that ask for one."""
    key: Path | None = None
    """The certificate's private key; `None` where it is in the certificate's file."""
    key_password: str | None = field(default=None, repr=False)
    verify: bool = True
    """Whether the server's certificate is verified. Off, anybody on the way can read and change everything."""
    check_hostname: bool = True
    """Whether the certificate has to be for the host that was connected to."""

    def context(self) -> ssl.SSLContext:
        """Returns a client's context for TLS 1.2 or newer. Reads the files; a renewed certificate needs a new context.

        Raises:
            ConfigurationError: a file is missing, unreadable or holds the wrong thing, or certificate and key do not
                belong together.
        """
        _check_readable("tls_ca", self.ca)
        _check_readable("tls_certificate", self.certificate)
        _check_readable("tls_key", self.key)
        context = self._trust()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            self._present(context, self.certificate)
        elif self.key is not None:
            raise ConfigurationError("tls_key is of no use without tls_certificate: give both or none")
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            _warn_once("TLS to Valkey is not verified (tls_verify=false): anybody on the way can read it")
        elif not self.check_hostname:
            context.check_hostname = False
            _warn_once("the host's name is not verified (tls_check_hostname=false): any trusted host will do")
        return context

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError:
            raise ConfigurationError(
                f"tls_ca: {self.ca} holds no certificate; give the authority's certificate in PEM form"
            ) from None

    def _present(self, context: ssl.SSLContext, certificate: Path) -> None:
        asked = False

        def password() -> str:  # always given: without it OpenSSL would ask on the terminal
            nonlocal asked
            asked = True
            return self.key_password or ""

        try:
            context.load_cert_chain(certificate, self.key, password)
        except ssl.SSLError as exc:
            raise ConfigurationError(self._why_not(exc, certificate, asked)) from None
        except ValueError:
            raise ConfigurationError("tls_key_password is longer than OpenSSL takes (1024 bytes)") from None

    def _why_not(self, exc: ssl.SSLError, certificate: Path, asked: bool) -> str:
        key = self.key or certificate
        if exc.reason == "KEY_VALUES_MISMATCH":
            return f"tls_key: {key} is not the key of tls_certificate {certificate}; give the pair that belongs together"
        if asked:
            state = (
                "is encrypted: give tls_key_password" if self.key_password is None else "can't be decrypted"
            )
            return f"tls_key: {key} {state} (as a keyword), or a key without a password"
        return (
            f"tls_certificate: {certificate} or its key {key} can't be used; give both in PEM form "
            "(-----BEGIN CERTIFICATE----- and -----BEGIN PRIVATE KEY-----)"
        )


def _check_readable(option: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        with path.open("rb"):
            pass
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "no path can look so"
        raise ConfigurationError(
            f"{option}: {path} can't be read ({why}); give a file that this process may read"
        ) from None


@functools.cache
def _warn_once(message: str) -> None:
    log.warning(message)
