"""Limits of the lists, schemas and JSON values in a request.

OpenAI's own limits where its API reference names them (tools, embedding inputs and their tokens), else bounds that no
client is known to reach. With them, the time and memory that a request takes follow from its bytes.

Decision: docs/decisions.md, D81.
"""

from msgspec import Raw

from extproc.json_values import count_values, outside_strings, structure_of
from extproc.openai.errors import ApiError, invalid

MAX_TOOLS = 128
"""Entries of `tools`, `functions`, and of the tools in a `tool_choice`: OpenAI's limit."""
MAX_MESSAGES = 32_768
MAX_PARTS = 5_000
"""Parts of one message's `content`."""
MAX_TOOL_CALLS = 1_024
"""Tool calls of one message; also the calls that the arguments of one call may hold."""
MAX_THINKING_BLOCKS = 1_024
"""Thinking blocks of one message."""
MAX_STOP_SEQUENCES = 2_500
"""Most stop sequences that a family of models takes; most take four, as OpenAI does."""
MAX_LOGIT_BIASES = 2_048
MAX_VALUES = 500_000
"""JSON values in a request body, those inside of others too; as many again in texts of it that are JSON."""

MAX_SCHEMA_BYTES = 1 << 20
MAX_SCHEMA_MEMBERS = 20_000
"""Members of all objects in one JSON Schema: a property takes three or four."""
MAX_SCHEMA_DEPTH = 100
MAX_SCHEMA_DIGITS = 128
"""Consecutive digits of a number in a JSON Schema: no double needs more than 17, and each is read in quadratic time."""
MAX_REFERRED_BYTES = 1 << 18
"""Bytes that replace the references in all schemas of a request, where a model reads none; each use counts."""
MAX_REFERRED_SCHEMAS = 5_000
"""Schemas that replace those references; a definition that does not come back to itself counts once."""
MAX_RENAMED_PROPERTIES = 10_000
"""Properties in all schemas of a request whose names a model does not take: the worker keeps them for the response."""

_SMALL_SCHEMA = 4_096
"""Largest schema, in bytes, whose members and levels are not counted: it cannot be slow."""
_NOT_BRACKETS = b":,"
_SQUARE = bytes.maketrans(b"{}", b"[]")
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * (MAX_SCHEMA_DIGITS + 1)


def check_values(body: bytes | bytearray, counted: int = 0) -> int:
    """Return the number of JSON values in `body`, which need not be JSON, and those `counted` before.

    Raises a 400 `ApiError` for more than `MAX_VALUES`.
    """
    values = count_values(body, MAX_VALUES, counted)
    if values > MAX_VALUES:
        raise invalid(
            f"The request body holds more than {MAX_VALUES:,} JSON values. Send fewer messages, parts or schema "
            "properties, or several requests.",
            code="request_too_complex",
        )
    return values


def check_schema(schema: Raw, param: str) -> None:
    """Raise a 400 `ApiError` if a JSON Schema is larger, deeper or has more members or digits than is accepted."""
    if len(schema) > MAX_SCHEMA_BYTES:
        raise _schema_error(f"{len(schema):,} bytes, at most {MAX_SCHEMA_BYTES:,} are accepted", param)
    text = bytes(schema)
    if _LONG_NUMBER in text.translate(_ZEROS) and _has_long_number(text):
        raise _schema_error(f"a number of more than {MAX_SCHEMA_DIGITS} digits in a row", param)
    if len(text) <= _SMALL_SCHEMA:
        return
    structure = b"".join(map(structure_of, outside_strings(text)))
    members = structure.count(b":")
    if members > MAX_SCHEMA_MEMBERS:
        raise _schema_error(f"{members:,} members in its objects, at most {MAX_SCHEMA_MEMBERS:,} are accepted", param)
    if _is_deeper(structure, MAX_SCHEMA_DEPTH):
        raise _schema_error(f"more than {MAX_SCHEMA_DEPTH} levels", param)


def _is_deeper(structure: bytes, levels: int) -> bool:
    """Return whether brackets, all of which are closed, are nested more than `levels` deep.

    Each round takes out the innermost ones.
    """
    brackets = structure.translate(_SQUARE, _NOT_BRACKETS)
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _has_long_number(text: bytes) -> bool:
    """Return whether there are too many digits in a row outside of the strings of a JSON text."""
    return _LONG_NUMBER in b"".join(outside_strings(text)).translate(_ZEROS)


def _schema_error(why: str, param: str) -> ApiError:
    return invalid(f"Invalid schema for '{param}': it has {why}. Send a smaller one.", param, "invalid_value")
