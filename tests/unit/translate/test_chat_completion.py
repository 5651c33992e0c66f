"""A Converse response as a `chat.completion`, validated by the openai package's own type."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from extproc.bedrock.converse_response import ConverseResponseError
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.translate.response_fields import finish_reason
from tests.unit.translate.stop_reasons import FINISH_REASONS
from tests.unit.translate.whole_responses import (
    REPORT,
    call,
    cited,
    completed,
    completion,
    converse,
    finish,
    message,
    streamed,
    use,
    web,
)

# The message


def test_a_text_is_the_content() -> None:
    assert completion({"text": "Hi"}) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "total_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        },
    }


def test_several_texts_are_one_content() -> None:
    assert message({"text": "a"}, {"text": "b "}, {"text": "c"})["content"] == "ab c"


def test_cited_text_is_content_like_any_other() -> None:
    cited = {"citationsContent": {"content": [{"text": "b"}, {"text": "c"}], "citations": [{"title": "t"}]}}
    assert message({"text": "a"}, cited, {"text": "d"})["content"] == "abcd"


def test_citations_of_the_web_are_annotations_of_the_text_that_cites_them() -> None:
    blocks = [
        {"text": "Look: "},
        cited("\U0001f600 it is", web("https://x.org/a", title="A"), web("https://x.org/b")),
        cited(".", {"location": {"documentPage": {"documentIndex": 0}}, "title": "a document"}, web(""), {}),
    ]
    decoded = message(*blocks)
    assert decoded["content"] == "Look: \U0001f600 it is."
    spans = [each["url_citation"] for each in decoded["annotations"]]
    assert spans == [
        {"start_index": 6, "end_index": 13, "title": "A", "url": "https://x.org/a"},
        {"start_index": 6, "end_index": 13, "title": "x.org", "url": "https://x.org/b"},
    ]
    assert decoded["content"][6:13] == "\U0001f600 it is"


def test_citations_without_a_text_of_their_own_are_of_the_text_before_them() -> None:
    """So AWS's page on web grounding has them."""
    sources = {"citationsContent": {"citations": [web("https://x.org/a")]}}
    decoded = message({"text": "No."}, {"text": "It is."}, sources, sources, {"text": " So?"})
    assert decoded["content"] == "No.It is. So?"
    spans = [
        (each["url_citation"]["start_index"], each["url_citation"]["end_index"]) for each in decoded["annotations"]
    ]
    assert spans == [(3, 9), (3, 9)]


def test_dropped_text_leaves_no_annotations() -> None:
    decoded = message(cited("a", web("https://x.org")), use("report", input={"a": 1}), shape=REPORT)
    assert "annotations" not in decoded


def test_reasoning_is_separate_from_content_and_returned_in_blocks() -> None:
    blocks = [
        {"reasoningContent": {"reasoningText": {"text": "Hm. ", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "eA=="}},
        {"reasoningContent": {"reasoningText": {"text": "So."}}},
        {"text": "Hi"},
    ]
    decoded = message(*blocks)
    assert (decoded["content"], decoded["reasoning_content"]) == ("Hi", "Hm. So.")
    assert decoded["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Hm. ", "signature": "s"},
        {"type": "redacted_thinking", "data": "eA=="},
        {"type": "thinking", "thinking": "So."},
    ]


def test_a_signature_without_text_is_kept() -> None:
    decoded = message({"reasoningContent": {"reasoningText": {"text": "", "signature": "s"}}})
    assert "reasoning_content" not in decoded
    assert decoded["thinking_blocks"] == [{"type": "thinking", "thinking": "", "signature": "s"}]


@pytest.mark.parametrize(
    "reasoning", [{}, {"reasoningText": {"text": ""}}, {"redactedContent": ""}, {"reasoningText": None}]
)
def test_without_reasoning_there_is_no_reasoning_key(reasoning: Any) -> None:
    assert set(message({"reasoningContent": reasoning}, {"text": "a"})) == {"role", "content", "refusal"}


def test_blocks_that_are_not_known_are_passed_over() -> None:
    assert message({"image": {"format": "png"}}, {"text": "Hi"}, {"hologram": 1})["content"] == "Hi"


@pytest.mark.parametrize("blocks", [[], [{"text": ""}], [{"hologram": 1}]])
def test_an_empty_response_has_empty_content(blocks: list[Any]) -> None:
    assert message(*blocks)["content"] == ""


# Reasoning and fences in the text

INLINE = {"inline_reasoning": "thinking"}
BARE = {"bare_json": True}


def test_reasoning_in_the_text_is_reasoning() -> None:
    decoded = message({"text": "<thinking> I know this. </thinking>\nHello!"}, shape=INLINE)
    assert (decoded["reasoning_content"], decoded["content"]) == (" I know this. ", "Hello!")
    assert "thinking_blocks" not in decoded


def test_reasoning_in_the_text_before_a_call_leaves_no_content() -> None:
    decoded = message({"text": "<thinking>a</thinking>\n"}, use("f"), {"text": "<thinking>b</thinking>"}, shape=INLINE)
    assert (decoded["reasoning_content"], decoded["content"]) == ("ab", None)
    assert decoded["tool_calls"] == [call()]


