"""The cases, by topic; `ALL` are all."""

from __future__ import annotations

import importlib
import pkgutil

from runner import Case

ALL: list[Case] = [
    case
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name)
    for case in importlib.import_module(f"{__name__}.{module.name}").CASES
]
