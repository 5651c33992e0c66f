"""An organisation whose calls stay in the geography of its region, beside one whose calls may leave it."""

import re
from typing import Any

import pytest

SONNET, SOL, NOVA = "anthropic.claude-sonnet-4-6", "openai.gpt-5.6-sol", "amazon.nova-micro-v1:0"
"""Models: one with profiles of many geographies, one with a global profile alone outside of the US, one on demand."""
ACCOUNT = "arn:aws:bedrock:eu-central-1:123456789012:"
LEAVING = [
    SOL,
    f"global.{SONNET}",
    f"us.{SONNET}",
    f"apac.{SONNET}",
    f"kr.{SONNET}",
    f"{ACCOUNT}inference-profile/global.{SONNET}",
    f"{ACCOUNT}application-inference-profile/notlisted000",
    f"{ACCOUNT}custom-model-deployment/a1b2c3d4e5f6",
    f"{ACCOUNT}default-prompt-router/anthropic.claude:1",
    f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}",
    "the-global-one",
]
STAYING = [SONNET, NOVA, f"eu.{SONNET}", f"{ACCOUNT}application-inference-profile/a1b2c3d4e5f6", "the-near-one"]
ALIASES = {"the-global-one": f"global.{SONNET}", "the-near-one": SONNET}


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    organisations = {
        "acme": {"region": "eu-central-1", "geography": "strict"},
        "umbrella": {"region": "eu-central-1"},
        "limited": {"geography": "strict"},
        "closed": {},
    }
    return start_shared({"regions": ["eu-central-1"], "organisations": organisations, "aliases": ALIASES})


@pytest.fixture(autouse=True)
def listed(client: Any, eventually: Any) -> None:
    """AWS has listed the region's models: application profiles are in no built-in list."""
    eventually(lambda: f"{ACCOUNT}application-inference-profile/a1b2c3d4e5f6" in models(client, "umbrella"))


def models(client: Any, organisation: str) -> list[str]:
    headers = [("openai-organization", organisation)]
    response = client.exchange("GET", "/oai/v1/models", token="both", headers=headers)
    return [model["id"] for model in response.json()["data"]]


def chat(client: Any, organisation: str, model: str) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    return client.post("chat/completions", body, headers=[("openai-organization", organisation)], token="both")


@pytest.mark.parametrize("model", LEAVING)
def test_what_may_leave_the_geography_is_a_404(client: Any, local: Any, model: str) -> None:
    response = chat(client, "acme", model)
    assert (response.status, response.error["code"]) == (404, "model_not_found")
    assert "Its calls stay in the geography of its region." in response.error["message"]
    assert local.calls() == []
    assert client.exchange("GET", f"/oai/v1/models/{model}", token="ci").status == 404


@pytest.mark.parametrize("model", STAYING)
def test_what_stays_is_served(client: Any, local: Any, model: str) -> None:
    assert chat(client, "acme", model).status == 200
    called = local.call()
    assert called["region"] == "eu-central-1"
    assert re.match(rf"eu\.|{NOVA}|{ACCOUNT}", called["model"])


def test_the_list_has_only_what_stays(client: Any) -> None:
    strict, free = models(client, "acme"), models(client, "umbrella")
    assert {*STAYING} <= {*strict} < {*free}
    assert not {*LEAVING} & {*strict}
    assert not [name for name in strict if name.startswith(("global.", "us."))]
    assert {SOL, f"global.{SONNET}", "the-global-one"} <= {*free}


def test_without_the_key_calls_may_leave_as_before(client: Any, local: Any) -> None:
    assert chat(client, "umbrella", SOL).status == 200
    assert local.call()["model"] == f"global.{SOL}"


def test_the_gateways_own_region_has_a_geography_too(client: Any, local: Any) -> None:
    assert client.chat("Hello!", token="limited", model=f"global.{SONNET}").status == 404
    assert client.chat("Hello!", token="limited", model=SONNET).status == 200
    assert local.call()["model"] == f"us.{SONNET}"
