"""A request body -> a typed struct, or a 400 that names the field.

Invariant: whatever bytes come, either a value of the asked type or one `ApiError`, never another exception.
`error.param` is the path of the offending field in OpenAI's notation, `messages[0].content[1].image_url.url`;
only the first fault is reported.
"""

import re
from typing import Any, TypeVar

import msgspec

from extproc.openai.errors import ApiError, invalid

T = TypeVar("T")

_PLACED = re.compile(r"^(?P<what>.*?)(?: - at `(?P<key>key in )?\$\.?(?P<path>.*?)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_TYPE = re.compile(r"^Expected `(?P<expected>.*)`, got `(?P<got>.*)`$", re.DOTALL)


_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}


def decode(body: bytes, shape: type[T]) -> T:
    """The JSON in `body` as a `shape`; raises a 400 `ApiError`."""
    decoder = _DECODERS.get(shape)
    if decoder is None:
        decoder = _DECODERS[shape] = msgspec.json.Decoder(shape)
    try:
        value: T = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise explain(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"The request body is not valid JSON: {error}. Send one JSON object.") from error
    except RecursionError as error:
        raise invalid("The request body is nested too deeply.") from error
    return value


def explain(error: msgspec.ValidationError, base: str = "") -> ApiError:
    """msgspec's message as OpenAI would say it; `base` is the path of the value that was decoded."""
    match = _PLACED.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    path = ".".join(part for part in (base, path) if part)
    for pattern, respond in ((_MISSING, _missing), (_UNKNOWN, _unknown), (_TYPE, _mistyped)):
        found = pattern.match(what)
        if found:
            return respond(found, path)
    where = f" for '{path}'" if path else ""
    what = what.removeprefix("Invalid value ").removeprefix("Invalid enum value ").replace("`", "")
    return invalid(f"Invalid value{where}: {what}.", path or None, "invalid_value")


def _missing(found: re.Match[str], path: str) -> ApiError:
    param = f"{path}.{found['name']}" if path else found["name"]
    return invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def _unknown(found: re.Match[str], path: str) -> ApiError:
    param = f"{path}.{found['name']}" if path else found["name"]
    return invalid(f"Unrecognized request argument supplied: {param}", param, "unknown_parameter")


def _mistyped(found: re.Match[str], path: str) -> ApiError:
    where = f" for '{path}'" if path else ""
    expected = found["expected"].replace(" | ", " or ")
    return invalid(f"Invalid type{where}: expected {expected}, got {found['got']}.", path or None, "invalid_type")
