"""Bedrock behind TLS: whoever cannot prove to be it gets nothing, and an API key goes nowhere else."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.envoy.gateway.servers import Front

CALLS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat("Hello!"),
    "one embedding": lambda client: client.embed("x"),
    "embeddings": lambda client: client.embed(["x", "y"]),
}


@pytest.fixture(scope="module")
def front(authority: Any, bedrock: Any) -> Iterator[Callable[[str], int]]:
    """Put a server of this name in front of Bedrock, and return its port."""
    fronts: list[Front] = []

    def serve(name: str) -> int:
        fronts.append(Front(authority.certify(name), bedrock.port))
        return int(fronts[-1].port)

    yield serve
    for each in fronts:
        each.close()


@pytest.fixture(scope="module")
def with_an_api_key(start_shared: Any, client_of: Any, bedrock: Any, authority: Any, front: Any) -> Any:
    """A client of a gateway that has a Bedrock API key instead of a key pair."""
    env = {name: value for name, value in bedrock.environment.items() if name.endswith("_FILE")}
    env |= {"AWS_ENDPOINT_URL": f"https://localhost:{front('localhost')}", "AWS_CA_BUNDLE": str(authority.certificate)}
    env["AWS_BEARER_TOKEN_BEDROCK"] = bedrock.bearer
    return client_of(start_shared(env=env, args=["--upstream", "aws"]))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_api_key_of_bedrocks_works_over_tls(with_an_api_key: Any, call: Callable[[Any], Any]) -> None:
    assert call(with_an_api_key).status == 200


def test_streams_come_piece_by_piece_over_tls_too(with_an_api_key: Any, bedrock: Any, local_of: Any) -> None:
    local = local_of(bedrock.url)
    with with_an_api_key.stream("Count to 9. [[local: hold]]") as stream:
        assert stream.delta() == "1"
        local.release()
        assert stream.rest()[-1] == "[DONE]"


def test_the_models_are_listed_with_an_api_key_too(with_an_api_key: Any) -> None:
    """The profile of an application is in no built-in list."""
    listed = [model["id"] for model in with_an_api_key.exchange("GET", "/oai/v1/models").json()["data"]]
    assert any("application-inference-profile" in name for name in listed)


@pytest.fixture(scope="module")
def towards_a_stranger(start_shared: Any, client_of: Any, bedrock: Any, front: Any) -> Any:
    """A client of a gateway whose Bedrock shows a certificate of an unknown authority."""
    endpoint = {"AWS_ENDPOINT_URL": f"https://localhost:{front('localhost')}"}
    kept = {name: value for name, value in bedrock.environment.items() if "ENDPOINT" not in name}
    return client_of(start_shared(env={**kept, **endpoint}, args=["--upstream", "aws"]))


@pytest.fixture(scope="module")
def towards_another_name(start_shared: Any, client_of: Any, bedrock: Any, authority: Any, front: Any) -> Any:
    """A client of a gateway whose Bedrock shows a good certificate for another name."""
    env = {name: value for name, value in bedrock.environment.items() if "ENDPOINT" not in name}
    env |= {"AWS_ENDPOINT_URL": f"https://localhost:{front('other.test')}", "AWS_CA_BUNDLE": str(authority.certificate)}
    return client_of(start_shared(env=env, args=["--upstream", "aws"]))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("gateway_of", ["towards_a_stranger", "towards_another_name"])
def test_a_server_that_cannot_prove_to_be_bedrock_gets_nothing(
    request: pytest.FixtureRequest, bedrock: Any, local_of: Any, gateway_of: str, call: Callable[[Any], Any]
) -> None:
    client = request.getfixturevalue(gateway_of)
    local_of(bedrock.url).forget()
    response = call(client)
    assert response.status == 503
    assert response.error["code"] == "bedrock_unreachable"
    assert local_of(bedrock.url).calls() == []
