import pytest

from extproc.exchange.routes import Route, route
from extproc.openai.errors import ApiError


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/oai/v1/chat/completions", Route("chat")),
        ("POST", "/oai/v1/chat/completions/", Route("chat")),
        ("POST", "/oai/v1/embeddings?api-version=1", Route("embeddings")),
        ("GET", "/oai/v1/models", Route("models")),
        ("GET", "/oai/v1/models/", Route("models")),
        ("GET", "/oai/v1/models/amazon.nova-micro-v1:0", Route("model", "amazon.nova-micro-v1:0")),
        (
            "GET",
            "/oai/v1/models/arn:aws:bedrock:us-east-1:1:application-inference-profile%2Fabc",
            Route("model", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"),
        ),
        ("GET", "/oai/v1/models/arn%3Aaws/abc", Route("model", "arn:aws/abc")),
        ("GET", "/oai/v1/models/a%252Fb", Route("model", "a%2Fb")),
    ],
)
def test_what_is_served_is_found(method: str, path: str, found: Route) -> None:
    assert route(method, path) == found


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/oai/v1/chat/completions", "POST"),
        ("DELETE", "/oai/v1/embeddings", "POST"),
        ("POST", "/oai/v1/models", "GET"),
        ("DELETE", "/oai/v1/models/ft:gpt", "GET"),
        ("HEAD", "/oai/v1/models", "GET"),
    ],
)
def test_a_wrong_method_is_405_and_says_which_is_right(method: str, path: str, allow: str) -> None:
    with pytest.raises(ApiError) as refused:
        route(method, path)
    assert refused.value.status == 405
    assert refused.value.headers == {"allow": allow}


@pytest.mark.parametrize(
    "path",
    [
        "/oai/v1/images/generations",
        "/oai/v1/responses",
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
def test_everything_else_is_404_and_names_what_there_is(path: str) -> None:
    with pytest.raises(ApiError) as refused:
        route("POST", path)
    assert refused.value.status == 404
    assert "/oai/v1/chat/completions" in refused.value.message
