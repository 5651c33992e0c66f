"""Failures, as OpenAI's Python SDK raises them: its classes, `param` and `code`, request ids, retries."""

from collections.abc import Callable
from typing import Any

import pytest
from openai import (
    APIStatusError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    OpenAI,
    PermissionDeniedError,
    RateLimitError,
)

NOVA = "amazon.nova-micro-v1:0"


def user_messages(text: str) -> Any:
    return [{"role": "user", "content": text}]


HELLO: Any = {"model": NOVA, "messages": user_messages("Hello!")}


def is_whole(error: APIStatusError) -> bool:
    """Return whether the body has OpenAI's shape: all four keys, a message and a type."""
    body = error.response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    assert body["error"]["type"]
    assert error.request_id
    return error.response.headers["content-type"] == "application/json"


# Authentication


@pytest.mark.parametrize("key", ["sk-proj-something", "qc_" + "x" * 43, "qc_"])
def test_a_wrong_key(client: OpenAI, local: Any, key: str) -> None:
    with pytest.raises(AuthenticationError) as rejected:
        client.with_options(api_key=key).chat.completions.create(**HELLO)
    assert rejected.value.code == "invalid_api_key"
    assert rejected.value.response.headers["www-authenticate"].startswith("Bearer")
    assert is_whole(rejected.value)
    assert local.calls() == []


def test_an_expired_key(gateway: Any, client: OpenAI) -> None:
    with pytest.raises(AuthenticationError, match="expired"):
        client.with_options(api_key=gateway.tokens["expired"]).models.list()


def test_a_key_of_no_organisation(gateway: Any, client: OpenAI) -> None:
    with pytest.raises(PermissionDeniedError) as rejected:
        client.with_options(api_key=gateway.tokens["nobody"]).models.list()
    assert is_whole(rejected.value)


def test_a_key_of_several_organisations_names_one(gateway: Any, client: OpenAI) -> None:
    both = client.with_options(api_key=gateway.tokens["both"])
    with pytest.raises(BadRequestError, match="OpenAI-Organization"):
        both.models.list()
    for name in ("acme", "umbrella"):
        raw = both.with_options(organization=name).chat.completions.with_raw_response.create(**HELLO)
        assert raw.headers["openai-organization"] == name


def test_an_organisation_that_is_not_the_keys(client: OpenAI) -> None:
    with pytest.raises(PermissionDeniedError):
        client.with_options(organization="umbrella").chat.completions.create(**HELLO)


def test_a_model_that_the_organisation_may_not_use(gateway: Any, client: OpenAI, local: Any) -> None:
    limited = client.with_options(api_key=gateway.tokens["limited"])
    ids = {model.id for model in limited.models.list()}
    assert NOVA in ids
    assert not any("anthropic" in name for name in ids)
    with pytest.raises(NotFoundError) as rejected:
        limited.chat.completions.create(model="anthropic.claude-sonnet-4-6", messages=user_messages("Hello!"))
    assert rejected.value.code == "model_not_found"
    assert rejected.value.param == "model"
    assert local.calls() == []


# Models, parameters and paths


