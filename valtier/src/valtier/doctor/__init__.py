"""The doctor: connects to Valkey as the application would, looks at how it is set up, and says what to change."""

from valtier.doctor.examination import examine
from valtier.doctor.needs import FEATURES, acl_line, needs
from valtier.doctor.verdict import Check, Report, Verdict

__all__ = ["FEATURES", "Check", "Report", "Verdict", "acl_line", "examine", "needs"]
