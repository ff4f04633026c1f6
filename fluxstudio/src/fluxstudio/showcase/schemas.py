"""What comes in and goes out: public pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from fluxstudio.http.inputs import Input, LongText, Title

SLUG_PATTERN = r"^[a-z0-9](-?[a-z0-9])*$"


def _check_slug(value: str) -> str:
    if not re.fullmatch(SLUG_PATTERN, value):
        raise PydanticCustomError(
            "slug", "must be lower-case letters a to z, digits and single hyphens between them, at most 80"
        )
    return value


Slug = Annotated[
    str,
    Field(strict=True, max_length=80, json_schema_extra={"pattern": SLUG_PATTERN}),
    AfterValidator(_check_slug),
]
"""A page's address: lower-case letters and digits, with single hyphens between them."""


class NewPage(Input):
    """A public page to be published or changed."""

    slug: Slug
    headline: Title
    summary: LongText = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A published page. Everybody finds it at /p/SLUG."""

    project_id: int
    slug: str
    headline: str
    summary: str
    published_at: datetime
    updated_at: datetime
