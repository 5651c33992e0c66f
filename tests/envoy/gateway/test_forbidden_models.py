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

RULES: dict[str, dict[str, list[str]]] = {
    "deny": {"deny": ["anthropic.*", "cohere.*"]},
    "allow": {"allow": ["amazon.*"]},
    "both": {"allow": ["*"], "deny": ["Anthropic.*", "COHERE.*"]},
}


def spelled(name: str) -> list[str]:
    full_width = "".join(chr(ord(letter) + 0xFEE0) for letter in name)
    encoded = [f"%{ord(name[0]):x}{name[1:]}", name.replace(".", "%2E")]
    return [*(text.replace("{}", name) for text in SPELLINGS), name.upper(), full_width, *encoded]


@pytest.fixture(scope="module", params=RULES)
def ruled(request: pytest.FixtureRequest, start_shared: Any) -> Any:
    """A gateway whose one organisation has one of these rules."""
    return start_shared(
        {"organisations": {"acme": {"models": RULES[request.param]}, "umbrella": {}, "limited": {}, "closed": {}}}
    )


def test_no_spelling_of_a_forbidden_model_reaches_bedrock(ruled: Any, client_of: Any, local_of: Any) -> None:
    client, local = client_of(ruled), local_of(ruled.local_url)
    local.forget()
    for name in spelled(CLAUDE):
        for response in (client.chat("Hello", model=name), client.rejected_stream("Hello", model=name)):
            assert (response.status, response.error["code"], response.error["param"]) == (
                404,
                "model_not_found",
                "model",
            ), name
    for name in spelled(EMBEDDER):
        for texts in ("one", ["one"] * 200):
            response = client.embed(texts, model=name)
            assert (response.status, response.error["code"]) == (404, "model_not_found"), name
    for name in (*spelled(CLAUDE), *spelled(EMBEDDER)):
        for path in (quote(name), quote(name, safe="")):
            response = client.exchange("GET", f"/oai/v1/models/{path}")
            assert (response.status, response.error["code"]) == (404, "model_not_found"), path
    assert local.calls() == []
    assert client.chat("Hello", model=NOVA).status == 200
    assert [call["model"] for call in local.calls()] == [NOVA]
