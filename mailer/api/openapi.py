"""The OpenAPI document: made of `OPERATIONS` and of the models that check requests and write
answers, so that it cannot say anything else than they do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema
from pydantic_core import core_schema

from .body import JSON
from .examples import ID, REF, example
from .operations import OPERATIONS, Operation
from .schemas.base import Error

Schema = dict[str, Any]
Refs = Mapping[tuple[Any, JsonSchemaMode], Schema]

_PARAMETER = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")

_INTRODUCTION = """\
Sends emails, and tells what became of each recipient's copy. The API has the shape of Resend's, so
that Resend's SDKs send through it unchanged: set their base address to this service's (in
`RESEND_API_URL` for Python, in `RESEND_BASE_URL` for Node) and their key to one of its keys.

Requests and answers are JSON. Whoever operates the service makes a key with `mailer keys create`.
It goes into the header `Authorization: Bearer KEY` and has scopes, of which an operation names the
one that it needs: `send`, `read` or `manage`.

Every error is `{"statusCode", "name", "message"}`; its message names what was wrong and what was
expected. A request that was answered with 429 or 503 can be sent again; with an `Idempotency-Key`
it sends no email twice.\
"""
_KEY = "A key of this service, as `mailer keys create` prints it: `Authorization: Bearer KEY`."

_ERRORS = {
    400: ("invalid_request", "The request is malformed."),
    401: ("missing_api_key", "There is no key, or it lacks the scope."),
    403: ("invalid_api_key", "The key is not known, expired or revoked, or may not do this."),
    404: ("not_found", "Nothing has this id."),
    409: ("conflict", "It contradicts what is stored."),
    413: ("payload_too_large", "The request is too large."),
    415: (
        "unsupported_media_type",
        f"The body is not declared as `{JSON}`, or is packed.",
    ),
    422: ("validation_error", "The message names what is wrong, and what was expected."),
    429: ("rate_limit_exceeded", "Too many requests."),
    500: ("internal_server_error", "A fault of the service. It has been recorded."),
    503: ("service_unavailable", "Nothing can be stored at the moment, and nothing was stored."),
}
_IN_PATH: dict[str | None, tuple[Schema, object]] = {
    "id": ({"type": "string", "format": "uuid"}, ID),
    "int": ({"type": "integer"}, 7),
}
"""Flask's converter of a parameter -> its schema and an example."""
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "schema": {"type": "integer", "minimum": 0},
    }
}


def document(base: str) -> Schema:
    """Return the document of the API at the address ``base``."""
    bodies = {one.body for one in OPERATIONS if one.body}
    queries = {one.query for one in OPERATIONS if one.query}
    answers = {one.answers for one in OPERATIONS if one.answers} | {Error}
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *((model, "validation") for model in bodies | queries),
        *((model, "serialization") for model in answers),
    ]
    inputs.sort(key=lambda pair: (pair[0].__name__, pair[1]))
    refs, definitions = models_json_schema(
        inputs, ref_template=f"{REF}{{model}}", schema_generator=_Schemas
    )
    schemas = _as_markdown(definitions["$defs"])
    for schema in schemas.values():
        schema.pop("title", None)  # is its name once more
    asked = {query: schemas.pop(_name(refs[query, "validation"])) for query in queries}
    groups = {one.group: one.about for one in OPERATIONS}
    paths: Schema = {}
    for one in OPERATIONS:
        path = _PARAMETER.sub(r"{\g<name>}", one.path)
        paths.setdefault(path, {})[one.method.lower()] = _operation(one, refs, schemas, asked)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Email dispatcher",
            "version": version("mailer-dispatch"),
            "description": _INTRODUCTION,
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "servers": [{"url": base}],
        "security": [],
        "tags": [
            {"name": title(group), "description": _markdown(about[:1].upper() + about[1:])}
            for group, about in sorted(groups.items(), key=_emails_first)
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": _KEY}},
            "schemas": schemas,
        },
    }


def _emails_first(group: tuple[str, str]) -> bool:
    return group[0] != "emails"


def title(group: str) -> str:
    """Return a group of operations as a heading: ``api_keys`` is "API keys"."""
    words = group.replace("_", " ")
    return "API" + words[3:] if words.startswith("api ") else words.capitalize()


