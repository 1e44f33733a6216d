"""Examples for the documentation, made of JSON schemas and of the examples that fields have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

REF = "#/components/schemas/"
ID = "019a5c1e-7c3a-7cc0-8a53-8a6a1d0d7d5e"
_INSTANT = "2030-01-31T09:00:00.000+00:00"
_SAMPLES = {"string": "", "integer": 1, "number": 1, "boolean": False, "null": None}


def resolved(schema: Schema, schemas: Schema) -> Schema:
    """Return the schema that is meant, if ``schema`` refers to one of ``schemas``."""
    return schemas[schema["$ref"].removeprefix(REF)] if "$ref" in schema else schema


def example(schema: Schema, schemas: Schema, *, whole: bool) -> Any:
    """Return a value that ``schema`` describes; ``schemas`` are those that it may refer to.

    ``whole``: with every property. Else with those that are required or have an example.
    """
    schema = resolved(schema, schemas)
    if given := [*schema.get("examples", ()), *schema.get("enum", ())]:
        return given[0]
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if "anyOf" in schema:
        first = next(one for one in schema["anyOf"] if one != {"type": "null"})
        return example(first, schemas, whole=whole)
    kind = schema.get("type", "object")
    if kind == "array":
        return [example(schema["items"], schemas, whole=whole)] if "items" in schema else []
    if kind == "object":
        required = schema.get("required", ())
        return {
            name: _of(name, one, schemas, whole=whole)
            for name, one in schema.get("properties", {}).items()
            if whole or name in required or "examples" in one
        }
    return _SAMPLES[kind]


def _of(name: str, schema: Schema, schemas: Schema, *, whole: bool) -> Any:
    if schema.get("type") == "string" and "examples" not in schema:
        if name == "id" or name.endswith("_id"):
            return ID
        if name.endswith("_at"):
            return _INSTANT
    return example(schema, schemas, whole=whole)
