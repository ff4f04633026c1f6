"""What may come in: the types of ids, limits and text, each refusing what the database could not take."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_ID = 2**63 - 1
MAX_PAGE = 100

_DIGITS = re.compile(r"[0-9]{1,19}")


def _parse_digits(value: object) -> object:
    """Takes the digits of an address for a number, and nothing that merely looks like one (`1.0`, ` 1`, `+1`)."""
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise PydanticCustomError("digits", "must be a whole number in digits")
        return int(value)
    return value


Id = Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(_parse_digits)]
"""An id in a path or a query."""

Limit = Annotated[int, Field(ge=1, le=MAX_PAGE), BeforeValidator(_parse_digits)]
"""How many items a page may have."""

Version = Annotated[int, Field(ge=0, le=MAX_ID), BeforeValidator(_parse_digits)]
"""A version of something that is counted up, in a query."""

BodyId = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
"""An id in a JSON body."""


def check_text(value: str) -> str:
    """Returns text that PostgreSQL can store. Raises ValueError for NUL, which it can't."""
    if "\0" in value:
        raise PydanticCustomError("nul", "must not hold a NUL character")
    return value


def _check_visible(value: str) -> str:
    if not any(char.isprintable() and not char.isspace() for char in value):
        raise PydanticCustomError("invisible", "must have at least one visible character")
    return value


def _required(max_length: int) -> tuple[object, ...]:
    return (
        StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=max_length),
        AfterValidator(check_text),
        AfterValidator(_check_visible),
    )


def _optional(max_length: int) -> tuple[object, ...]:
    return (
        StringConstraints(strict=True, strip_whitespace=True, max_length=max_length),
        AfterValidator(check_text),
    )


Name = Annotated[str, *_required(80)]
Title = Annotated[str, *_required(120)]
MessageBody = Annotated[str, *_required(4000)]
Bio = Annotated[str, *_optional(2000)]
LongText = Annotated[str, *_optional(4000)]


class Input(BaseModel):
    """A JSON body: strict types, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _leave_null_out(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        [given] = [choice for choice in field.pop("anyOf") if choice != {"type": "null"}]
        field.update(given)


class Change(Input):
    """A JSON body that changes the fields that it names, and leaves the others.

    Its fields are declared as `Type | None = None`; in JSON they are absent or of the type, and never null.
    """

    model_config = ConfigDict(json_schema_extra=_leave_null_out)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_null(cls, value: object) -> object:
        if value is None:
            raise PydanticCustomError("null", "must not be null; leave the field out to keep it")
        return value

    @model_validator(mode="after")
    def _refuse_nothing(self) -> Change:
        if not self.model_fields_set:
            names = ", ".join(type(self).model_fields)
            raise PydanticCustomError("empty", "give at least one of: {names}", {"names": names})
        return self
