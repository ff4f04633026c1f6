"""What a browser has to be told, and asked, before a request is trusted: cross-origin protection and security headers."""

from valtier.security.headers import SecurityHeaders, clear_site_data
from valtier.security.origin import CrossOriginProtection, Refusal, judge_origin

__all__ = ["CrossOriginProtection", "Refusal", "SecurityHeaders", "clear_site_data", "judge_origin"]
