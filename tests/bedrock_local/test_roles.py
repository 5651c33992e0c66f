"""STS and several regions: keys of roles sign calls, and each region has its own profiles."""

from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session

BODY = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
ARN = "arn:aws:iam::111111111111:role/"
OWN = ("local", "local-secret")


def client(local: Any, service: str, region: str = "us-east-1", keys: tuple[str, ...] = OWN) -> Any:
    access, secret, *token = keys
    return get_session().create_client(
        service,
        region_name=region,
        endpoint_url=local.url,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        aws_session_token=token[0] if token else None,
        config=Config(retries={"total_max_attempts": 1}),
    )


def assume(local: Any, name: str, **more: str) -> tuple[str, str, str]:
    sts = client(local, "sts")
    keys = sts.assume_role(RoleArn=ARN + name, RoleSessionName="test", **more)["Credentials"]
    assert keys["Expiration"].timestamp() > 0
    return keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]


def test_the_keys_of_a_role_sign_calls(start: Any) -> None:
    with start() as local:
        keys = assume(local, "acme")
        assert assume(local, "acme") == keys != assume(local, "umbrella")
        client(local, "bedrock-runtime", keys=keys).converse(modelId="amazon.nova-lite-v1:0", **BODY)
        assert local.calls()[-1]["access_key"] == keys[0]
        assert "Secret" not in str(local.calls())


@pytest.mark.parametrize("token", ["", "another"])
def test_they_count_with_their_session_token_only(start: Any, token: str) -> None:
    with start() as local:
        access, secret, _ = assume(local, "acme")
        runtime = client(local, "bedrock-runtime", keys=(access, secret, *([token] if token else [])))
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            runtime.converse(modelId="amazon.nova-lite-v1:0", **BODY)


@pytest.mark.parametrize(
    ("name", "more"), [("denied", {}), ("external-s3cret", {}), ("external-s3cret", {"ExternalId": "guess"})]
)
def test_a_role_that_may_not_be_assumed(start: Any, name: str, more: dict[str, str]) -> None:
    with start() as local:
        with pytest.raises(ClientError, match=r"AccessDenied.*is not authorized to perform: sts:AssumeRole"):
            assume(local, name, **more)
        assert assume(local, "external-s3cret", ExternalId="s3cret")[0].startswith("ASIA")
        with pytest.raises(ClientError, match=r"InvalidSignature"):
            client(local, "sts", keys=("local", "guess")).assume_role(RoleArn=ARN + "acme", RoleSessionName="test")


def test_each_region_has_its_own_profiles(start: Any) -> None:
    with start("--more-regions", "eu-central-1") as local:
        for region, geography in (("us-east-1", "us"), ("eu-central-1", "eu")):
            runtime = client(local, "bedrock-runtime", region)
            runtime.converse(modelId=f"{geography}.amazon.nova-lite-v1:0", **BODY)
            assert local.calls()[-1]["region"] == region
            profiles = client(local, "bedrock", region).list_inference_profiles()["inferenceProfileSummaries"]
            assert {each["inferenceProfileId"].partition(".")[0] for each in profiles} >= {geography, "global"}
        with pytest.raises(ClientError, match="identifier is invalid"):
            runtime.converse(modelId="us.amazon.nova-lite-v1:0", **BODY)
        with pytest.raises(ClientError, match="scoped to a valid region"):
            client(local, "bedrock-runtime", "eu-west-1").converse(modelId="amazon.nova-lite-v1:0", **BODY)
