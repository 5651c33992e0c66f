"""What gateway.yaml decides for the requests of an organisation: limit of tokens, guardrail, default model."""

import json
from typing import Any

import pytest

NOVA = "amazon.nova-micro-v1:0"
LARGE = "word " * 120_000
"""A text that makes a request large enough for the process that translates such requests."""

each_size = pytest.mark.parametrize("text", ["Hello", LARGE], ids=["small", "large"])


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    organisations = {
        "acme": {"max_tokens": 100, "default_model": "usual"},
        "umbrella": {"guardrail": {"id": "gr1a2b3c", "version": "2"}},
        "limited": {},
        "closed": {},
    }
    return start_shared({"aliases": {"usual": NOVA}, "organisations": organisations, "endpoints": {"responses": True}})


def chat(client: Any, organisation: str, text: str = "Hello", **fields: Any) -> Any:
    body = {"model": NOVA, "messages": [{"role": "user", "content": text}], **fields}
    return client.post("chat/completions", body, headers=[("openai-organization", organisation)], token="both")


# organisations.<name>.max_tokens


@each_size
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_request_above_the_limit_is_rejected(client: Any, local: Any, text: str, stream: bool) -> None:
    response = chat(client, "acme", text, max_tokens=101, stream=stream)
    assert (response.status, response.error["param"]) == (400, "max_tokens")
    assert "100 at most" in response.error["message"]
    assert local.calls() == []


@each_size
def test_one_without_a_limit_gets_it(client: Any, local: Any, text: str) -> None:
    assert chat(client, "acme", text).status == 200
    assert local.call()["body"]["inferenceConfig"] == {"maxTokens": 100}


def test_so_does_one_of_responses(client: Any, local: Any) -> None:
    body = {"model": NOVA, "input": "Hello"}
    assert client.post("responses", body).status == 200
    assert local.call()["body"]["inferenceConfig"] == {"maxTokens": 100}
    response = client.post("responses", {**body, "max_output_tokens": 101})
    assert (response.status, response.error["param"]) == (400, "max_output_tokens")


def test_another_organisation_has_its_own(client: Any, local: Any) -> None:
    assert chat(client, "umbrella", max_tokens=101).status == 200
    assert local.call()["body"]["inferenceConfig"] == {"maxTokens": 101}


# organisations.<name>.guardrail

GUARDRAIL = {"guardrailIdentifier": "gr1a2b3c", "guardrailVersion": "2"}
OTHER = {"guardrailIdentifier": "gr9", "guardrailVersion": "1"}


@each_size
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_each_chat_passes_the_organisations_guardrail(client: Any, local: Any, text: str, stream: bool) -> None:
    body = {"model": NOVA, "messages": [{"role": "user", "content": text}], "stream": stream}
    connection = client.connect()
    headers = [("openai-organization", "umbrella")]
    client.send(
        connection, "POST", "/oai/v1/chat/completions", json.dumps(body).encode(), headers=headers, token="both"
    )
    response = connection.getresponse()
    assert (response.status, bool(response.read())) == (200, True)
    connection.close()
    assert local.call()["body"]["guardrailConfig"] == GUARDRAIL


def test_so_does_one_of_responses_by_each_of_the_organisations_tokens(client: Any, local: Any) -> None:
    headers = [("openai-organization", "umbrella")]
    assert client.post("responses", {"model": NOVA, "input": "Hi"}, headers=headers, token="both").status == 200
    assert local.call()["body"]["guardrailConfig"] == GUARDRAIL


def test_a_client_may_ask_for_its_trace(client: Any, local: Any) -> None:
    assert chat(client, "umbrella", guardrailConfig={**GUARDRAIL, "trace": "enabled"}).status == 200
    assert local.call()["body"]["guardrailConfig"] == {**GUARDRAIL, "trace": "enabled"}


@each_size
def test_a_client_cannot_replace_it(client: Any, local: Any, text: str) -> None:
    response = chat(client, "umbrella", text, guardrailConfig=OTHER)
    assert (response.status, response.error["param"]) == (400, "guardrailConfig")
    marked = [{"role": "user", "content": [{"type": "guarded_text", "text": "a"}, {"type": "text", "text": text}]}]
    response = chat(client, "umbrella", guardrailConfig=GUARDRAIL, messages=marked)
    assert (response.status, response.error["param"]) == (400, "messages[0].content[0]")
    assert local.calls() == []


def test_another_organisation_chooses_itself(client: Any, local: Any) -> None:
    assert chat(client, "acme", guardrailConfig=OTHER).status == 200
    assert local.call()["body"]["guardrailConfig"] == OTHER


# organisations.<name>.default_model


@each_size
@pytest.mark.parametrize("model", [{}, {"model": ""}], ids=["absent", "empty"])
def test_a_chat_without_a_model_gets_the_organisations(client: Any, local: Any, text: str, model: Any) -> None:
    messages = [{"role": "user", "content": text}]
    response = client.post("chat/completions", {**model, "messages": messages})
    assert (response.status, response.json()["model"], response.headers["x-oai-model-served"]) == (200, "usual", NOVA)
    assert local.call()["model"] == NOVA


def test_so_does_one_of_responses_without_a_model(client: Any, local: Any) -> None:
    response = client.post("responses", {"input": "Hello"})
    assert (response.status, response.json()["model"]) == (200, "usual")
    assert local.call()["model"] == NOVA


@pytest.mark.parametrize(
    ("organisation", "path", "body", "code"),
    [
        (
            "umbrella",
            "chat/completions",
            {"messages": [{"role": "user", "content": "Hi"}]},
            "missing_required_parameter",
        ),
        ("umbrella", "responses", {"model": "", "input": "Hi"}, "invalid_value"),
        ("acme", "embeddings", {"input": "Hi"}, "missing_required_parameter"),
        ("acme", "responses", {"model": "x" * 2049, "input": "Hi"}, "invalid_value"),
        ("acme", "responses", {"model": None, "input": "Hi"}, "invalid_type"),
    ],
)
def test_elsewhere_the_model_is_required(client: Any, organisation: str, path: str, body: Any, code: str) -> None:
    response = client.post(path, body, headers=[("openai-organization", organisation)], token="both")
    assert (response.status, response.error["param"], response.error["code"]) == (400, "model", code)
