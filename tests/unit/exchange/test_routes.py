from typing import get_args

import pytest

from extproc.config.kinds import Scope
from extproc.exchange.chat_endpoint import CHAT
from extproc.exchange.embeddings_endpoint import EMBEDDINGS
from extproc.exchange.routes import ENDPOINTS, ModelDetails, ModelList, Route, UsageRoute, route
from extproc.openai.errors import ApiError
from extproc.openai.usage_query import COMPLETIONS, COSTS
from extproc.openai.usage_query import EMBEDDINGS as EMBEDDINGS_USAGE


@pytest.mark.parametrize(
    ("method", "path", "expected_route"),
    [
        ("POST", "/oai/v1/chat/completions", CHAT),
        ("POST", "/oai/v1/chat/completions/", CHAT),
        ("POST", "/oai/v1/embeddings?api-version=1", EMBEDDINGS),
        ("GET", "/oai/v1/models", ModelList()),
        ("GET", "/oai/v1/models/", ModelList()),
        ("GET", "/oai/v1/models/amazon.nova-micro-v1:0", ModelDetails("amazon.nova-micro-v1:0")),
        (
            "GET",
            "/oai/v1/models/arn:aws:bedrock:us-east-1:1:application-inference-profile%2Fabc",
            ModelDetails("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"),
        ),
        ("GET", "/oai/v1/models/arn%3Aaws/abc", ModelDetails("arn:aws/abc")),
        ("GET", "/oai/v1/models/a%252Fb", ModelDetails("a%2Fb")),
        ("GET", "/oai/v1/organization/costs", UsageRoute(COSTS, "")),
        ("GET", "/oai/v1/organization/usage/completions/?a=%41&b=?", UsageRoute(COMPLETIONS, "a=%41&b=?")),
        ("GET", "/oai/v1/organization/usage/embeddings?", UsageRoute(EMBEDDINGS_USAGE, "")),
    ],
)
def test_every_endpoint_is_routed(method: str, path: str, expected_route: Route) -> None:
    assert route(method, path) == expected_route


def test_every_route_has_a_scope_and_every_scope_a_route() -> None:
    routes: list[Route] = [*ENDPOINTS.values(), ModelList(), ModelDetails("a"), UsageRoute(COSTS, "")]
    assert {each.scope for each in routes} == set(get_args(get_args(Scope)[0]))


def test_a_path_longer_than_any_models_is_not_unescaped() -> None:
    """It takes 16 ms where it has 60 KB, before a token is checked."""
    longest, longer = "%41" * 2048, "%41" * 2049
    assert route("GET", f"/oai/v1/models/{longest}") == ModelDetails("A" * 2048)
    assert route("GET", f"/oai/v1/models/{longer}") == ModelDetails(longer)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/oai/v1/chat/completions", "POST"),
        ("DELETE", "/oai/v1/embeddings", "POST"),
        ("POST", "/oai/v1/models", "GET"),
        ("DELETE", "/oai/v1/models/ft:gpt", "GET"),
        ("HEAD", "/oai/v1/models", "GET"),
        ("POST", "/oai/v1/organization/costs", "GET"),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_one(method: str, path: str, allow: str) -> None:
    with pytest.raises(ApiError) as raised:
        route(method, path)
    assert raised.value.status == 405
    assert raised.value.headers == {"allow": allow}


@pytest.mark.parametrize(
    "path",
    [
        "/oai/v1/images/generations",
        "/oai/v1/responses/resp_1",
        "/oai/v1/batches",
        "/oai/v1",
        "/oai/v1/",
        "/oai/v1x/models",
        "/v1/models",
        "/oai/v1/chat/completions/extra",
        "/oai/v1/modelsx",
        "",
        "*",
    ],
)
def test_an_unknown_path_is_a_404_that_names_the_known_ones(path: str) -> None:
    with pytest.raises(ApiError) as raised:
        route("POST", path)
    assert raised.value.status == 404
    assert "/oai/v1/chat/completions" in raised.value.message


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/oai/v1/responses/resp_1"),
        ("DELETE", "/oai/v1/responses/resp_1/"),
        ("POST", "/oai/v1/responses/resp_1/cancel?a=b"),
        ("GET", "/oai/v1/responses"),
    ],
)
def test_the_404_of_a_stored_response_explains_that_none_is_stored(method: str, path: str) -> None:
    with pytest.raises(ApiError, match=r"Responses are not stored: POST /oai/v1/responses, where an operator"):
        route(method, path)
    with pytest.raises(ApiError) as raised:
        route(method, "/oai/v1/responsesx")
    assert "stored" not in raised.value.message


@pytest.mark.parametrize("path", ["/oai/v1/organization/usage/images?start_time=1", "/oai/v1/organization/users"])
def test_the_404_of_other_administration_names_what_there_is(path: str) -> None:
    with pytest.raises(ApiError, match=r"it has GET /oai/v1/organization/usage/completions, .*\(`usage.sqlite`\)"):
        route("GET", path)
