"""Bedrock's addresses. The oracle is botocore's own endpoint for the same settings."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from extproc.aws.sdk.endpoints import resolve, resolve_table
from extproc.bedrock.endpoints import Endpoint, EndpointError


class SentError(Exception):
    """An exception that carries the URL of a request that is not sent."""


def destination(service: str, region: str) -> str:
    """Return the scheme and authority of boto3's endpoint."""
    retries = Config(retries={"total_max_attempts": 1})
    client: Any = boto3.Session().client(
        service, region_name=region, aws_access_key_id="a", aws_secret_access_key="b", config=retries
    )

    def stop(request: Any, **_: object) -> None:
        raise SentError(request.url)

    client.meta.events.register("before-send", stop)
    with pytest.raises(SentError) as caught:
        client.list_foundation_models() if service == "bedrock" else client.converse(modelId="m", messages=[])
    parts = urlsplit(str(caught.value))
    return f"{parts.scheme}://{parts.netloc}"


PROFILE = """
[default]
region = eu-west-1
services = mine
[services mine]
bedrock_runtime =
  endpoint_url = https://runtime.example:8443
bedrock =
  endpoint_url = http://10.0.0.1
"""


@pytest.mark.parametrize(
    ("region", "settings"),
    [
        ("us-east-1", {}),
        ("us-gov-west-1", {}),
        ("cn-north-1", {}),
        ("future-north-9", {}),
        ("us-east-1", {"AWS_USE_FIPS_ENDPOINT": "true"}),
        ("us-gov-west-1", {"AWS_USE_FIPS_ENDPOINT": "true"}),
        ("eu-central-1", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}),
        ("us-east-1", {"AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_USE_FIPS_ENDPOINT": "true"}),
        ("us-east-1", {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}),
        ("us-east-1", {"AWS_ENDPOINT_URL": "http://a:1/", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "https://b"}),
        ("us-east-1", {"AWS_ENDPOINT_URL_BEDROCK": "http://[::1]:1", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://b:2"}),
        ("us-east-1", {"AWS_ENDPOINT_URL": "http://a:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}),
        ("us-east-1", {"config": PROFILE}),
    ],
    ids=str,
)
def test_as_botocore_would_send_it(aws: Callable[..., None], settings: dict[str, str], region: str) -> None:
    aws(**settings)
    endpoints = resolve(region)
    assert endpoints.region == region
    assert str(endpoints.runtime) == destination("bedrock-runtime", region)
    assert str(endpoints.control) == destination("bedrock", region)


@pytest.mark.parametrize(
    ("region", "settings", "url"),
    [
        ("us-east-1", {}, "https://dynamodb.us-east-1.amazonaws.com"),
        ("cn-north-1", {}, "https://dynamodb.cn-north-1.amazonaws.com.cn"),
        ("us-east-1", {"AWS_USE_FIPS_ENDPOINT": "true"}, "https://dynamodb-fips.us-east-1.amazonaws.com"),
        ("us-east-1", {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000"}, "http://127.0.0.1:8000"),
        ("us-east-1", {"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_DYNAMODB": "http://b:2"}, "http://b:2"),
    ],
    ids=str,
)
def test_the_endpoint_of_a_table(aws: Callable[..., None], settings: dict[str, str], region: str, url: str) -> None:
    aws(**settings)
    assert str(resolve_table(region)) == url


def test_a_url_that_dynamodb_cannot_have(aws: Callable[..., None]) -> None:
    aws(AWS_ENDPOINT_URL_DYNAMODB="http://127.0.0.1/path")
    with pytest.raises(EndpointError, match=r"for DynamoDB \(from AWS_ENDPOINT_URL_DYNAMODB.* has the path"):
        resolve_table("us-east-1")


@pytest.mark.parametrize(
    ("url", "endpoint", "authority"),
    [
        ("https://bedrock.example", Endpoint("https", "bedrock.example", 443), "bedrock.example"),
        ("https://bedrock.example:443", Endpoint("https", "bedrock.example", 443), "bedrock.example"),
        ("https://bedrock.example:80", Endpoint("https", "bedrock.example", 80), "bedrock.example:80"),
        ("http://127.0.0.1", Endpoint("http", "127.0.0.1", 80), "127.0.0.1"),
        ("http://127.0.0.1:8080/", Endpoint("http", "127.0.0.1", 8080), "127.0.0.1:8080"),
        ("http://[::1]:8080", Endpoint("http", "::1", 8080), "[::1]:8080"),
        ("http://[::1]", Endpoint("http", "::1", 80), "[::1]"),
    ],
)
def test_scheme_host_port(aws: Callable[..., None], url: str, endpoint: Endpoint, authority: str) -> None:
    aws(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=url)
    runtime = resolve("us-east-1").runtime
    assert runtime == endpoint
    assert runtime.authority == authority


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://bedrock.example/v1", "has the path '/v1': Bedrock's URLs have none"),
        ("https://me:secret@bedrock.example", "has a user, a query or a fragment"),
        ("https://bedrock.example?x=1", "has a user, a query or a fragment"),
        ("ftp://bedrock.example", "must be http://HOST:PORT or https://HOST:PORT"),
        ("http://bedrock.example:99999", "is not a URL"),
        ("http://bedrock.example:0", "must be http://HOST:PORT"),
        ("localhost:8080", "do not give an endpoint for Bedrock: Invalid endpoint"),
    ],
)
def test_urls_that_bedrock_cannot_have(aws: Callable[..., None], url: str, words: str) -> None:
    aws(AWS_ENDPOINT_URL_BEDROCK=url)
    with pytest.raises(EndpointError) as caught:
        resolve("us-east-1")
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "region"),
    [
        ({"AWS_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-2"),
        ({"config": "[default]\nregion = eu-north-1"}, "eu-north-1"),
        ({"config": "[profile dev]\nregion = ap-south-1", "AWS_PROFILE": "dev"}, "ap-south-1"),
    ],
)
def test_the_region_of_awss_settings(aws: Callable[..., None], settings: dict[str, str], region: str) -> None:
    aws(**settings)
    endpoints = resolve()
    assert endpoints.region == region
    assert endpoints.runtime.host == f"bedrock-runtime.{region}.amazonaws.com"


def test_gateway_yaml_comes_before_awss_settings(aws: Callable[..., None]) -> None:
    aws(AWS_REGION="eu-west-2")
    assert resolve("us-east-2").region == "us-east-2"


def test_no_region(aws: Callable[..., None]) -> None:
    with pytest.raises(EndpointError, match=r"no AWS region: set `region:` in gateway\.yaml, or AWS_REGION"):
        resolve()


@pytest.mark.parametrize(
    ("settings", "region", "words"),
    [
        ({}, "Not A Region", "Not A Region"),
        ({"AWS_PROFILE": "nope"}, "us-east-1", r"profile \(nope\) could not be found"),
    ],
)
def test_settings_that_cannot_work(aws: Callable[..., None], settings: dict[str, str], region: str, words: str) -> None:
    aws(**settings)
    with pytest.raises(EndpointError, match=words):
        resolve(region)


def test_no_credentials_are_looked_for(aws: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: pytest.fail("looked for credentials"))
    assert resolve("us-east-1").region == "us-east-1"


def test_other_regions_have_endpoints_of_their_own(aws: Callable[..., None]) -> None:
    aws(AWS_USE_FIPS_ENDPOINT="true")
    endpoints = resolve("us-east-1", elsewhere=("us-west-2", "us-gov-west-1"))
    assert {region: endpoint.host for region, endpoint in endpoints.elsewhere.items()} == {
        "us-west-2": "bedrock-runtime-fips.us-west-2.amazonaws.com",
        "us-gov-west-1": "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
    }


@pytest.mark.parametrize(
    "host",
    [
        "bedrock-runtime.us-east-1.amazonaws.com",
        "vpce-1-abc.bedrock-runtime.us-east-1.vpce.amazonaws.com",
        "bedrock-runtime.us-east-1.api.aws",
    ],
)
def test_another_regions_endpoint_is_rejected(aws: Callable[..., None], host: str) -> None:
    """Such a setting of AWS's holds for all regions: calls of one would go to the other."""
    aws(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=f"https://{host}")
    assert resolve("us-east-1").runtime.host == host
    with pytest.raises(EndpointError, match=r"regions: eu-west-1 has the endpoint .* another region's"):
        resolve("us-east-1", elsewhere=("eu-west-1",))


def test_an_endpoint_that_is_not_awss_may_serve_all_regions(aws: Callable[..., None]) -> None:
    aws(AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://127.0.0.1:9000")
    endpoints = resolve("us-east-1", elsewhere=("eu-west-1",))
    assert endpoints.elsewhere == {"eu-west-1": endpoints.runtime}
