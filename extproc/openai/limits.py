"""Limits of the lists, schemas and JSON values in a request.

OpenAI's own limits where its API reference names them (tools, embedding inputs and their tokens), else bounds that no
client is known to reach. With them, the time and memory that a request takes follow from its bytes.
"""

import re
from collections.abc import Iterator

from msgspec import Raw

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
"""JSON values in a request body, those inside of others too."""

MAX_SCHEMA_BYTES = 1 << 20
MAX_SCHEMA_MEMBERS = 20_000
"""Members of all objects in one JSON Schema: a property takes three or four."""
MAX_SCHEMA_DEPTH = 100
MAX_REFERRED_BYTES = 1 << 18
"""Bytes that replace the references in all schemas of a request, where a model reads none; each use counts."""

_SMALL_SCHEMA = 4_096
"""Largest schema, in bytes, that is not checked: it cannot be slow."""
_BRACKETS = re.compile(rb"([\[{]++)|([\]}]++)")
_WINDOW = 1 << 18
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[]{}:,")


def check_values(body: bytes | bytearray) -> None:
    """Raise a 400 `ApiError` if `body`, which need not be JSON, holds more than `MAX_VALUES` JSON values."""
    values = 1
    for structure in _structure(body):
        values += structure.count(b",") + structure.count(b"[") + structure.count(b"{")
        if values > MAX_VALUES:
            raise invalid(
                f"The request body holds more than {MAX_VALUES:,} JSON values. Send fewer messages, parts or schema "
                "properties, or several requests.",
                code="request_too_complex",
            )


def check_schema(schema: Raw, param: str) -> None:
    """Raise a 400 `ApiError` if a JSON Schema is larger, has more members or is nested deeper than is accepted."""
    if len(schema) <= _SMALL_SCHEMA:
        return
    if len(schema) > MAX_SCHEMA_BYTES:
        raise _schema_error(f"{len(schema):,} bytes, at most {MAX_SCHEMA_BYTES:,} are accepted", param)
    members = depth = deepest = 0
    for structure in _structure(bytes(schema)):
        members += structure.count(b":")
        for match in _BRACKETS.finditer(structure):
            depth += len(match[1] or b"")
            deepest = max(deepest, depth)
            depth -= len(match[2] or b"")
    if members > MAX_SCHEMA_MEMBERS:
        raise _schema_error(f"{members:,} members in its objects, at most {MAX_SCHEMA_MEMBERS:,} are accepted", param)
    if deepest > MAX_SCHEMA_DEPTH:
        raise _schema_error(f"{deepest:,} levels, at most {MAX_SCHEMA_DEPTH} are accepted", param)


def _structure(text: bytes | bytearray) -> Iterator[bytes]:
    """Yield the brackets, colons and commas of a JSON text that are outside of its strings.

    The text is split at its quotes in windows: the parts of all of it would take many times its memory.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    inside = 0
    for start in range(0, len(text), _WINDOW):
        parts = text[start : start + _WINDOW].split(b'"')
        yield b"".join(parts[inside::2]).translate(None, _OTHERS)
        inside = (inside + len(parts) - 1) % 2


def _schema_error(why: str, param: str) -> ApiError:
    return invalid(f"Invalid schema for '{param}': it has {why}. Send a smaller one.", param, "invalid_value")
