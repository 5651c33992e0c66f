"""Buffered chat with OpenAI's Python SDK."""

import base64
import struct
import time
import zlib
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI
from openai.types.chat import ChatCompletion

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-micro-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile"
HELLO: Any = [{"role": "user", "content": "Hello!"}]


def test_a_response_has_everything_that_openai_requires(client: OpenAI) -> None:
    before = int(time.time())
    response = client.chat.completions.create(model=CLAUDE, messages=HELLO)
    completion = ChatCompletion.model_validate_json(response.model_dump_json(), strict=True)
    assert completion.id.startswith("chatcmpl-")
    assert completion.object == "chat.completion"
    assert before <= completion.created <= int(time.time())
    assert completion.model == CLAUDE
    [choice] = completion.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert choice.message.role == "assistant"
    assert choice.message.content is not None
    assert 'You said: "Hello!"' in choice.message.content
    assert choice.message.refusal is None
    assert not choice.message.tool_calls
    assert completion.usage is not None
    assert completion.usage.prompt_tokens > 0
    assert completion.usage.completion_tokens > 0
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


def test_the_keys_that_may_be_null_are_there_all_the_same(client: OpenAI) -> None:
    body = client.chat.completions.with_raw_response.create(model=CLAUDE, messages=HELLO).http_response.json()
    assert {"id", "object", "created", "model", "choices", "usage"} <= body.keys()
    [choice] = body["choices"]
    assert {"index", "message", "finish_reason", "logprobs"} <= choice.keys()
    assert {"role", "content", "refusal"} <= choice["message"].keys()


def test_two_responses_have_two_ids(client: OpenAI) -> None:
    responses = [client.chat.completions.create(model=NOVA, messages=HELLO) for _ in range(2)]
    assert responses[0].id != responses[1].id


async def test_the_asynchronous_client(async_client: AsyncOpenAI) -> None:
    response = await async_client.chat.completions.create(model=NOVA, messages=HELLO)
    assert response.choices[0].message.content is not None
    assert 'You said: "Hello!"' in response.choices[0].message.content


MARKED = "[System message, from the operator and not from the user:]\nBe kind.\n[End of the system message.]"


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        (NOVA, [("assistant", ["Hi."]), ("user", [MARKED, "Hello!"])]),
        ("meta.llama3-3-70b-instruct-v1:0", [("assistant", ["Hi."]), ("user", [MARKED, "Hello!"])]),
        ("anthropic.claude-opus-4-8", [("assistant", ["Hi."]), ("user", ["Hello!"]), ("system", ["Be kind."])]),
        ("anthropic.claude-sonnet-5-5", [("assistant", ["Hi."]), ("user", ["Hello!"]), ("system", ["Be kind."])]),
    ],
)
@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_later_instruction_is_the_operators(
    client: OpenAI, local: Any, model: str, sent: Any, role: str, stream: bool
) -> None:
    messages: Any = [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hi."},
        {"role": role, "content": "Be kind."},
        {"role": "user", "content": "Hello!"},
    ]
    assert client.chat.completions.create(model=model, messages=messages, stream=stream)
    turns = local.call()["body"]["messages"]
    assert [(turn["role"], [block["text"] for block in turn["content"]]) for turn in turns[1:]] == sent


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_reach_the_model(client: OpenAI, role: str) -> None:
    messages: Any = [{"role": role, "content": "Answer in verse."}, *HELLO]
    response = client.chat.completions.create(model=CLAUDE, messages=messages)
    assert response.choices[0].message.content is not None
    assert 'System: "Answer in verse."' in response.choices[0].message.content


