"""Parameters beside the messages, and messages in every form, with OpenAI's Python SDK."""

from typing import Any

import pytest
from openai import BadRequestError, OpenAI

CLAUDE = "anthropic.claude-sonnet-4-6"
WITHOUT_SAMPLING = "anthropic.claude-opus-5"
NOVA = "amazon.nova-micro-v1:0"
ELSEWHERE = "eu.amazon.nova-2-lite-v1:0"
TIERED = "amazon.nova-pro-v1:0"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"

HELLO: Any = [{"role": "user", "content": "Hello!"}]
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def ignored(raw: Any) -> set[str]:
    """Return the fields that had no effect, as the response's header lists them."""
    return set(filter(None, raw.headers.get("x-oai-ignored-params", "").split(", ")))


@pytest.mark.parametrize(
    ("model", "fields", "sent", "passed_over"),
    [
        (CLAUDE, {"temperature": 0.5, "top_p": 0.5}, {"inferenceConfig": {"temperature": 0.5}}, {"top_p"}),
        (NOVA, {"temperature": 0.5, "top_p": 0.5}, {"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}, set()),
        (WITHOUT_SAMPLING, {"temperature": 0.5, "top_p": 0.5}, {}, {"temperature", "top_p"}),
        (CLAUDE, {"extra_body": {"top_k": 5}}, {"additionalModelRequestFields": {"top_k": 5}}, set()),
        (NOVA, {"extra_body": {"top_k": 5}}, {"additionalModelRequestFields": {"inferenceConfig": {"topK": 5}}}, set()),
        (TIERED, {"service_tier": "priority"}, {"serviceTier": {"type": "priority"}}, set()),
        (NOVA, {"service_tier": "auto"}, {}, set()),
        (
            NOVA,
            {"metadata": {"team": "blue"}, "user": "ada", "safety_identifier": "a1"},
            {"requestMetadata": {"team": "blue", "user": "ada", "safety_identifier": "a1"}},
            set(),
        ),
        (
            NOVA,
            {"metadata": {"user_id": '{"device_id":"704c"}', "company": "Société", "url": "https://a.b/?q", "a": "b"}},
            {"requestMetadata": {"a": "b"}},
            {"metadata.user_id", "metadata.company", "metadata.url"},
        ),
        (
            CLAUDE,
            {"extra_body": {"guardrailConfig": {"guardrailIdentifier": "gr123456", "guardrailVersion": "1"}}},
            {"guardrailConfig": {"guardrailIdentifier": "gr123456", "guardrailVersion": "1"}},
            set(),
        ),
    ],
)
def test_a_parameter_is_sent_or_named_as_ignored(
    client: OpenAI, local: Any, model: str, fields: Any, sent: Any, passed_over: set[str]
) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO, **fields)
    assert raw.parse().choices[0].finish_reason == "stop"
    assert ignored(raw) == passed_over
    body = {**local.call()["body"], "messages": []}
    body.get("inferenceConfig", {}).pop("maxTokens", None)  # Claude always gets one
    body.pop("additionalModelResponseFieldPaths", None)  # Claude is always asked for its reasoning's tokens
    assert {key: value for key, value in body.items() if value} == sent


@pytest.mark.parametrize("stream", [False, True])
def test_texts_are_qualified_for_a_guardrail_that_checks_grounding(client: OpenAI, local: Any, stream: bool) -> None:
    source = {"type": "guarded_text", "text": "Tokyo is in Japan.", "qualifiers": ["grounding_source"]}
    query = {"type": "guarded_text", "text": "Where is Tokyo?", "qualifiers": ["query", "guard_content"]}
    messages: Any = [{"role": "user", "content": [source, query]}]
    guardrail = {"guardrailConfig": {"guardrailIdentifier": "gr123456", "guardrailVersion": "1"}}
    assert client.chat.completions.create(model=CLAUDE, messages=messages, extra_body=guardrail, stream=stream)
    assert local.call()["body"]["messages"][0]["content"] == [
        {"guardContent": {"text": {"text": "Tokyo is in Japan.", "qualifiers": ["grounding_source"]}}},
        {"guardContent": {"text": {"text": "Where is Tokyo?", "qualifiers": ["query", "guard_content"]}}},
    ]


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        (NOVA, {"temperature": 1.5}, "temperature"),
        (NOVA, {"extra_body": {"temprature": 1}}, "temprature"),
        (NOVA, {"modalities": ["text", "audio"]}, "modalities"),
        (NOVA, {"web_search_options": {}}, "web_search_options"),
        (ELSEWHERE, {"web_search_options": {}}, "web_search_options"),
        (LLAMA, {"stop": "END"}, "stop"),
        (LLAMA, {"service_tier": "priority"}, "service_tier"),
        (NOVA, {"metadata": {str(n): "" for n in range(17)}}, "metadata"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_field_that_would_change_the_response_is_rejected_by_name(
    client: OpenAI, local: Any, model: str, fields: Any, param: str, stream: bool
) -> None:
    with pytest.raises(BadRequestError) as rejected:
        client.chat.completions.create(model=model, messages=HELLO, stream=stream, **fields)
    assert rejected.value.param == param
    assert local.calls() == []


@pytest.mark.parametrize(
    "mark", [{"cache_control": {"type": "ephemeral", "ttl": "1h"}}, {"prompt_cache_breakpoint": {"mode": "explicit"}}]
)
def test_cache_points(client: OpenAI, local: Any, weather: Any, mark: Any) -> None:
    parts: Any = [{"type": "text", "text": "Long instructions.", **mark}]
    messages: Any = [{"role": "system", "content": parts}, *HELLO]
    mark_only = {key: value for key, value in mark.items() if key == "cache_control"}
    raw = client.chat.completions.with_raw_response.create(
        model=CLAUDE, messages=messages, tools=[{**weather, **mark_only}]
    )
    assert not ignored(raw)
    body = local.call()["body"]
    assert [list(block) for block in body["system"]] == [["text"], ["cachePoint"]]
    assert ("cachePoint" in body["toolConfig"]["tools"][-1]) == bool(mark_only)


def test_citations_of_the_web_are_annotations(client: OpenAI) -> None:
    question: Any = [{"role": "user", "content": "Count to 4. [[local: cite=https://example.com/a]]"}]
    message = client.chat.completions.create(model=NOVA, messages=question).choices[0].message
    assert message.content == "1 2 3 4"
    [annotation] = message.annotations or []
    assert annotation.url_citation.url == "https://example.com/a"
    assert message.content[annotation.url_citation.start_index : annotation.url_citation.end_index] == "1 2 3 4"

    raw = client.chat.completions.with_raw_response.create(model=NOVA, messages=[*question, message, *HELLO])
    assert ignored(raw) == {"messages[].annotations"}


@pytest.mark.parametrize("model", ["amazon.nova-premier-v1:0", "us.amazon.nova-2-lite-v1:0"])
@pytest.mark.parametrize("tools", [[], [TOOL]], ids=["alone", "beside a tool"])
def test_a_search_of_the_web_is_aws_s_and_its_sources_are_annotations(
    client: OpenAI, local: Any, model: str, tools: Any
) -> None:
    """`web_search_options` is AWS's web grounding (fidelity, B17)."""
    asked: Any = {"model": model, "messages": HELLO, "web_search_options": {"search_context_size": "low"}}
    if tools:
        asked["tools"] = tools
    raw = client.chat.completions.with_raw_response.create(**asked)
    message = raw.parse().choices[0].message
    assert local.call()["body"]["toolConfig"]["tools"][-1] == {"systemTool": {"name": "nova_grounding"}}
    assert len(local.call()["body"]["toolConfig"]["tools"]) == 1 + len(tools)
    assert ignored(raw) == {"web_search_options.search_context_size"}
    [annotation] = message.annotations or []
    cited = annotation.url_citation
    assert cited.url.startswith("https://example.com/")
    assert message.content
    assert (cited.start_index, cited.end_index) == (0, len(message.content))
    assert message.tool_calls is None

    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0].message
    assert (streamed.content, streamed.annotations) == (message.content, message.annotations)


def test_a_schema_beside_a_search_is_an_instruction(client: OpenAI, local: Any) -> None:
    schema = {"name": "place", "schema": {"type": "object", "properties": {"city": {"type": "string"}}}, "strict": True}
    asked: Any = {"response_format": {"type": "json_schema", "json_schema": schema}, "web_search_options": {}}
    raw = client.chat.completions.with_raw_response.create(model="amazon.nova-premier-v1:0", messages=HELLO, **asked)
    body = local.call()["body"]
    assert body["toolConfig"] == {"tools": [{"systemTool": {"name": "nova_grounding"}}]}
    assert "JSON Schema" in body["system"][-1]["text"]
    assert ignored(raw) == {"response_format.json_schema.strict"}


def test_a_model_that_searches_elsewhere_says_by_which_id(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match=r"begins with 'us\.'"):
        client.chat.completions.create(model=ELSEWHERE, messages=HELLO, web_search_options={})


def test_extra_fields_of_messages_are_named_and_left_out(client: OpenAI, local: Any) -> None:
    others: Any = [{"role": "assistant", "content": "Hi", "provider_specific_fields": {"citations": None}}]
    raw = client.chat.completions.with_raw_response.create(model=NOVA, messages=[*HELLO, *others, *HELLO])
    assert ignored(raw) == {"messages[].provider_specific_fields"}
    assert local.call()["body"]["messages"][1] == {"role": "assistant", "content": [{"text": "Hi"}]}


# Messages


def turns(call: Any) -> list[tuple[str, list[str]]]:
    """Return the messages that arrived, as roles and texts."""
    return [(turn["role"], [block["text"] for block in turn["content"]]) for turn in call["body"]["messages"]]


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("messages", "roles"),
    [
        ([{"role": "system", "content": "Greet."}], ["user"]),
        ([*HELLO, *HELLO], ["user"]),
        ([*HELLO, {"role": "assistant", "content": "Hi."}, {"role": "system", "content": "Be kind."}, *HELLO], None),
        ([{"role": "assistant", "content": "Hi."}, *HELLO], None),
        ([*HELLO, {"role": "assistant", "content": ""}, *HELLO], ["user"]),
        ([*HELLO, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, *HELLO], None),
        ([*HELLO, {"role": "assistant", "content": "Once upon a time "}], None),
        ([{"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "Hi"}]}], ["user"]),
    ],
    ids=[
        "instructions alone", "twice the user", "instructions later", "the assistant first", "an empty answer",
        "a refusal", "a text to continue", "blank text",
    ],
)  # fmt: skip
def test_messages_in_every_form(
    client: OpenAI, local: Any, model: str, stream: bool, messages: Any, roles: list[str] | None
) -> None:
    result: Any = client.chat.completions.create(model=model, messages=messages, stream=stream)
    last = list(result)[-1] if stream else result
    assert last.choices[0].finish_reason == "stop"
    arrived = turns(local.call())
    assert all(text.strip() for _, texts in arrived for text in texts)
    assert roles is None or [role for role, _ in arrived] == roles


def test_an_empty_conversation_is_rejected(client: OpenAI, local: Any) -> None:
    with pytest.raises(BadRequestError) as rejected:
        client.chat.completions.create(model=CLAUDE, messages=[{"role": "user", "content": " "}])
    assert rejected.value.param == "messages"
    assert local.calls() == []
