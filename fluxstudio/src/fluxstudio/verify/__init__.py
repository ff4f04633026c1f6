"""Verification: walks the deployment checklist against a live site. Needs aiohttp (`fluxstudio[verify]`)."""

from fluxstudio.verify.findings import Finding, Mark
from fluxstudio.verify.options import Options, VerifyError
from fluxstudio.verify.run import verify

__all__ = ["Finding", "Mark", "Options", "VerifyError", "verify"]
