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


def spelled(name: str) -> list[str]:
    full_width = "".join(chr(ord(letter) + 0xFEE0) for letter in name)
    encoded = [f"%{ord(name[0]):x}{name[1:]}", name.replace(".", "%2E")]
    return [*(text.replace("{}", name) for text in SPELLINGS), name.upper(), full_width, *encoded]


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    """A gateway with all these organisations."""
    organisations = {name: own for each in RULES.values() for name, own in each.items()}
    return start_shared({"organisations": {"umbrella": {}, **organisations}})


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
