"""Other people's code as oracles, and the small tools that tests of several rooms share.

Fixtures, because with `--import-mode=importlib` tests cannot import each other; each gives a function or a constant.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator
from struct import pack
from typing import Any
from zlib import crc32

import botocore.session
import pytest
from botocore.model import ListShape, Shape, StructureShape
from botocore.validate import ParamValidator


@pytest.fixture(scope="session")
def read_converse() -> Callable[[bytes], dict[str, Any]]:
    """A Converse body as a dict, blobs as bytes, once botocore's service model has nothing against it."""
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = model.operation_model("Converse").input_shape
    assert shape is not None

    def read(body: bytes) -> dict[str, Any]:
        request = _blobs(json.loads(body), shape)
        report = ParamValidator().validate({"modelId": "m", **request}, shape)
        assert not report.has_errors(), report.generate_report()
        assert list(_violations(request, shape, "")) == []
        return request

    return read


@pytest.fixture(scope="session")
def event() -> Callable[..., bytes]:
    """Encodes one message of an event stream: `event("metadata", {"usage": …})`."""

    def encode(kind: str, payload: object, *, message: str = "event", headers: dict[str, str] | None = None) -> bytes:
        names = {":message-type": message, f":{message}-type": kind, ":content-type": "application/json"}
        block = b"".join(_header(name, value) for name, value in (headers or names).items())
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        prelude = pack(">II", len(block) + len(content) + 16, len(block))
        checked = prelude + pack(">I", crc32(prelude)) + block + content
        return checked + pack(">I", crc32(checked))

    return encode


def _header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + b"\x07" + pack(">H", len(value.encode())) + value.encode()


def _blobs(value: Any, shape: Shape) -> Any:
    """`value` with base64 decoded where the service model has bytes."""
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    if isinstance(shape, StructureShape) and isinstance(value, dict) and not shape.is_document_type:
        members = shape.members
        return {key: _blobs(item, members[key]) if key in members else item for key, item in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_blobs(item, shape.member) for item in value]
    return value


def _violations(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """What the service model forbids and ParamValidator does not look at: patterns, enums, upper limits."""
    limits = shape.metadata
    if isinstance(shape, StructureShape) and isinstance(value, dict) and not shape.is_document_type:
        for key, item in value.items():
            yield from _violations(item, shape.members[key], f"{path}.{key}")
    elif isinstance(shape, ListShape):
        for index, item in enumerate(value):
            yield from _violations(item, shape.member, f"{path}[{index}]")
    elif isinstance(value, str):
        pattern = limits.get("pattern")
        if (pattern and not re.fullmatch(pattern, value)) or value not in limits.get("enum", [value]):
            yield f"{path}: {value!r}"
    if isinstance(value, str | list) and len(value) > limits.get("max", len(value)):
        yield f"{path} is too long"
    if isinstance(value, float | int) and value > limits.get("max", 2**31 - 1):
        yield f"{path}: {value} is too large"
