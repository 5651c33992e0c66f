"""Embeddings: one call goes through Envoy, several go out beside it; the caller sees no difference."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-multilingual-v3"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"


def tokens(response: Any) -> int:
    """Return the tokens that a response cost."""
    usage = response.json()["usage"]
    assert usage["prompt_tokens"] == usage["total_tokens"]
    return int(usage["total_tokens"])


@pytest.mark.parametrize(
    "model", [TITAN, "amazon.titan-embed-text-v1", "amazon.titan-embed-image-v1", NOVA, COHERE, "cohere.embed-v4:0"]
)
def test_an_array_is_each_of_its_texts_in_order(client: Any, model: str) -> None:
    texts = ["the third", "the first", "the second", "the third"]
    single = [client.embed(text, model=model) for text in texts]
    response = client.embed(texts, model=model)
    assert response.vectors == [one.vectors[0] for one in single]
    assert response.json()["model"] == model
    assert tokens(response) == sum(map(tokens, single))


def test_a_hundred_texts_are_a_hundred_calls_and_one_response(client: Any, local: Any) -> None:
    texts = [f"text number {number}" for number in range(100)]
    response = client.embed(texts, dimensions=256)
    assert len({tuple(vector) for vector in response.vectors}) == 100
    calls = local.calls()
    assert sorted(call["body"]["inputText"] for call in calls) == sorted(texts)
    assert {call["state"] for call in calls} == {"finished"}
    assert response.vectors[42] == client.embed(texts[42], dimensions=256).vectors[0]


@pytest.mark.parametrize(("number", "sizes"), [(96, [96]), (97, [1, 96]), (200, [8, 96, 96])])
def test_cohere_takes_96_texts_a_call(client: Any, local: Any, number: int, sizes: list[int]) -> None:
    texts = [f"text number {index}" for index in range(number)]
    response = client.embed(texts, model=COHERE)
    assert sorted(len(call["body"]["texts"]) for call in local.calls()) == sizes
    assert len({tuple(vector) for vector in response.vectors}) == number
    last = client.embed(texts[-1], model=COHERE)
    assert response.vectors[-1] == last.vectors[0]


def test_a_model_behind_a_profile_is_called_by_the_profile(client: Any, local: Any) -> None:
    client.embed(["x"] * 97, model="cohere.embed-v4:0")
    assert {call["model"] for call in local.calls()} == {"us.cohere.embed-v4:0"}


@pytest.mark.parametrize(
    ("order", "status"), [("status=429", 429), ("status=400", 400), ("status=403", 502), ("status=503", 503)]
)
@pytest.mark.parametrize("place", [0, 9])
def test_one_text_that_fails_fails_them_all(client: Any, order: str, status: int, place: int) -> None:
    texts = ["x"] * 10
    texts[place] = f"[[local: {order}]] x"
    assert client.embed(texts).status == status


def test_after_a_failure_no_call_is_left_behind(client: Any, local: Any, eventually: Any) -> None:
    response = client.embed(["[[local: hold]] x"] * 5 + ["[[local: status=400]] x"])
    assert response.status == 400
    eventually(lambda: {call["state"] for call in local.calls()} <= {"aborted", "refused"})


def test_no_more_calls_are_in_flight_than_is_configured(client: Any, local: Any) -> None:
    connection = client.connect()
    body = {"model": TITAN, "input": ["[[local: hold]] a"] * 8 + ["b"]}
    client.send(connection, "POST", "/oai/v1/embeddings", json.dumps(body).encode())
    local.wait_for(*["running"] * 8)
    assert local.release() == 8
    assert len(json.loads(connection.getresponse().read())["data"]) == 9
    connection.close()


def test_many_arrays_at_once_keep_to_themselves(client: Any) -> None:
    def send_request(number: int) -> Any:
        return client.embed([f"{number} {index}" for index in range(10)], dimensions=256).vectors

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(send_request, range(8)))
    assert got[3] == [client.embed(f"3 {index}", dimensions=256).vectors[0] for index in range(10)]
    assert len({tuple(vector) for vectors in got for vector in vectors}) == 80


def test_side_calls_that_take_too_long_are_a_504_and_are_ended(strict: Any, client_of: Any, local_of: Any) -> None:
    local = local_of(strict.local_url)
    local.forget()
    response = client_of(strict).embed(["[[local: hold]] x"] * 5)
    assert response.status == 504
    local.wait_for(*["aborted"] * 5)
