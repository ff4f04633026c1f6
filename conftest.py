"""Imports both packages before pytest names the tests after their directories, which have the same names."""

import fluxstudio
import valtier

__all__ = ["fluxstudio", "valtier"]
