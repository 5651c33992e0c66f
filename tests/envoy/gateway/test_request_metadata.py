"""What AWS's books have of a call: who made it, by the gateway's word."""

import json
from typing import Any

import pytest

NOVA, TITAN = "amazon.nova-micro-v1:0", "amazon.titan-embed-text-v2:0"
LARGE = "word " * 120_000
"""A text that makes a request large enough for the process that translates such requests."""
HEADER = "x-amzn-bedrock-request-metadata"
ACME = {"oai.organisation": "acme", "oai.token": "both", "team": "search"}
UMBRELLA = {"oai.organisation": "umbrella", "oai.token": "both"}


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    organisations = {"acme": {"request_metadata": {"team": "search"}}, "umbrella": {}, "limited": {}, "closed": {}}
    return start_shared({"aws": {}, "organisations": organisations})


def post(client: Any, organisation: str, path: str, **body: Any) -> Any:
    headers = [("openai-organization", organisation), (HEADER, '{"oai.organisation":"forged"}')]
    return client.post(path, body, headers=headers, token="both")


def chat(client: Any, organisation: str, text: str = "Hello", **fields: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return post(client, organisation, "chat/completions", model=NOVA, messages=messages, **fields)


@pytest.mark.parametrize("text", ["Hello", LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("organisation", "pairs"), [("acme", ACME), ("umbrella", UMBRELLA)])
def test_a_chat_names_who_made_it(client: Any, local: Any, text: str, organisation: str, pairs: Any) -> None:
    response = chat(client, organisation, text, metadata={"a": "b"}, user="ann")
    assert response.status == 200
    assert local.call()["body"]["requestMetadata"] == {**pairs, "a": "b", "user": "ann"}


def test_a_stream_does(client: Any, local: Any) -> None:
    with client.stream("Hello") as stream:
        assert stream.status == 200
    assert local.call()["body"]["requestMetadata"] == {**ACME, "oai.token": "ci"}


@pytest.mark.parametrize("texts", ["one", ["one", "two"]], ids=["one", "two"])
@pytest.mark.parametrize(("organisation", "pairs"), [("acme", ACME), ("umbrella", UMBRELLA)])
def test_embeddings_do_by_a_header(client: Any, local: Any, texts: Any, organisation: str, pairs: Any) -> None:
    assert post(client, organisation, "embeddings", model=TITAN, input=texts).status == 200
    for call in local.calls():
        assert json.loads(call["headers"][HEADER]) == pairs


@pytest.mark.parametrize(
    ("metadata", "param"),
    [
        ({"oai.organisation": "forged"}, "metadata"),
        ({"OAI.token": "forged"}, "metadata"),
        ({"team": "forged"}, "metadata.team"),
        ({f"k{n}": "v" for n in range(14)}, "metadata"),
    ],
)
@pytest.mark.parametrize("text", ["Hello", LARGE], ids=["small", "large"])
def test_callers_cannot_write_them(client: Any, local: Any, text: str, metadata: Any, param: str) -> None:
    response = chat(client, "acme", text, metadata=metadata)
    assert (response.status, response.error["param"]) == (400, param)
    assert local.calls() == []


def test_thirteen_pairs_are_left_to_the_client(client: Any, local: Any) -> None:
    assert chat(client, "acme", metadata={f"k{n}": "v" for n in range(13)}).status == 200
    assert len(local.call()["body"]["requestMetadata"]) == 16


def test_an_operator_chooses_what_is_named(start_shared: Any, client_of: Any, local_of: Any) -> None:
    names = ["request_id"]
    running = start_shared({"aws": {"request_metadata": names}})
    response, local = client_of(running).chat("Hello"), local_of(running.local_url)
    assert local.call()["body"]["requestMetadata"] == {"oai.request_id": response.headers["x-request-id"]}
