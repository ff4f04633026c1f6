"""Certificates for tests of TLS, made anew in each run: good ones, and one of each kind that must be refused."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from valtier.embedded._directory import write_private


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain and its key, in PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """A certificate authority of the test run, and what it and a strange one have signed."""

    ca: Path
    """What clients and servers trust."""
    server: Identity
    """For localhost and 127.0.0.1."""
    expired: Identity
    """As `server`, but no longer valid."""
    wrong_host: Identity
    """By the same authority, for valkey.example."""
    client: Identity
    client_key_encrypted: Path
    """The client's key once more, encrypted with `key_password`."""
    key_password: str = field(repr=False)
    strange_ca: Path
    """An authority that nobody here trusts."""
    strange_server: Identity
    """As `server`, but by the strange authority."""
    strange_client: Identity

    @property
    def certificate(self) -> Path:
        """The client's certificate."""
        return self.client.certificate

    @property
    def key(self) -> Path:
        """The client's key, not encrypted."""
        return self.client.key


def make_certificates(directory: Path) -> Certificates:
    """Makes every certificate and key, and writes them into the directory."""
    own, strange = trustme.CA(), trustme.CA(organization_name="Strange authority")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    client = own.issue_cert("client@valtier.example", common_name="client")
    password = "open sesame"  # noqa: S105 - of a key that lives as long as the test run
    return Certificates(
        ca=_write(directory / "ca.pem", own.cert_pem.bytes()),
        server=_save(directory, "server", own.issue_cert("localhost", "127.0.0.1")),
        expired=_save(directory, "expired", own.issue_cert("localhost", "127.0.0.1", not_after=yesterday)),
        wrong_host=_save(directory, "wrong-host", own.issue_cert("valkey.example")),
        client=_save(directory, "client", client),
        client_key_encrypted=_write(
            directory / "client-encrypted.key", _encrypt(client.private_key_pem.bytes(), password)
        ),
        key_password=password,
        strange_ca=_write(directory / "strange-ca.pem", strange.cert_pem.bytes()),
        strange_server=_save(directory, "strange-server", strange.issue_cert("localhost", "127.0.0.1")),
        strange_client=_save(directory, "strange-client", strange.issue_cert("client@valtier.example")),
    )


def _save(directory: Path, name: str, made: trustme.LeafCert) -> Identity:
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    return Identity(
        certificate=_write(directory / f"{name}.pem", chain),
        key=_write(directory / f"{name}.key", made.private_key_pem.bytes()),
    )


def _write(path: Path, pem: bytes) -> Path:
    write_private(path, pem.decode())
    return path


def _encrypt(key: bytes, password: str) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
    )
