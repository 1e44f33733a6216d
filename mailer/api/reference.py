"""What the page of the documentation shows: the OpenAPI document, in the order and in the words of
a person who reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from shlex import quote
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from .body import JSON
from .examples import Schema, resolved

_PLURALS = {"object": "objects", "string": "strings", "integer": "integers", "boolean": "booleans"}
_CODE = re.compile(r"`([^`]+)`")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(rf"(?P<key>{_QUOTED})(?=: )|(?P<text>{_QUOTED})|(?P<word>[\w.+-]+)")


class Field(NamedTuple):
    """A parameter, or a field of a body or an answer."""

    name: str
    kind: str
    """Such as "string or list of strings"."""
    required: bool
    limits: str
    text: Markup
    fields: list[Field]
    """What is in it."""


class Answer(NamedTuple):
    """What an operation answers with a status."""

    status: str
    name: str
    """Of an error."""
    text: Markup


class Entry(NamedTuple):
    """One operation."""

    id: str
    method: str
    path: Markup
    title: Markup
    text: Markup
    scope: str
    parameters: dict[str, list[Field]]
    """By where they stand, such as "Query"."""
    body_is_list: str
    """How many of the fields' object the body is a list of; empty: it is one object."""
    answers: list[Field]
    done: Answer
    errors: list[Answer]
    curl: Markup
    example: Markup


class Group(NamedTuple):
    """The operations on one kind of thing."""

    id: str
    title: str
    text: Markup
    entries: list[Entry]


