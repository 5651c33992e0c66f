"""Aliases: names that gateway.yaml gives to models, for everybody or for an organisation."""

from typing import Any

import pytest

CLAUDE, NOVA, PRO = "anthropic.claude-sonnet-4-6", "amazon.nova-micro-v1:0", "amazon.nova-pro-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
LARGE = "word " * 120_000
"""A text that makes a request large enough for the process that translates such requests."""
SERVED = "x-oai-model-served"


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    organisations = {
        "acme": {"aliases": {"gpt-4o": PRO}},
        "umbrella": {"models": {"allow": ["amazon.*"]}},
        "limited": {},
        "closed": {},
    }
    aliases = {"gpt-4o": NOVA, "claude": CLAUDE, "embedder": TITAN}
    return start_shared({"aliases": aliases, "organisations": organisations, "endpoints": {"responses": True}})


def called(local: Any) -> list[str]:
    """Return the model of each call to Bedrock."""
    return [call["model"] for call in local.calls()]


def as_organisation(client: Any, organisation: str, path: str, body: Any) -> Any:
    return client.post(path, body, headers=[("openai-organization", organisation)], token="both")


@pytest.mark.parametrize("text", ["Hello", LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("organisation", "served"), [("acme", PRO), ("umbrella", NOVA)])
def test_a_chat_with_an_alias(client: Any, local: Any, text: str, organisation: str, served: str) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    response = as_organisation(client, organisation, "chat/completions", body)
    assert (response.status, response.json()["model"], response.headers[SERVED]) == (200, "gpt-4o", served)
    assert called(local) == [served]


def test_a_stream_with_an_alias_of_a_model_behind_a_profile(client: Any, local: Any) -> None:
    with client.stream("Hello", model="claude") as stream:
        assert stream.headers[SERVED] == f"us.{CLAUDE}"
        assert stream.chunk()["model"] == "claude"
    assert called(local) == [f"us.{CLAUDE}"]


@pytest.mark.parametrize("texts", ["one", ["one", "two"]], ids=["one", "two"])
def test_embeddings_with_an_alias(client: Any, local: Any, texts: Any) -> None:
    response = client.embed(texts, model="embedder")
    assert (response.status, response.json()["model"], response.headers[SERVED]) == (200, "embedder", TITAN)
    assert set(called(local)) == {TITAN}


def test_responses_with_an_alias(client: Any, local: Any) -> None:
    response = client.post("responses", {"model": "gpt-4o", "input": "Hello"})
    assert (response.status, response.json()["model"], response.headers[SERVED]) == (200, "gpt-4o", PRO)
    assert called(local) == [PRO]


def test_a_models_own_id_has_no_such_header(client: Any) -> None:
    response = client.chat("Hello", model=NOVA)
    assert (response.json()["model"], response.headers.get(SERVED)) == (NOVA, None)


def test_a_rejected_call_names_what_would_have_served_it(client: Any) -> None:
    response = client.chat("[[local: status=429]]", model="gpt-4o")
    assert (response.status, response.headers[SERVED]) == (429, PRO)


def test_the_list_has_the_aliases_that_may_be_used(client: Any) -> None:
    own = client.exchange("GET", "/oai/v1/models").json()["data"]
    assert {entry["id"] for entry in own if entry["owned_by"] == "organisation"} == {"gpt-4o", "claude", "embedder"}
    details = client.exchange("GET", "/oai/v1/models/gpt-4o")
    assert (details.status, details.json()["owned_by"]) == (200, "organisation")
    header = [("openai-organization", "umbrella")]
    other = client.exchange("GET", "/oai/v1/models", headers=header, token="both").json()["data"]
    assert {entry["id"] for entry in other if entry["owned_by"] == "organisation"} == {"gpt-4o", "embedder"}
    assert client.exchange("GET", "/oai/v1/models/claude", headers=header, token="both").status == 404


def test_an_alias_of_a_forbidden_model_does_not_exist(client: Any, local: Any) -> None:
    body = {"model": "claude", "messages": [{"role": "user", "content": "Hello"}]}
    response = as_organisation(client, "umbrella", "chat/completions", body)
    assert (response.status, response.error["code"], response.error["param"]) == (404, "model_not_found", "model")
    assert SERVED not in response.headers
    assert called(local) == []


def test_a_wrong_name_is_told_the_alias(client: Any) -> None:
    assert "Did you mean `gpt-4o`?" in client.chat("Hello", model="gpt4o").error["message"]
