"""The scripts of limits: one atomic step each."""

from __future__ import annotations

from valtier.wire import Script

GCRA = Script.load(__package__, "gcra.lua")
DECIDE = Script.load(__package__, "decide.lua")
BLOCK = Script.load(__package__, "block.lua")
LOGIN = Script.load(__package__, "login.lua")
LOGIN_SUCCESS = Script.load(__package__, "login_success.lua")