def groups(document: Schema) -> list[Group]:
    """Return all operations of the document, by tag."""
    found: dict[str, list[Entry]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            found[operation["tags"][0]].append(_entry(document, path, method.upper(), operation))
    return [
        Group(_anchor(tag["name"]), tag["name"], prose(tag["description"]), found[tag["name"]])
        for tag in document["tags"]
    ]


def prose(text: str) -> Markup:
    """Return a line of Markdown of which `code` is all that is used."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # nosec B704  # noqa: S704 - escaped


def _entry(document: Schema, path: str, method: str, operation: Schema) -> Entry:
    schemas = document["components"]["schemas"]
    responses = operation["responses"]
    status = next(status for status in responses if status < "400")
    answer = _json(responses[status])
    given = operation["requestBody"]["content"] if "requestBody" in operation else {}
    body = given.get(JSON) or None
    schema = resolved(body["schema"], schemas) if body else {}
    parameters: dict[str, list[Field]] = {"Path": [], "Query": [], "Header": []}
    for one in operation["parameters"]:
        parameters[one["in"].capitalize()].append(_parameter(one, schemas))
    parameters["Body"] = list(_fields(schema, schemas))
    return Entry(
        id=operation["operationId"],
        method=method,
        path=Markup(re.sub(r"(\{\w+\})", r"<var>\1</var>", str(escape(path)))),  # nosec B704  # noqa: S704 - escaped
        title=prose(operation["summary"].rstrip(".")),
        text=prose(operation["description"]),
        scope=next(iter(operation["security"][0].values()))[0] if operation["security"] else "",
        parameters={heading: fields for heading, fields in parameters.items() if fields},
        body_is_list=_limits(schema) if schema.get("type") == "array" else "",
        answers=list(_fields(answer["schema"], schemas)),
        done=Answer(status, "", prose(responses[status]["description"])),
        errors=[
            Answer(code, _json(one)["example"]["name"], prose(one["description"]))
            for code, one in responses.items()
            if code >= "400"
        ],
        # What is signed by whoever reports cannot be tried by hand.
        curl=Markup()
        if given and not operation["security"]
        else _shell(_curl(document["servers"][0]["url"], path, method, operation, body)),
        example=_highlighted(_indented(answer["example"])) if "example" in answer else Markup(),
    )


def _curl(base: str, path: str, method: str, operation: Schema, body: Schema | None) -> str:
    address = base + re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), path)
    asked = [
        f"{one['name']}={one['schema']['examples'][0]}"
        for one in operation["parameters"]
        if one["in"] == "query" and one["required"]
    ]
    lines = [f"curl {address}" if not asked else f"curl '{address}?{'&'.join(asked)}'"]
    media = next(iter(operation.get("requestBody", {}).get("content", ())), None)
    if method != ("POST" if media else "GET"):
        lines[0] = lines[0].replace("curl ", f"curl -X {method} ", 1)
    if operation["security"]:
        lines.append('-H "Authorization: Bearer $RESEND_API_KEY"')
    if body:
        lines += [f'-H "Content-Type: {JSON}"', f"-d {quote(_indented(body['example']))}"]
    elif media:
        lines += [f'-H "Content-Type: {media}"', "--data-binary @FILE"]
    return " \\\n  ".join(lines)


def _parameter(given: Schema, schemas: Schema) -> Field:
    described = {**given["schema"], "description": given["description"]}
    return _field(given["name"], described, schemas, required=given["required"])


def _fields(schema: Schema, schemas: Schema) -> Iterator[Field]:
    """Yield the fields of an object, or of the objects in a list, or of either of several."""
    schema = resolved(schema, schemas)
    if schema.get("type") == "array" and "items" in schema:
        yield from _fields(schema["items"], schemas)
    for one in schema.get("anyOf", ()):
        yield from _fields(one, schemas)
    required = schema.get("required", ())
    for name, found in schema.get("properties", {}).items():
        yield _field(name, found, schemas, required=name in required)


def _field(name: str, schema: Schema, schemas: Schema, *, required: bool) -> Field:
    text = schema.get("description") or resolved(schema, schemas).get("description", "")
    return Field(
        name=name,
        kind=_kind(schema, schemas),
        required=required,
        limits=_limits(schema),
        text=prose(text),
        fields=list(_fields(schema, schemas)),
    )


def _kind(schema: Schema, schemas: Schema) -> str:
    schema = resolved(schema, schemas)
    if "anyOf" in schema:
        kinds = [_kind(one, schemas) for one in schema["anyOf"] if one != {"type": "null"}]
        return " or ".join(dict.fromkeys(kinds))
    kind: str = schema.get("type", "any value")
    if kind == "array":
        inner = _kind(schema.get("items", {}), schemas)
        return f"list of {_PLURALS.get(inner, inner)}"
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, dict):
        inner = _kind(values, schemas)
        return f"object of {_PLURALS.get(inner, inner)}"
    return kind


def _limits(schema: Schema) -> str:
    """Return what a value must keep to, in words."""
    words = []
    for one in [schema, *(one for one in schema.get("anyOf", ()) if "enum" in one)]:
        if "enum" in one:
            words.append(" | ".join(json.dumps(value) for value in one["enum"]))
        if "const" in one:
            words.append(f"always {json.dumps(one['const'])}")
        for least, most, unit in (
            ("minimum", "maximum", ""),
            ("minLength", "maxLength", " characters"),
            ("minItems", "maxItems", " items"),
        ):
            if least in one and most in one:
                words.append(f"{one[least]} to {one[most]}{unit}")
            elif most in one:
                words.append(f"at most {one[most]}{unit}")
            elif one.get(least, 1) > 1:
                words.append(f"at least {one[least]}{unit}")
        if "const" not in one and one.get("default") not in (None, [], {}, ""):
            words.append(f"default {json.dumps(one['default'])}")
    return ", ".join(words)


def _json(content: Schema) -> Schema:
    found: Schema = next(iter(content["content"].values()))
    return found


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _shell(text: str) -> Markup:
    command, quoted, body = text.partition(" -d ")
    return escape(command + quoted) + _highlighted(body)


def _highlighted(text: str) -> Markup:
    """Return JSON with its words marked for the style sheet."""
    marked, position = [], 0
    for found in _TOKEN.finditer(text):
        marked.append(escape(text[position : found.start()]))
        marked.append(Markup('<span class="{}">{}</span>').format(found.lastgroup, found[0]))
        position = found.end()
    return Markup("").join([*marked, escape(text[position:])])


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
