"""Walks of types to the members that they have: structs, types of the openai package, shapes of botocore, and JSON.

A member is its path from the root (`[]` for any element of a list), a value of an enumeration its path, ` = ` and the
value. A path that ends in `.*` has free JSON: whatever is below it is known.
"""

import typing
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pydantic
import typing_extensions
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

FREE: tuple[Any, ...] = (Any, object, dict, msgspec.Raw)
"""Types of free JSON."""


def of_hint(hint: Any, path: str = "", above: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield the members of a type hint: structs, TypedDicts and pydantic models, in unions and lists."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in above:
        return
    if hint in FREE or origin in (dict, Mapping):
        yield f"{path}.*"
    elif origin is typing.Literal:
        yield from (f"{path} = {value}" for value in arguments if isinstance(value, str))
    elif _is_object(hint):
        yield from _tag(hint, path)
        for name, inner in _fields(hint):
            yield _below(path, name)
            yield from of_hint(inner, _below(path, name), (*above, hint))
    elif _is_list(origin):
        yield from of_hint(arguments[0], f"{path}[]", above)
    else:
        for one in arguments:
            # Beside `str`, the values of a `Literal` are suggestions.
            if not (str in arguments and typing.get_origin(one) is typing.Literal):
                yield from of_hint(one, path, above)


def _tag(hint: Any, path: str) -> Iterator[str]:
    config = getattr(hint, "__struct_config__", None)
    if config is not None and config.tag_field:
        yield from (_below(path, config.tag_field), f"{_below(path, config.tag_field)} = {config.tag}")


def _is_object(hint: Any) -> bool:
    structs = (msgspec.Struct, pydantic.BaseModel)
    return typing_extensions.is_typeddict(hint) or (isinstance(hint, type) and issubclass(hint, structs))


def _fields(hint: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and types of an object's members."""
    if typing_extensions.is_typeddict(hint):
        yield from typing.get_type_hints(hint).items()
    elif issubclass(hint, msgspec.Struct):
        yield from ((field.encode_name, field.type) for field in msgspec.structs.fields(hint))
    else:
        yield from ((name, field.annotation) for name, field in hint.model_fields.items())


def _is_list(origin: Any) -> bool:
    return isinstance(origin, type) and any("__iter__" in vars(base) for base in origin.__mro__)


def of_shape(shape: Shape | None, path: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the members of a shape of botocore's service model."""
    if shape is None or shape.name in above:
        return
    within = (*above, shape.name)
    match shape:
        case StructureShape():
            for name, member in shape.members.items():
                place = _below(path, name)
                yield place
                yield from of_shape(member, place, within)
        case ListShape():
            yield from of_shape(shape.member, f"{path}[]", within)
        case MapShape():
            return
        case StringShape():
            yield from (f"{path} = {value}" for value in shape.enum)


def of_json(value: Any, path: str = "") -> Iterator[str]:
    """Yield the members of decoded JSON."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield _below(path, name)
            yield from of_json(inner, _below(path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from of_json(inner, f"{path}[]")


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
