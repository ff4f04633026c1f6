"""The OpenAPI document: FastAPI's, with problems as what every operation may answer."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from fluxstudio.problems import MEDIA_TYPE, ProblemDetails

_REFERENCE = "#/components/schemas/{model}"
_PROBLEM = {
    "description": "A problem (RFC 9457)",
    "content": {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="ProblemDetails")}}},
}


def describe_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Puts the answers that are problems into FastAPI's document, in place of its own validation errors."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schema = TypeAdapter(ProblemDetails).json_schema(ref_template=_REFERENCE)
    schemas |= schema.pop("$defs", {})
    schemas["ProblemDetails"] = schema
    for operations in document["paths"].values():
        for operation in operations.values():
            _describe(operation["responses"])
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document


def _describe(responses: dict[str, Any]) -> None:
    responses.pop("422", None)
    for status, response in list(responses.items()):
        # FastAPI adds an answer 200 of any shape where the endpoint returns a Response.
        if status.startswith("2") and not response.get("content", {}).get("application/json", {}).get(
            "schema", True
        ):
            response.pop("content")
    responses["default"] = _PROBLEM
