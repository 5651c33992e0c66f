"""A request body -> a typed struct, or a 400 that names the field.

Invariant: whatever bytes come, either a value of the wanted type or one `ApiError`, never another exception.
`error.param` is the path of the offending field in OpenAI's notation, `messages[0].content[1].image_url.url`;
only the first error is reported.
"""

import re
from typing import Any, TypeVar

import msgspec

from extproc.openai.errors import ApiError, invalid

T = TypeVar("T")

_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_TYPE = re.compile(r"^Expected `(?P<expected>.*)`, got `(?P<got>.*)`$", re.DOTALL)
_TOO_MANY = re.compile(r"^Expected `(?P<kind>array|object)` of length <= (?P<most>\d+)$")
_HALF_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u)")
_PLACE = " - at `"
"""The words before the path, at the end of msgspec's message; the client's own text can only come before."""

_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}


def decode(body: bytes | bytearray, shape: type[T]) -> T:
    """Decode the JSON in `body` as a `shape`; raises a 400 `ApiError`."""
    decoder = _decoder(shape)
    if not body.isascii():
        _check_utf8(body)
    try:
        value: T = decoder.decode(body)
    except msgspec.ValidationError as mismatch:
        raise _explain(mismatch) from mismatch
    except msgspec.DecodeError as error:
        raise invalid(f"The request body is not valid JSON: {_why(error, body)}. Send one JSON object.") from error
    except RecursionError as depth:
        raise too_deep() from depth
    return value


def too_deep() -> ApiError:
    """Return the error for JSON of more levels than Python's limit of recursion leaves.

    A step further in, which stands on more of Python's frames, may have fewer left than `decode` had.
    """
    return invalid("The request body is nested too deeply.")


def decode_at(raw: msgspec.Raw, shape: type[T], path: str) -> T:
    """Decode JSON that `decode` left raw at `path` as a `shape`; raises a 400 `ApiError` that names the path."""
    try:
        value: T = _decoder(shape).decode(raw)
    except msgspec.ValidationError as error:
        raise _explain(error, path) from error
    except RecursionError as depth:
        raise too_deep() from depth
    return value


def _decoder(shape: type[Any]) -> msgspec.json.Decoder[Any]:
    decoder = _DECODERS.get(shape)
    if decoder is None:
        decoder = _DECODERS[shape] = msgspec.json.Decoder(shape)
    return decoder


def _explain(error: msgspec.ValidationError, above: str = "") -> ApiError:
    """Return msgspec's message in OpenAI's words; `above` is the path of the JSON that was decoded."""
    what, placed, place = str(error).rpartition(_PLACE)
    if not placed:
        what, place = place, ""
    path = _below(above, _path(place))
    for pattern, respond in ((_MISSING, _missing), (_UNKNOWN, _unknown), (_TYPE, _mistyped), (_TOO_MANY, _too_many)):
        match = pattern.match(what)
        if match:
            return respond(match, path)
    where = f" for '{path}'" if path else ""
    what = what.removeprefix("Invalid value ").removeprefix("Invalid enum value ").replace("`", "")
    return invalid(f"Invalid value{where}: {what.replace('Expected', 'expected', 1)}.", path or None, "invalid_value")


def _check_utf8(body: bytes | bytearray) -> None:
    """Reject JSON that is not UTF-8: msgspec checks only the texts it decodes, raw parts must be UTF-8 too."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise invalid(f"The request body is not valid JSON: not UTF-8, {error.reason} (byte {error.start}).") from error


def _why(error: msgspec.DecodeError, body: bytes | bytearray) -> str:
    """Correct msgspec's reason: it calls half of a surrogate pair before the end of a string a truncated body."""
    if str(error) == "Input data was truncated" and _HALF_PAIR.search(body):
        return "a string has half of a surrogate pair, such as an emoji that was cut in two"
    return str(error)


def _path(place: str) -> str:
    """Return msgspec's path, `$.a[0].b` or `key in $.a`, in OpenAI's notation; keys of free maps are not known."""
    return place.rstrip("`").removeprefix("key in ").removeprefix("$").removeprefix(".").replace("[...]", "")


def _below(above: str, path: str) -> str:
    """Return the path `path` below the path `above`, either of which may be empty."""
    return f"{above}.{path}" if above and path and not path.startswith("[") else above + path


def _missing(match: re.Match[str], path: str) -> ApiError:
    param = f"{path}.{match['name']}" if path else match["name"]
    return invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def _unknown(match: re.Match[str], path: str) -> ApiError:
    param = f"{path}.{match['name']}" if path else match["name"]
    message = f"Unknown parameter: '{param}'." if path else f"Unrecognized request argument supplied: {param}"
    return invalid(message, param, "unknown_parameter")


def _mistyped(match: re.Match[str], path: str) -> ApiError:
    where = f" for '{path}'" if path else ""
    expected = match["expected"].replace(" | ", " or ")
    return invalid(f"Invalid type{where}: expected {expected}, got {match['got']}.", path or None, "invalid_type")


def _too_many(match: re.Match[str], path: str) -> ApiError:
    kind, most = match["kind"], int(match["most"])
    code = "array_above_max_length" if kind == "array" else "object_above_max_properties"
    items = "items" if kind == "array" else "members"
    return invalid(f"Invalid '{path}': too many {items}. Send at most {most:,}.", path or None, code)
