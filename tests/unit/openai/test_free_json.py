"""Of a request nothing is decoded whose shape is not known: a float of twenty digits may take 6 µs of it."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from extproc.openai.chat import ChatRequest
from extproc.openai.embeddings import EmbeddingsRequest
from extproc.openai.response_items import ITEMS
from extproc.openai.responses import ResponsesRequest

REQUESTS = (ChatRequest, EmbeddingsRequest, ResponsesRequest, *dict.fromkeys(ITEMS.values()))


def free(shape: Any, path: str, seen: set[Any]) -> Iterator[str]:
    """Return the paths of members that may be anything, and are decoded all the same."""
    if isinstance(shape, inspect.AnyType):
        yield path
    elif isinstance(shape, inspect.StructType):
        if shape.cls not in seen:
            seen.add(shape.cls)
            for field in shape.fields:
                yield from free(field.type, f"{path}.{field.encode_name}", seen)
    elif isinstance(shape, inspect.Metadata):
        yield from free(shape.type, path, seen)
    elif isinstance(shape, inspect.UnionType):
        for each in shape.types:
            yield from free(each, path, seen)
    elif isinstance(shape, inspect.CollectionType):
        yield from free(shape.item_type, f"{path}[]", seen)
    elif isinstance(shape, inspect.DictType):
        yield from free(shape.value_type, f"{path}.*", seen)


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda each: each.__name__)
def test_every_member_has_a_shape_or_is_left_as_it_is(request_type: type[msgspec.Struct]) -> None:
    assert list(free(inspect.type_info(request_type), request_type.__name__, set())) == []


def test_a_member_that_may_be_anything_is_found() -> None:
    class Message(msgspec.Struct):
        parts: list[dict[str, Any] | None]

    assert list(free(inspect.type_info(Message), "Message", set())) == ["Message.parts[].*"]
