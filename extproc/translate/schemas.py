"""JSON objects that go through byte for byte: JSON Schemas and the arguments of tool calls.

Bedrock wants `"type": "object"` at the root of a schema. A root that is only a reference into the schema itself, as
Pydantic writes recursive models, becomes what it refers to; everything below the root stays as it came.
"""

from urllib.parse import unquote

import msgspec
from msgspec import Raw

from extproc.openai.errors import ApiError, invalid

_REF = "$ref"
_FAR = 8
"""Each step of a reference reads the schema again; nobody's goes this far."""


def json_object(text: str | Raw, what: str, param: str) -> Raw:
    """`text`, byte for byte, once it is known to be a JSON object; raises a 400 that says it is not."""
    _members(text, what, param)
    return Raw(text.encode() if isinstance(text, str) else bytes(text))


def object_schema(schema: Raw, absent: Raw, param: str) -> Raw:
    """`schema` with an object as its root, or `absent` if it is null; raises a 400 where that cannot be."""
    if bytes(schema) == b"null":
        return absent
    root = _members(schema, "A schema", param)
    if _REF in root:
        root = _follow(root, param)
        schema = Raw(msgspec.json.encode(root))
    if "type" not in root:
        return Raw(msgspec.json.encode({"type": "object", **root}))
    if bytes(root["type"]) != b'"object"':
        raise invalid('The schema\'s root must have "type": "object".', f"{param}.type", "invalid_value")
    return schema


def _members(text: str | Raw, what: str, param: str) -> dict[str, Raw]:
    try:
        return msgspec.json.decode(text, type=dict[str, Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        why = str(error).replace("`", "")
        raise invalid(f"{what} must be a JSON object: {why}.", param, "invalid_value") from error


def _follow(root: dict[str, Raw], param: str) -> dict[str, Raw]:
    """`root` with what it refers to in place of the reference."""
    found = root
    for _ in range(_FAR):
        reference = bytes(found.pop(_REF))
        found = {**_definition(root, reference, param), **found}
        if _REF not in found:
            return found
    raise _refuse(reference, param)


def _definition(root: dict[str, Raw], reference: bytes, param: str) -> dict[str, Raw]:
    """What a JSON pointer such as `"#/$defs/Node"` points to."""
    found = root
    try:
        start, *names = msgspec.json.decode(reference, type=str).split("/", _FAR)
        for name in names:
            found = msgspec.json.decode(found[_unescaped(name)], type=dict[str, Raw])
    except (msgspec.MsgspecError, KeyError) as error:
        raise _refuse(reference, param) from error
    if start != "#" or not names:
        raise _refuse(reference, param)
    return found


def _unescaped(name: str) -> str:
    return unquote(name).replace("~1", "/").replace("~0", "~")


def _refuse(reference: bytes, param: str) -> ApiError:
    return invalid(
        f"The schema's root refers to {reference.decode()}, and there is no object there. "
        'Put the definition itself at the root, with "type": "object".',
        f"{param}.{_REF}",
        "invalid_value",
    )