def test_a_model_that_does_not_exist(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as rejected:
        client.chat.completions.create(model="gpt-4o", messages=user_messages("Hello!"))
    assert rejected.value.code == "model_not_found"
    assert is_whole(rejected.value)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hello!"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_p": 7}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"model": ""}, "model"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"extra_body": {"min_p": 0.5}}, "min_p"),
        (
            {"tools": [{"type": "function", "function": {"name": "weather"}, "strict": True}]},
            "tools[0].strict",
        ),
        ({"response_format": {"type": "json_object", "schema": {}}}, "response_format.schema"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_a_bad_request_names_the_parameter(client: OpenAI, local: Any, change: Any, param: str) -> None:
    with pytest.raises(BadRequestError) as rejected:
        client.chat.completions.create(**{**HELLO, **change})
    assert rejected.value.param == param
    assert rejected.value.code
    assert rejected.value.type == "invalid_request_error"
    assert is_whole(rejected.value)
    assert local.calls() == []


def test_an_invalid_guardrail_name_is_rejected_in_bedrocks_words(client: OpenAI) -> None:
    guardrail = {"guardrailIdentifier": "My_guardrail", "guardrailVersion": "1"}
    with pytest.raises(BadRequestError, match="'My_guardrail' at 'guardrailConfig") as rejected:
        client.chat.completions.create(**HELLO, extra_body={"guardrailConfig": guardrail})
    assert rejected.value.param == "guardrailConfig"
    assert "Member must satisfy regular expression pattern" in rejected.value.message
    assert is_whole(rejected.value)


async def test_the_asynchronous_client(async_client: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError) as rejected:
        await async_client.chat.completions.create(model=NOVA, messages=[])
    assert rejected.value.param == "messages"


def test_a_body_that_is_too_large(client: OpenAI, local: Any) -> None:
    with pytest.raises(APIStatusError) as rejected:
        client.chat.completions.create(model=NOVA, messages=user_messages("x" * 34_000_000))
    assert rejected.value.status_code == 413
    assert is_whole(rejected.value)
    assert local.calls() == []


@pytest.mark.parametrize("call", ["images", "moderations", "responses", "files", "audio", "batches", "completions"])
def test_a_route_that_is_not_served_names_the_served_ones(client: OpenAI, call: str) -> None:
    calls: dict[str, Callable[[], object]] = {
        "images": lambda: client.images.generate(prompt="a cat"),
        "moderations": lambda: client.moderations.create(input="text"),
        "responses": lambda: client.responses.create(model=NOVA, input="text"),
        "files": lambda: client.files.list(),
        "audio": lambda: client.audio.speech.create(model="tts-1", voice="alloy", input="text"),
        "batches": lambda: client.batches.list(),
        "completions": lambda: client.completions.create(model=NOVA, prompt="text"),
    }
    with pytest.raises(NotFoundError, match="/oai/v1/chat/completions") as rejected:
        calls[call]()
    assert is_whole(rejected.value)


def test_a_wrong_method(client: OpenAI) -> None:
    with pytest.raises(APIStatusError) as rejected:
        client.models.delete("amazon.nova-micro-v1:0")
    assert rejected.value.status_code == 405
    assert rejected.value.response.headers["allow"] == "GET"
    assert is_whole(rejected.value)


# Errors of Bedrock


@pytest.mark.parametrize(
    ("order", "expected", "status", "code"),
    [
        ("status=400", BadRequestError, 400, None),
        (
            'status=400 message="Input is too long for requested model."',
            BadRequestError,
            400,
            "context_length_exceeded",
        ),
        ("status=404", NotFoundError, 404, "model_not_found"),
        ("status=408", InternalServerError, 504, "model_timeout"),
        ("status=424", InternalServerError, 502, "model_error"),
        ("status=429", RateLimitError, 429, "rate_limit_exceeded"),
        ("status=500", InternalServerError, 500, "bedrock_error"),
        ("status=503", InternalServerError, 503, "bedrock_unavailable"),
        ("status=403 type=ExpiredTokenException", InternalServerError, 502, "gateway_credentials"),
        ("status=403 type=AccessDeniedException", InternalServerError, 502, "gateway_credentials"),
    ],
)
def test_bedrocks_errors(
    client: OpenAI, order: str, expected: type[APIStatusError], status: int, code: str | None
) -> None:
    with pytest.raises(expected) as failed:
        client.chat.completions.create(model=NOVA, messages=user_messages(f"Hello! [[local: {order}]]"))
    assert failed.value.status_code == status
    assert failed.value.code == code
    assert is_whole(failed.value)


# Retries


def test_throttling_is_retried_after_the_time_in_the_header(client: OpenAI, local: Any) -> None:
    with pytest.raises(RateLimitError) as rejected:
        client.with_options(max_retries=1).chat.completions.create(
            model=NOVA, messages=user_messages("Hello! [[local: status=429]]")
        )
    assert float(rejected.value.response.headers["retry-after"]) > 0
    calls = local.calls()
    assert [call["state"] for call in calls] == ["refused", "refused"]
    assert calls[0]["body"] == calls[1]["body"]


def test_nothing_is_retried_behind_the_clients_back(client: OpenAI, local: Any) -> None:
    for status in (429, 500, 503):
        local.forget()
        with pytest.raises(APIStatusError):
            client.chat.completions.create(model=NOVA, messages=user_messages(f"Hello! [[local: status={status}]]"))
        assert local.call()["state"] == "refused"


def test_a_bad_request_is_not_retried(client: OpenAI, local: Any) -> None:
    with pytest.raises(BadRequestError):
        client.with_options(max_retries=2).chat.completions.create(
            model=NOVA, messages=user_messages("Hello! [[local: status=400]]")
        )
    assert local.call()["state"] == "refused"
