"""Spellings of a forbidden model, from a socket to a local Bedrock that sees none of them."""

from typing import Any
from urllib.parse import quote

import pytest

CLAUDE, EMBEDDER, NOVA = "anthropic.claude-sonnet-4-6", "cohere.embed-english-v3", "amazon.nova-micro-v1:0"

SPELLINGS = (
    "{}",
    " {}",
    "./{}",
    "amazon.x/../{}",
    "amazon.x%2F..%2F{}",
    "bedrock/{}",
    "{}?x",
    "{}#x",
    "\u200b{}",
    "neo.{}",
    "us.us.{}",
    "arn:aws:bedrock:us-east-1::foundation-model/{}",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{}",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6",
    "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/a1b2c3d4e5f6",
)

RULES: dict[str, dict[str, Any]] = {
    "ci": {"acme": {"models": {"deny": ["anthropic.*", "cohere.*"]}}},
    "limited": {"limited": {"models": {"allow": ["amazon.*"]}}},
    "closed": {"closed": {"models": {"allow": ["*"], "deny": ["Anthropic.*", "COHERE.*"]}}},
}
"""Tokens, and their organisations, each with another form of the same rule."""

HAIKU, OPUS = "anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-opus-4-6-v1"

WORDS = ("*haiku*", "*20251001*", "arn:*:24k")
"""What the organisation `umbrella` may call: models with these words in their names."""

WITH_WORDS = (
    "{}:0:haiku",
    "{}:haiku",
    "{}:0:24k",
    "haiku.{}",
    "us.haiku.{}",
    "arn:aws-haiku:bedrock:us-east-1::foundation-model/{}",
    "arn:aws-x.haiku-x:bedrock:us-east-1::foundation-model/{}",
    "arn:aws:bedrock:haiku-1::foundation-model/{}",
    "arn:aws:bedrock:us-east-1::foundation-model/{}",
    "arn:aws:bedrock:us-east-1::foundation-model/{}:24k",
    "arn:aws-haiku:bedrock:us-east-1:123456789012:inference-profile/us.{}",
    "arn:aws:bedrock:haiku-1:123456789012:inference-profile/us.{}",
    "arn:aws:bedrock:us-east-1:202510010000:inference-profile/us.{}",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{}",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/haiku.{}",
    "arn:aws:bedrock:haiku-1:123456789012:provisioned-model/a1b2c3d4e5f6",
)
"""Spellings of a model, with those words around it."""


def spelled(name: str) -> list[str]:
    full_width = "".join(chr(ord(letter) + 0xFEE0) for letter in name)
    encoded = [f"%{ord(name[0]):x}{name[1:]}", name.replace(".", "%2E")]
    return [*(text.replace("{}", name) for text in SPELLINGS), name.upper(), full_width, *encoded]


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    """A gateway with all these organisations."""
    organisations = {name: own for each in RULES.values() for name, own in each.items()}
    umbrella = {"models": {"allow": list(WORDS)}}
    document = {"organisations": {"umbrella": umbrella, **organisations}, "endpoints": {"responses": True}}
    return start_shared(document)


@pytest.mark.parametrize("token", RULES)
def test_no_spelling_of_a_forbidden_model_reaches_bedrock(client: Any, local: Any, token: str) -> None:
    for name in spelled(CLAUDE):
        for stream in (False, True):
            response = client.chat("Hello", model=name, token=token, stream=stream)
            assert (response.status, response.error["code"], response.error["param"]) == (
                404,
                "model_not_found",
                "model",
            ), name
    for name in spelled(EMBEDDER):
        for texts in ("one", ["one"] * 200):
            response = client.post("embeddings", {"model": name, "input": texts}, token=token)
            assert (response.status, response.error["code"]) == (404, "model_not_found"), name
    for name in (*spelled(CLAUDE), *spelled(EMBEDDER)):
        for path in (quote(name), quote(name, safe="")):
            response = client.exchange("GET", f"/oai/v1/models/{path}", token=token)
            assert (response.status, response.error["code"]) == (404, "model_not_found"), path
    assert local.calls() == []
    assert client.chat("Hello", model=NOVA, token=token).status == 200
    assert [call["model"] for call in local.calls()] == [NOVA]


def post(client: Any, path: str, body: Any) -> Any:
    return client.post(path, body, headers=[("openai-organization", "umbrella")], token="both")


@pytest.mark.parametrize("name", WITH_WORDS)
@pytest.mark.parametrize("model", [OPUS, CLAUDE])
def test_no_word_around_an_id_makes_a_model_permitted(client: Any, local: Any, name: str, model: str) -> None:
    name = name.replace("{}", model)
    bodies: dict[str, Any] = {
        "chat/completions": {"messages": [{"role": "user", "content": "Hello"}]},
        "responses": {"input": "Hello"},
        "responses/input_tokens": {"input": "Hello"},
        "embeddings": {"input": "Hello"},
    }
    for path, body in bodies.items():
        response = post(client, path, {"model": name, **body})
        assert response.status in (400, 404), path
        assert response.error["code"] == "model_not_found" or model not in called(local), path
    assert not any(model in each for each in called(local))


def called(local: Any) -> list[str]:
    return [call["model"] for call in local.calls()]