def test_a_conversation_of_several_turns_and_parts(client: OpenAI) -> None:
    parts: Any = [{"type": "text", "text": "And"}, {"type": "text", "text": "now?"}]
    messages: Any = [*HELLO, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": parts}]
    response = client.chat.completions.create(model=NOVA, messages=messages)
    assert response.choices[0].message.content == 'You said: "And now?" (2 text blocks, 0 images, 3 turns).'


def test_a_model_that_only_a_profile_serves(client: OpenAI, local: Any) -> None:
    response = client.chat.completions.create(model=CLAUDE, messages=HELLO)
    assert response.model == CLAUDE
    assert local.call()["model"] == f"us.{CLAUDE}"


@pytest.mark.parametrize(
    "model",
    [
        f"us.{CLAUDE}",
        f"{ARN}/us.{NOVA}",
    ],
)
def test_profiles_by_id_and_by_arn(client: OpenAI, local: Any, model: str) -> None:
    response = client.chat.completions.create(model=model, messages=HELLO)
    assert response.model == model
    assert local.call()["model"] == model


def test_the_request_to_the_model(client: OpenAI, local: Any) -> None:
    client.chat.completions.create(
        model=NOVA, messages=HELLO, temperature=0.5, top_p=0.25, max_completion_tokens=64, stop=["END", "."]
    )
    assert local.call()["body"] == {
        "messages": [{"role": "user", "content": [{"text": "Hello!"}]}],
        "inferenceConfig": {"temperature": 0.5, "topP": 0.25, "maxTokens": 64, "stopSequences": ["END", "."]},
    }


def test_nothing_of_the_clients_leaves_for_aws(client: OpenAI, local: Any) -> None:
    client.chat.completions.create(model=NOVA, messages=HELLO, extra_headers={"cookie": "a=b", "x-amz-target": "x"})
    sent = {name.lower() for name in local.call()["headers"]}
    assert "x-amz-date" in sent
    assert not [name for name in sent if name.startswith(("x-stainless", "openai-", "cookie", "x-amz-target"))]


def test_a_stop_sequence_ends_the_message_and_is_not_in_it(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Count to 9."}]
    for stop in ("4", ["7", "4"]):
        response = client.chat.completions.create(model=NOVA, messages=messages, stop=stop)
        assert response.choices[0].message.content is not None
        assert response.choices[0].message.content.strip() == "1 2 3"
        assert response.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("limit", [{"max_tokens": 8}, {"max_completion_tokens": 8}])
def test_a_response_that_was_cut_short_has_finish_reason_length(client: OpenAI, limit: Any) -> None:
    messages: Any = [{"role": "user", "content": "Count to 50."}]
    response = client.chat.completions.create(model=NOVA, messages=messages, **limit)
    assert response.choices[0].finish_reason == "length"
    assert response.usage is not None
    assert response.usage.completion_tokens == 8
    assert response.choices[0].message.content is not None
    assert "50" not in response.choices[0].message.content


def test_several_text_blocks_are_one_content(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Count to 9. [[local: texts=3]]"}]
    response = client.chat.completions.create(model=NOVA, messages=messages)
    assert response.choices[0].message.content == "1 2 3 4 5 6 7 8 9"


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_that_a_prompt_router_chose_is_named(client: OpenAI, stream: bool) -> None:
    question: Any = [{"role": "user", "content": "Hello! [[local: router=amazon.nova-lite-v1:0]]"}]
    result: Any = client.chat.completions.create(model=NOVA, messages=question, stream=stream)
    last = list(result)[-1] if stream else result
    assert last.trace["promptRouter"]["invokedModelId"].endswith("foundation-model/amazon.nova-lite-v1:0")


def test_reasoning_is_beside_the_content(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": 'Hello! [[local: reasoning="They greet."]]'}]
    response = client.chat.completions.create(model=CLAUDE, messages=messages)
    message = response.choices[0].message
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "They greet."
    assert message.content is not None
    assert "They greet." not in message.content


@pytest.mark.parametrize("reason", ["guardrail_intervened", "content_filtered"])
def test_a_response_that_was_filtered_has_finish_reason_content_filter(client: OpenAI, reason: str) -> None:
    messages: Any = [{"role": "user", "content": f"Hello! [[local: stop={reason}]]"}]
    response = client.chat.completions.create(model=CLAUDE, messages=messages)
    assert response.choices[0].finish_reason == "content_filter"


def test_tokens_from_a_cache_are_counted_as_openai_counts_them(client: OpenAI) -> None:
    plain = client.chat.completions.create(model=CLAUDE, messages=HELLO)
    messages: Any = [{"role": "user", "content": "Hello! [[local: cacheread=100 cachewrite=20]]"}]
    cached = client.chat.completions.create(model=CLAUDE, messages=messages)
    assert plain.usage is not None
    assert cached.usage is not None
    assert cached.usage.prompt_tokens_details is not None
    assert cached.usage.prompt_tokens_details.cached_tokens == 100
    assert cached.usage.prompt_tokens >= plain.usage.prompt_tokens + 120
    assert cached.usage.total_tokens == cached.usage.prompt_tokens + cached.usage.completion_tokens


def test_more_than_one_choice_is_rejected_by_name(client: OpenAI, local: Any) -> None:
    with pytest.raises(BadRequestError) as rejected:
        client.chat.completions.create(model=NOVA, messages=HELLO, n=2)
    assert rejected.value.param == "n"
    assert local.calls() == []


def test_fields_without_effect_are_named_in_a_header(client: OpenAI, local: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=NOVA, messages=HELLO, seed=1, frequency_penalty=0.5, presence_penalty=0.5, logprobs=True,
        logit_bias={"50256": -100}, user="ada",
    )  # fmt: skip
    named = {name.strip() for name in raw.headers["x-oai-ignored-params"].split(",")}
    assert named == {"seed", "frequency_penalty", "presence_penalty", "logprobs", "logit_bias"}
    assert raw.parse().choices[0].finish_reason == "stop"
    assert local.call()["body"].keys() == {"messages", "requestMetadata"}


def test_no_such_header_where_nothing_was_ignored(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=NOVA, messages=HELLO, temperature=0.1)
    assert "x-oai-ignored-params" not in raw.headers


def test_the_headers_of_a_response(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=NOVA, messages=HELLO)
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-request-id"] == raw.parse()._request_id
    assert raw.headers["openai-organization"] == "acme"
    assert int(raw.headers["content-length"]) == len(raw.content)
    assert not [name for name in raw.headers if name.startswith("x-amz")]


def test_two_requests_have_two_request_ids(client: OpenAI) -> None:
    first, second = (client.chat.completions.create(model=NOVA, messages=HELLO) for _ in range(2))
    assert first._request_id
    assert first._request_id != second._request_id


def test_with_streaming_response(client: OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(model=NOVA, messages=HELLO) as response:
        assert response.status_code == 200
        assert b'"chat.completion"' in b"".join(response.iter_bytes())


# Images


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
        + chunk(b"IEND", b"")
    )


IMAGES = {
    "png": _png(),
    "jpeg": base64.b64decode(
        "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////"
        "wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AN//Z"
    ),
    "gif": base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"),
    "webp": base64.b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"),
}


def _see(url: str) -> Any:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]
    return [{"role": "user", "content": parts}]


@pytest.mark.parametrize("kind", IMAGES)
def test_images(client: OpenAI, local: Any, kind: str) -> None:
    data = base64.b64encode(IMAGES[kind]).decode()
    response = client.chat.completions.create(model=CLAUDE, messages=_see(f"data:image/{kind};base64,{data}"))
    assert response.choices[0].message.content is not None
    assert "1 image" in response.choices[0].message.content
    image = local.call()["body"]["messages"][0]["content"][1]["image"]
    assert image == {"format": kind, "source": {"bytes": data}}


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,aGk=", "data:image/png;base64,!", "https://example.com/cat.png"]
)
def test_an_image_that_cannot_be_sent_is_rejected(client: OpenAI, local: Any, url: str) -> None:
    with pytest.raises(BadRequestError) as rejected:
        client.chat.completions.create(model=CLAUDE, messages=_see(url))
    assert rejected.value.param == "messages[0].content[1].image_url.url"
    assert local.calls() == []