def test_reasoning_beside_the_answer_tool_is_reasoning() -> None:
    decoded = message({"text": "<thinking>a</thinking>\nHere:"}, use("report"), shape=REPORT | INLINE)
    assert (decoded["reasoning_content"], decoded["content"]) == ("a", "{}")


def test_reasoning_in_the_text_is_behind_reasoning_in_blocks_before_it() -> None:
    blocks = [{"reasoningContent": {"reasoningText": {"text": "a"}}}, {"text": "<thinking>b"}]
    assert message(*blocks, shape=INLINE)["reasoning_content"] == "ab"


def test_the_same_text_of_another_family_is_content() -> None:
    assert message({"text": "<thinking>a</thinking>b"})["content"] == "<thinking>a</thinking>b"


def test_json_that_was_requested_in_words_has_no_fence() -> None:
    fenced = {"text": '```json\n{"a": 1}\n```'}
    assert message(fenced, shape=BARE)["content"] == '{"a": 1}'
    assert message({"text": "```json\n{"}, {"text": "}\n"}, {"text": "```\n"}, shape=BARE)["content"] == "{}"
    assert message(fenced)["content"] == fenced["text"]


def test_a_fence_behind_reasoning_is_taken_off_too() -> None:
    text = "<thinking>a</thinking>\n```json\n{}\n```"
    decoded = message({"text": text}, shape=INLINE | BARE)
    assert (decoded["reasoning_content"], decoded["content"]) == ("a", "{}")


def test_annotations_are_places_in_the_content_that_is_left() -> None:
    blocks = [{"text": "```json\n"}, cited("<thinking>a</thinking>[1]", web("https://x.org")), {"text": "\n```"}]
    decoded = message(*blocks, shape=INLINE | BARE)
    span = decoded["annotations"][0]["url_citation"]
    assert (decoded["content"], span["start_index"], span["end_index"]) == ("[1]", 0, 3)


# Images


def test_images_are_images_as_litellm_has_them() -> None:
    blocks = [
        {"text": "Here:"},
        {"image": {"format": "png", "source": {"bytes": "eA=="}}},
        {"image": {"format": "jpeg", "source": {"bytes": "eXo="}}},
    ]
    decoded = completion(*blocks)["choices"][0]
    assert decoded["message"]["content"] == "Here:"
    assert decoded["message"]["images"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,eXo="}},
    ]


@pytest.mark.parametrize(
    "image",
    [
        {"format": "png"},
        {"format": "png", "source": None},
        {"format": "png", "source": {"bytes": ""}},
        {"format": "png", "source": {"s3Location": {"uri": "s3://b/i.png"}}},
        {"format": "png", "source": {}, "error": {"message": "The image was blocked."}},
    ],
)
def test_an_image_without_bytes_is_left_out(image: Any) -> None:
    assert message({"image": image}) == {"role": "assistant", "content": "", "refusal": None}


# The finish reason


@pytest.mark.parametrize(("stop", "alone", "with_a_call"), [*FINISH_REASONS, ("", "stop", "tool_calls")])
def test_a_stop_reason_becomes_openais_finish_reason(stop: str, alone: str, with_a_call: str) -> None:
    assert finish({"text": "Hi"}, stop=stop) == alone
    assert finish({"text": "Hi"}, use(), stop=stop) == with_a_call


@pytest.mark.parametrize("stop", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_response_is_an_error_and_no_completion(stop: str) -> None:
    with pytest.raises(ApiError) as caught:
        finish_reason(stop, called=False)
    assert (caught.value.status, caught.value.code) == (502, stop)


@pytest.mark.parametrize("stop", ["malformed_" + "z" * 100, "malformed_\n\x00", "malformed_\u00e9", "malformed_X"])
def test_a_malformed_stop_reason_is_no_code(stop: str) -> None:
    """The code stands in logs, which take no megabytes and no line breaks."""
    with pytest.raises(ApiError) as caught:
        finish_reason(stop, called=False)
    assert (caught.value.status, caught.value.code) == (502, "malformed_model_output")
    assert stop not in caught.value.message


# Usage


def test_tokens_of_the_cache_count_as_prompt_tokens() -> None:
    decoded = completion({"text": "Hi"}, cacheReadInputTokens=5, cacheWriteInputTokens=7)["usage"]
    assert decoded == {
        "prompt_tokens": 22,
        "completion_tokens": 20,
        "total_tokens": 42,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 7},
    }


@pytest.mark.parametrize("tokens", [-1, 1_000_000_001, 1 << 64])
def test_a_number_of_tokens_that_cannot_be_is_a_bad_response(tokens: int) -> None:
    with pytest.raises(ConverseResponseError, match="inputTokens"):
        completed(converse({"text": "a"}, inputTokens=tokens))


def counted(fields: Any) -> bytes:
    return converse({"text": "a"})[:-1] + b',"additionalModelResponseFields":' + json.dumps(fields).encode() + b"}"


