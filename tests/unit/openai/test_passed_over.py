"""Unknown fields that an operator has passed over."""

import json
from typing import Any

import pytest

from extproc.openai.chat import ChatRequest, PartlyKnown, decode_request
from extproc.openai.errors import ApiError
from extproc.openai.passed_over import decode_without
from extproc.openai.unknown import is_known

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def decoded(paths: list[str], **fields: Any) -> tuple[ChatRequest, tuple[str, ...]]:
    return decode_without(json.dumps({**HELLO, **fields}).encode(), ChatRequest, paths)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("extra", {"extra": {"a": [1]}}),
        ("stream_options.extra", {"stream_options": {"extra": 1, "include_usage": True}}),
        ("tools[].extra", {"tools": [{"type": "function", "function": {"name": "f"}, "extra": 1}]}),
        ("tools[].function.extra", {"tools": [{"type": "function", "function": {"name": "f", "extra": 1}}]}),
        ("response_format.extra", {"response_format": {"type": "text", "extra": 1}}),
    ],
)
def test_a_field_of_the_list_is_removed_and_named(path: str, fields: dict[str, Any]) -> None:
    assert decoded([path, "other"], **fields)[1] == (path,)
    with pytest.raises(ApiError):
        decoded(["other"], **fields)


@pytest.mark.parametrize("value", [None, [], {}])
def test_a_value_that_means_nothing_is_not_named(value: Any) -> None:
    assert decoded(["extra"], extra=value)[1] == ()


@pytest.mark.parametrize("path", ["messages", "messages[].content", "tools[].function.name", "seed", "audio.voice"])
def test_a_field_that_the_api_knows_is_never_removed(path: str) -> None:
    assert is_known(ChatRequest, path.split("."))
    request, removed = decoded([path, "extra"], extra=1, seed=1)
    assert (request.seed, removed) == (1, ("extra",))


@pytest.mark.parametrize("value", [1, "text", [1], [[{"extra": 1}]], None])
def test_a_place_of_another_form_is_reported_by_decoding(value: Any) -> None:
    with pytest.raises(ApiError) as caught:
        decoded(["tools[].extra", "extra"], tools=[value], extra=1)
    assert caught.value.param == "tools[0]"


def test_other_fields_stay_byte_for_byte() -> None:
    body = (
        b'{"model":"m","extra":1,"messages":[{"role":"user","content":"Hi"}],"additionalModelRequestFields":{"a":1.50}}'
    )
    request, _ = decode_without(body, ChatRequest, ["extra"])
    assert bytes((request.additional_model_request_fields or {})["a"]) == b"1.50"


@pytest.mark.parametrize("first", [True, False])
def test_unknown_fields_of_messages_are_removed_in_the_same_request(first: bool) -> None:
    message = {"messages": [{"role": "user", "content": "Hi", "index": 1}]}
    fields = {**message, "extra": 1} if first else {"extra": 1, **message}
    request = decode_request(json.dumps({"model": "m", **fields}).encode(), ["extra"])
    assert isinstance(request, PartlyKnown)
    assert request.left_out == ("extra", "messages[].index")
