"""The rooms of Socket.IO, and what clients may send into them. Pure."""

from __future__ import annotations

import math
import re
from typing import Any

from fluxstudio.http.inputs import MAX_ID
from fluxstudio.problems import FieldError, Problem, invalid

_SELECTED = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_SELECTED = 100
_TOOLS = {"pointer", "laser"}
_BUTTONS = {"up", "down"}
_FAR = 1e7


def project_room(project_id: int) -> str:
    """Everybody who has the project open."""
    return f"project:{project_id}"


def board_room(board_id: int) -> str:
    """Everybody who has the board open."""
    return f"board:{board_id}"


def user_room(user_id: int) -> str:
    """All connections of a user."""
    return f"user:{user_id}"


def link_room(token_hash: bytes) -> str:
    """All guests who came by a link."""
    return f"link:{token_hash.hex()}"


def named(room: str) -> dict[str, int]:
    """Returns what a room is of, as events name it."""
    kind, _, name = room.partition(":")
    return {f"{kind}_id": int(name)}


def number(data: object, name: str, *, least: int = 1) -> int:
    """Returns a whole number of what a client sent. Raises a 422 problem."""
    value = data.get(name) if isinstance(data, dict) else None
    if type(value) is not int or not least <= value <= MAX_ID:
        raise invalid([FieldError(name, f"must be a whole number from {least}")])
    return value


def cursor(data: object) -> dict[str, Any]:
    """Returns where somebody's cursor is and what they have selected. Raises a 422 problem."""
    if not isinstance(data, dict):
        raise invalid([FieldError("cursor", "must be an object")])
    told: dict[str, Any] = {"x": _coordinate(data, "x"), "y": _coordinate(data, "y")}
    if data.get("tool") in _TOOLS:
        told["tool"] = data["tool"]
    if data.get("button") in _BUTTONS:
        told["button"] = data["button"]
    selected = data.get("selected", [])
    if (
        not isinstance(selected, list)
        or len(selected) > _MAX_SELECTED
        or not all(isinstance(one, str) and _SELECTED.fullmatch(one) for one in selected)
    ):
        raise invalid([FieldError("selected", f"must be at most {_MAX_SELECTED} ids of elements")])
    if selected:
        told["selected"] = selected
    return told


def _coordinate(data: dict[str, Any], name: str) -> float:
    value = data.get(name)
    number = float(value) if isinstance(value, int | float) and abs(value) <= _FAR else math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise invalid([FieldError(name, "must be a number within the canvas")])
    return round(number, 2)


def refusal(problem: Problem) -> dict[str, Any]:
    """Returns a problem as an acknowledgement tells it."""
    return {
        "ok": False,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "errors": [{"field": error.field, "message": error.message} for error in problem.errors],
    }
