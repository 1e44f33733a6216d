"""JSON as the services behind webhooks send it, checked as far as it is used."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import NotAReport


class Document(BaseModel):
    """A part of what a service says. What is not named here may be anything."""

    model_config = ConfigDict(extra="ignore")


T = TypeVar("T", bound=Document)


def loads(raw: bytes | str) -> Any:
    """Return what JSON says. Raises NotAReport."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise NotAReport(f"expected JSON, got what is none: {error}"[:200]) from error


def checked(kind: type[T], value: Any) -> T:
    """Return ``value`` as a document of this kind. Raises NotAReport, which names what is wrong."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        words = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise NotAReport(words[:500]) from error