class _Schemas(GenerateJsonSchema):
    """An answer leaves out what is None; it has everything else."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Schema:
        if self.mode == "serialization":
            return self.generate_inner(schema["schema"])
        return super().nullable_schema(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        made = super().default_schema(schema)
        if self.mode == "serialization" or made.get("default", ...) is None:
            made.pop("default", None)
        return made

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        if self.mode == "serialization":
            inner = field["schema"]
            return not (inner["type"] == "default" and inner.get("default", ...) is None)
        return super().field_is_required(field, total)

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name.replace("[", "").replace("]", ""))  # ListOfEmail

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # "Reply To" says no more than `reply_to`


def _operation(
    one: Operation,
    refs: Refs,
    schemas: Schema,
    asked: Mapping[type[BaseModel], Schema],
) -> Schema:
    found: Schema = {
        "operationId": f"{one.group}_{one.name}",
        "tags": [title(one.group)],
        "summary": _markdown(one.summary),
        "description": _markdown(f"{one.description} {one.proof and f'Proof: {one.proof}'}"),
        "security": [{"key": [one.scope]}] if one.scope else [],
        "parameters": [*_in_path(one), *_in_query(one, asked), *_in_headers(one)],
        "responses": {
            str(one.status): _answer(one, refs, schemas),
            **{str(status): _refusal(status, when) for status, when in _refusals(one)},
        },
    }
    if one.body:
        ref = refs[one.body, "validation"]
        found["requestBody"] = {"required": True, "content": _content(schemas, ref, whole=False)}
    elif one.raw:
        found["requestBody"] = {"required": True, "content": {media: {} for media in one.raw}}
    return found


def _answer(one: Operation, refs: Refs, schemas: Schema) -> Schema:
    if one.answers is None:
        return {"description": "The file.", "content": {"*/*": {"schema": {}}}}
    return {
        "description": _described(one.answers),
        "content": _content(schemas, refs[one.answers, "serialization"], whole=True),
    }


def _in_path(one: Operation) -> Iterator[Schema]:
    for found in _PARAMETER.finditer(one.path):
        what = found["name"].replace("_id", "'s id").replace("_", " ")
        schema, shown = _IN_PATH.get(found["converter"], ({"type": "string", "minLength": 1}, ID))
        yield {
            "name": found["name"],
            "in": "path",
            "required": True,
            "description": f"The {what}.",
            "schema": schema,
            "example": shown,
        }


def _in_query(one: Operation, asked: Mapping[type[BaseModel], Schema]) -> Iterator[Schema]:
    if one.query is None:
        return
    schema = asked[one.query]
    for name, found in schema["properties"].items():
        limits = _not_null(found)
        yield {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": limits.pop("description", ""),
            "schema": limits,
        }


def _in_headers(one: Operation) -> Iterator[Schema]:
    for name, found in one.headers.items():
        limits = dict(found)
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": _markdown(limits.pop("description", "")),
            "schema": limits,
        }


def _refusals(one: Operation) -> Iterator[tuple[int, str]]:
    """Yield each status that is an error of this operation, and when it is answered."""
    statuses = {429, 500, 503} | set(one.errors)
    if one.scope:
        statuses |= {401, 403}
    if _PARAMETER.search(one.path):
        statuses.add(404)
    if one.query:
        statuses.add(422)
    if one.body or one.raw:
        statuses |= {413, 415, 422}
    for status in sorted(statuses):
        yield status, one.errors.get(status) or _ERRORS[status][1]


def _refusal(status: int, when: str) -> Schema:
    found: Schema = {
        "description": _markdown(when),
        "content": {
            JSON: {
                "schema": {"$ref": f"{REF}{Error.__name__}"},
                "example": {"statusCode": status, "name": _ERRORS[status][0], "message": when},
            }
        },
    }
    if status in {429, 503}:
        found["headers"] = _RETRY_AFTER
    return found


def _content(schemas: Schema, ref: Schema, *, whole: bool) -> Schema:
    return {JSON: {"schema": ref, "example": example(ref, schemas, whole=whole)}}


def _described(answer: type[BaseModel]) -> str:
    generic = answer.__pydantic_generic_metadata__["origin"] or answer
    return _markdown(answer.__doc__ or generic.__doc__ or "Done.")


def _not_null(schema: Schema) -> Schema:
    """Return the schema of what stands in an address, where there is no null."""
    others = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(others) != 1:
        return dict(schema)
    return {**others[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def _name(ref: Schema) -> str:
    name: str = ref["$ref"].removeprefix(REF)
    return name


def _as_markdown(schemas: Schema) -> Schema:
    """Return schemas whose descriptions, docstrings once, are Markdown."""

    def rewritten(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: _markdown(one)
                if name == "description" and isinstance(one, str)
                else rewritten(one)
                for name, one in value.items()
            }
        return [rewritten(one) for one in value] if isinstance(value, list) else value

    written: Schema = rewritten(schemas)
    return written


def _markdown(text: str) -> str:
    return " ".join(text.replace("``", "`").split())
