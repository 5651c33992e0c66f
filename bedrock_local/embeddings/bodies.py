"""Validate the body of an InvokeModel by a model's JSON schema, with AWS's messages."""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bedrock_local.errors import AwsError, invalid

#: A function from a value and its JSON pointer to its errors.
Check = Callable[[Any, str], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """The body of a response, and its number of input tokens."""

    body: dict[str, Any]
    input_tokens: int


@dataclass(frozen=True, slots=True)
class Embedder:
    """A model: its schema, a function that lists the texts of a body, and one that makes the reply."""

    schema: Check
    texts: Callable[[dict[str, Any]], list[str]]
    embed: Callable[[dict[str, Any]], Reply]

    def check(self, body: dict[str, Any]) -> None:
        """Raise ValidationException with the first thing that is wrong."""
        for problem in self.schema(body, "#"):
            raise malformed_input(problem)


def malformed_input(problem: str) -> AwsError:
    """Return AWS's error for a body that does not fit the model's schema."""
    return invalid(f"Malformed input request: {problem}, please reformat your input and try again.")


def record(fields: Mapping[str, Check], required: tuple[str, ...] = (), one_of: tuple[str, ...] = ()) -> Check:
    """Return the check of an object with these keys and no others; of those in `one_of` exactly one."""

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path}: expected type: JSONObject, found: {_kind(value)}"
            return
        for key in value:
            if key not in fields:
                yield f"{path}: extraneous key [{key}] is not permitted"
        for key in required:
            if key not in value:
                yield f"{path}: required key [{key}] not found"
        if one_of and sum(key in value for key in one_of) != 1:
            yield f"{path}: exactly one of [{', '.join(one_of)}] is required"
        for key, item in value.items():
            yield from fields[key](item, f"{path}/{key}")

    return check


def text(*, least: int = 0, most: int | None = None, options: tuple[str, ...] = ()) -> Check:
    """Return the check of a string, of a length or out of a list."""

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield f"{path}: expected type: String, found: {_kind(value)}"
        elif len(value) < least:
            yield f"{path}: expected minLength: {least}, actual: {len(value)}"
        elif most is not None and len(value) > most:
            yield f"{path}: expected maxLength: {most}, actual: {len(value)}"
        elif options and value not in options:
            yield f"{path}: {value} is not a valid enum value"

    return check


def whole(*, options: tuple[int, ...] = (), least: int = 1, most: int | None = None) -> Check:
    """Return the check of a whole number, in a range or out of a list."""

    def check(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, int):
            yield f"{path}: expected type: Integer, found: {_kind(value)}"
        elif options and value not in options:
            yield f"{path}: {value} is not a valid enum value"
        elif value < least:
            yield f"{path}: {value} is not greater or equal to {least}"
        elif most is not None and value > most:
            yield f"{path}: {value} is not less or equal to {most}"

    return check


def boolean(value: Any, path: str) -> Iterator[str]:
    """Check a boolean."""
    if not isinstance(value, bool):
        yield f"{path}: expected type: Boolean, found: {_kind(value)}"


def many(item: Check, *, least: int = 1, most: int | None = None) -> Check:
    """Return the check of a list of such items."""

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{path}: expected type: JSONArray, found: {_kind(value)}"
            return
        if len(value) < least:
            yield f"{path}: expected minimum item count: {least}, found: {len(value)}"
        if most is not None and len(value) > most:
            yield f"{path}: expected maximum item count: {most}, found: {len(value)}"
        for index, one in enumerate(value):
            yield from item(one, f"{path}/{index}")

    return check


def base64_text(value: Any, path: str) -> Iterator[str]:
    """Check a string of base64."""
    problem = f"{path}: expected a string of base64"
    if not isinstance(value, str):
        yield problem
        return
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        yield problem


def data_uri(value: Any, path: str) -> Iterator[str]:
    """Check an image as `data:image/…;base64,…`."""
    head, comma, data = value.partition(",") if isinstance(value, str) else ("", "", "")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        yield f"{path}: expected a data URI of a base64 encoded image"
    else:
        yield from base64_text(data, path)


def _kind(value: Any) -> str:
    kinds = {str: "String", bool: "Boolean", int: "Integer", float: "BigDecimal", list: "JSONArray", dict: "JSONObject"}
    return kinds.get(type(value), "Null")
