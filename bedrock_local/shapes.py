"""Validation of a request body by the shapes of botocore's service model.

There are two passes. The first reports violated constraints in AWS's words (enum, pattern, length, range, booleans in
place of numbers) and decodes blobs from base64. The second is botocore's `ParamValidator`: types, unknown
keys, required keys, unions with exactly one member. boto3 could have sent any body that passes both.
"""

import base64
import binascii
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator

from bedrock_local.errors import invalid, malformed


@functools.cache
def service(name: str) -> ServiceModel:
    """Return botocore's model of a service: `bedrock-runtime` or `bedrock`."""
    return botocore.session.get_session().get_service_model(name)


def operation(name: str) -> OperationModel:
    """Return botocore's model of one operation of the runtime."""
    return service("bedrock-runtime").operation_model(name)


def read_json(body: bytes) -> dict[str, Any]:
    """Decode a body that must be one JSON object; raise SerializationException otherwise."""
    try:
        value = json.loads(body, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()  # fails on half a surrogate pair
    except (ValueError, RecursionError) as problem:
        raise malformed(f"The request body is not valid JSON: {problem}") from None
    if not isinstance(value, dict):
        raise malformed("Start of structure or map found where not expected: the request body must be a JSON object.")
    return value


def check(operation_name: str, body: dict[str, Any], **uri: str) -> dict[str, Any]:
    """Return the request with its blobs as bytes; raise ValidationException with everything that is wrong.

    `uri` are the members in the path; the body may not contain them.
    """
    shape = operation(operation_name).input_shape
    assert shape is not None
    misplaced = sorted(set(body) & set(uri))
    if misplaced:
        raise invalid(f"Unknown parameter in input: {misplaced[0]!r} belongs in the path.")
    request, problems = _Walk().run({**body, **uri}, shape)
    if problems:
        raise invalid(_constraint_message(problems))
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        raise invalid(report.generate_report())
    return request


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _constraint_message(problems: list[str]) -> str:
    noun = "error" if len(problems) == 1 else "errors"
    return f"{len(problems)} validation {noun} detected: {'; '.join(problems)}"


class _Walk:
    """A walk along a value and its shape. Values of another type are left to ParamValidator."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def run(self, value: dict[str, Any], shape: Shape) -> tuple[dict[str, Any], list[str]]:
        return self._value(value, shape, ""), self._problems

    def _value(self, value: Any, shape: Shape, path: str) -> Any:
        if getattr(shape, "is_document_type", False):
            return value
        if isinstance(shape, StructureShape) and isinstance(value, dict):
            return {key: self._member(key, item, shape, path) for key, item in value.items()}
        if isinstance(shape, ListShape) and isinstance(value, list):
            self._constrain(len(value), value, shape, path, "length")
            items = enumerate(value, start=1)
            return [self._value(item, shape.member, f"{path}.{number}.member") for number, item in items]
        if isinstance(shape, MapShape) and isinstance(value, dict):
            return self._map(value, shape, path)
        return self._scalar(value, shape, path)

    def _member(self, key: str, value: Any, shape: StructureShape, path: str) -> Any:
        member = shape.members.get(key)
        return value if member is None else self._value(value, member, f"{path}.{key}" if path else key)

    def _map(self, value: dict[str, Any], shape: MapShape, path: str) -> dict[str, Any]:
        self._constrain(len(value), value, shape, path, "length")
        for key in value:
            self._scalar(key, shape.key, f"{path}.key")
        return {key: self._value(item, shape.value, f"{path}.{key}.member") for key, item in value.items()}

    def _scalar(self, value: Any, shape: Shape, path: str) -> Any:
        if shape.type_name == "blob":
            return self._blob(value, path)
        if shape.type_name == "string" and isinstance(value, str):
            self._string(value, shape, path)
        elif shape.type_name in ("integer", "long", "float", "double"):
            if isinstance(value, bool):
                self._fail(value, path, "Member must be a number")
            elif isinstance(value, int | float):
                self._constrain(value, value, shape, path, "value")
        return value

    def _string(self, value: str, shape: Shape, path: str) -> None:
        self._constrain(len(value), value, shape, path, "length")
        pattern = shape.metadata.get("pattern")
        if pattern and not re.fullmatch(pattern, value):
            self._fail(value, path, f"Member must satisfy regular expression pattern: {pattern}")
        if shape.metadata.get("enum") and value not in shape.metadata["enum"]:
            self._fail(value, path, f"Member must satisfy enum value set: [{', '.join(shape.metadata['enum'])}]")

    def _blob(self, value: Any, path: str) -> Any:
        if not isinstance(value, str):
            self._fail(value, path, "Member must be a string of base64")
            return b"."
        try:
            decoded = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            self._problems.append(f"Value at '{path}' failed to satisfy constraint: Member must be valid base64")
            return b"."
        if not decoded:
            self._fail("", path, "Member must have length greater than or equal to 1")
        return decoded

    def _constrain(self, measure: float, value: Any, shape: Shape, path: str, what: str) -> None:
        for text in _out_of_range(measure, shape):
            self._fail(value, path, f"Member must have {what} {text}")

    def _fail(self, value: Any, path: str, constraint: str) -> None:
        shown = json.dumps(value) if not isinstance(value, str) else value
        shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
        self._problems.append(f"Value '{shown}' at '{path}' failed to satisfy constraint: {constraint}")


def _out_of_range(measure: float, shape: Shape) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and measure < least:
        yield f"greater than or equal to {least}"
    if most is not None and measure > most:
        yield f"less than or equal to {most}"
