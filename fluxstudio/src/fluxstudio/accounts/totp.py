"""Time-based one-time passwords (RFC 6238) and recovery codes. Pure but for the secrets that it draws."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import secrets
from collections.abc import Sequence

import pyotp
import segno

from valtier.codes import normalise_digits

ISSUER = "FluxStudio"
DIGITS = 6
STEP_S = 30
_DRIFT_STEPS = 1
"""How many steps a phone's clock may be off, either way."""
RECOVERY_CODES = 10
_RECOVERY_BYTES = 15  # 120 bits: enough for a plain hash (ASVS 5.0, 6.5.2), and 24 letters
_GROUP = 6


def new_secret() -> str:
    """Returns a secret of 160 bits in base32."""
    return pyotp.random_base32()


def provisioning_uri(secret: str, email: str) -> str:
    """Returns the address that an authenticator app reads (otpauth://…)."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def qr_svg(uri: str) -> str:
    """Returns the address as a QR code, in SVG."""
    out = io.BytesIO()
    segno.make(uri, error="m", micro=False).save(
        out, kind="svg", scale=4, border=2, xmldecl=False, svgns=True
    )
    return out.getvalue().decode()


def matching_step(secret: str, code: str, now: float, *, after: int = 0) -> int | None:
    """Returns the time step whose code this is: the current one or a neighbour, none up to `after`; else None.

    All neighbours are compared, each in constant time.
    """
    digits = normalise_digits(code)
    if len(digits) != DIGITS:
        return None
    totp = pyotp.TOTP(secret)
    current = int(now) // STEP_S
    found = None
    for step in range(current - _DRIFT_STEPS, current + _DRIFT_STEPS + 1):
        if hmac.compare_digest(totp.generate_otp(step), digits) and step > after:
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Returns fresh recovery codes, in groups of six letters."""
    return [
        _grouped(base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode())
        for _ in range(RECOVERY_CODES)
    ]


def hash_recovery_code(code: str) -> bytes:
    """Returns what may be stored of a recovery code, however it was typed."""
    letters = "".join(char for char in code.upper() if char.isalnum())
    letters = letters.replace("0", "O").replace("1", "I").replace("8", "B")  # base32 has none of these digits
    return hashlib.sha256(letters.encode()).digest()


def hash_all(codes: Sequence[str]) -> list[bytes]:
    return [hash_recovery_code(code) for code in codes]


def _grouped(letters: str) -> str:
    return "-".join(letters[index : index + _GROUP] for index in range(0, len(letters), _GROUP))
