"""Authentication: settled by the request's headers alone, before a byte of its body is read."""

from typing import Any

import pytest

CHAT = "/oai/v1/chat/completions"
NOBODYS = "qc_" + "x" * 43

REJECTED = {
    "none": [],
    "empty": [("authorization", "")],
    "without a scheme": [("authorization", NOBODYS)],
    "another scheme": [("authorization", "Basic cWM6cWM=")],
    "no token behind the scheme": [("authorization", "Bearer ")],
    "a key of OpenAI's": [("authorization", "Bearer sk-proj-abcdefghijklmnop")],
    "a key of AWS's": [
        ("authorization", "AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/us-east-1/bedrock/aws4_request")
    ],
    "nothing behind the prefix": [("authorization", "Bearer qc_")],
    "with a blank inside": [("authorization", f"Bearer qc_abc {NOBODYS}")],
    "bytes outside ASCII": [("authorization", "Bearer qc_\xfc\xe9")],
    "never issued": [("authorization", f"Bearer {NOBODYS}")],
    "in another header": [("x-api-key", NOBODYS)],
    "twice": [("authorization", f"Bearer {NOBODYS}"), ("authorization", f"Bearer {NOBODYS}")],
}


@pytest.mark.parametrize("headers", REJECTED.values(), ids=REJECTED)
def test_without_a_good_token_the_response_is_401_before_any_body_is_read(
    client: Any, local: Any, headers: list[tuple[str, str]]
) -> None:
    announced = [*headers, ("content-type", "application/json"), ("content-length", "1000000")]
    response = client.exchange("POST", CHAT, headers=announced, token=None)
    assert response.status == 401
    assert response.error["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"
    assert local.calls() == []


def test_a_chunked_body_is_not_waited_for_either(client: Any) -> None:
    response = client.exchange("POST", CHAT, headers=[("transfer-encoding", "chunked")], token=None)
    assert response.status == 401


def test_an_expired_token_is_rejected_before_any_body_is_read(client: Any) -> None:
    response = client.exchange("POST", CHAT, headers=[("content-length", "1000000")], token="expired")
    assert response.status == 401
    assert "expired" in response.error["message"]


@pytest.mark.parametrize("path", ["models", "models/amazon.nova-micro-v1:0"])
def test_the_models_are_not_shown_to_everybody(client: Any, path: str) -> None:
    assert client.exchange("GET", f"/oai/v1/{path}", token=None).status == 401


def test_a_token_sent_twice_is_rejected_even_if_each_is_good(client: Any) -> None:
    again = [("authorization", f"Bearer {client.tokens['ci']}")]
    assert client.exchange("GET", "/oai/v1/models", headers=again).status == 401


def test_the_scheme_may_be_written_in_any_case(client: Any) -> None:
    headers = [("authorization", f"bEARER   {client.tokens['ci']}")]
    assert client.exchange("GET", "/oai/v1/models", headers=headers, token=None).status == 200


@pytest.mark.parametrize("token", ["nobody", "closed"])
def test_a_token_without_an_organisation_that_is_open_is_forbidden_before_any_body_is_read(
    client: Any, token: str
) -> None:
    response = client.exchange("POST", CHAT, headers=[("content-length", "1000000")], token=token)
    assert response.status == 403
    assert response.error["code"] == "organisation_not_allowed"


@pytest.mark.parametrize("headers", [[], [("openai-organization", "")], [("openai-organization", "  ")]])
def test_a_token_of_several_organisations_has_to_name_one(client: Any, headers: list[tuple[str, str]]) -> None:
    response = client.exchange("POST", CHAT, headers=[*headers, ("content-length", "1000000")], token="both")
    assert response.status == 400
    assert "OpenAI-Organization" in response.error["message"]


@pytest.mark.parametrize("name", ["acme", "umbrella"])
def test_the_organisation_that_is_named_is_the_one_that_calls(client: Any, name: str) -> None:
    response = client.exchange("GET", "/oai/v1/models", headers=[("OpenAI-Organization", name)], token="both")
    assert response.status == 200
    assert response.headers["openai-organization"] == name


@pytest.mark.parametrize("name", ["limited", "acme,umbrella", "ACME", "*", "../acme"])
@pytest.mark.parametrize("token", ["both", "ci"])
def test_an_organisation_that_is_not_the_tokens_is_forbidden(client: Any, name: str, token: str) -> None:
    response = client.exchange("GET", "/oai/v1/models", headers=[("OpenAI-Organization", name)], token=token)
    assert response.status == 403
    assert name not in response.error["message"]


def test_a_model_outside_the_organisations_patterns_does_not_exist_for_it(client: Any, local: Any) -> None:
    listed = [model["id"] for model in client.exchange("GET", "/oai/v1/models", token="limited").json()["data"]]
    assert "amazon.nova-micro-v1:0" in listed
    assert not any("anthropic" in name for name in listed)
    for name in ("anthropic.claude-sonnet-4-6", "us.anthropic.claude-sonnet-4-6"):
        response = client.chat("Hello!", model=name, token="limited")
        assert response.status == 404
        assert (response.error["code"], response.error["param"]) == ("model_not_found", "model")
    assert local.calls() == []


def test_no_token_of_a_caller_is_in_the_log(gateway: Any, client: Any) -> None:
    client.exchange("GET", "/oai/v1/models")
    client.exchange("GET", "/oai/v1/models", headers=[("authorization", f"Bearer {NOBODYS}")], token=None)
    assert NOBODYS not in gateway.log()
    assert client.tokens["ci"] not in gateway.log()