@pytest.mark.parametrize("tokens", [0, 7])
def test_tokens_of_reasoning_are_in_the_details(tokens: int) -> None:
    body = counted({"usage": {"output_tokens_details": {"thinking_tokens": tokens}}, "stop_sequence": "x"})
    usage = json.loads(completed(body).body)["usage"]
    assert (usage["completion_tokens"], usage["completion_tokens_details"]) == (20, {"reasoning_tokens": tokens})
    assert json.loads(streamed(body).body.split(b"\n\n")[-3][6:])["usage"] == usage


@pytest.mark.parametrize(
    "fields",
    [None, {}, [], "x", {"usage": None}, {"usage": {"output_tokens_details": []}}]
    + [{"usage": {"output_tokens_details": {"thinking_tokens": value}}} for value in (None, "7", 7.5, -1, True, {})]
    + [{"usage": {"output_tokens_details": {"thinking_tokens": 1 << 64}}}],
)
def test_anything_else_in_the_models_own_fields_is_no_number_of_tokens(fields: Any) -> None:
    assert "completion_tokens_details" not in json.loads(completed(counted(fields)).body)["usage"]


def test_usage_and_finish_reason_come_beside_the_body() -> None:
    decoded = completed(converse({"text": "Hi"}))
    assert (decoded.usage, decoded.finish) == (Usage(10, 20), "stop")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"output":{"message":{}}}'])
def test_an_unreadable_response_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(ConverseResponseError):
        completed(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}',
        b'{"__type":"UnknownOperationException"}',
    ],
)
def test_a_failure_with_a_status_of_200_is_a_failure(body: bytes) -> None:
    """AWS responds with it to an unknown operation."""
    with pytest.raises(ApiError) as caught:
        completed(body)
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


# The service tier


@pytest.mark.parametrize(
    ("tier", "expected"), [("default", "default"), ("flex", "flex"), ("priority", "priority"), ("reserved", "scale")]
)
def test_a_completion_has_its_service_tier(tier: str, expected: str) -> None:
    body = converse({"text": "a"}).replace(b'"stopReason"', b'"serviceTier":{"type":"%s"},"stopReason"' % tier.encode())
    decoded = json.loads(completed(body).body)
    ChatCompletion.model_validate(decoded, strict=True)
    assert decoded["service_tier"] == expected


@pytest.mark.parametrize("tier", ["brand_new_tier", "", "auto"])
def test_a_tier_that_openai_does_not_have_is_left_out(tier: str) -> None:
    body = converse({"text": "a"}).replace(b'"stopReason"', b'"serviceTier":{"type":"%s"},"stopReason"' % tier.encode())
    assert "service_tier" not in json.loads(completed(body).body)
    assert b"service_tier" not in streamed(body).body


def test_without_a_tier_there_is_no_tier() -> None:
    assert "service_tier" not in completion({"text": "a"})


# Traces of guardrails

TRACE = {"guardrail": {"inputAssessment": {"gr1": {"x": [1.0, "a\nb", {}, None]}}, "actionReason": "No action."}}


def traced(trace: Any) -> bytes:
    return converse({"text": "a"})[:-1] + b',"trace":' + json.dumps(trace, indent=1).encode() + b"}"


def test_the_guardrails_trace_is_returned_if_requested() -> None:
    decoded = json.loads(completed(traced(TRACE), trace=True).body)
    ChatCompletion.model_validate(decoded, strict=True)
    assert decoded["trace"] == TRACE


@pytest.mark.parametrize("trace", [TRACE, None, {}])
def test_the_guardrails_trace_is_not_returned_unless_requested(trace: Any) -> None:
    assert "trace" not in json.loads(completed(traced(trace), trace=trace != TRACE).body)
    assert b"trace" not in streamed(traced(trace), trace=trace != TRACE).body


ROUTED = {"promptRouter": {"invokedModelId": "arn:aws:bedrock:us-east-1::foundation-model/m"}}


@pytest.mark.parametrize(("requested", "expected"), [(False, ROUTED), (True, ROUTED | TRACE)])
def test_the_model_that_a_prompt_router_chose_is_always_named(requested: bool, expected: Any) -> None:
    decoded = json.loads(completed(traced(ROUTED | TRACE), trace=requested).body)
    ChatCompletion.model_validate(decoded, strict=True)
    assert decoded["trace"] == expected
    chunks = [
        json.loads(part[6:]) for part in streamed(traced(ROUTED | TRACE), trace=requested).body.split(b"\n\n")[:-2]
    ]
    assert [chunk["trace"] for chunk in chunks if "trace" in chunk] == [expected]


def test_the_trace_of_a_whole_response_is_sent_with_the_finish_reason() -> None:
    chunks = [json.loads(part[6:]) for part in streamed(traced(TRACE), trace=True).body.split(b"\n\n")[:-2]]
    assert [chunk.get("trace") for chunk in chunks] == [None, None, TRACE, None]
    assert chunks[2]["choices"][0]["finish_reason"] == "stop"
