"""Access: boto3 with the right secret is let in, nobody else; each rejection has AWS's words."""

import json
from datetime import UTC, datetime, timedelta

import pytest

BODY = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
PATH = "/model/amazon.nova-lite-v1%3A0/converse"
JSON = {"Content-Type": "application/json"}


def send(local, headers, body=BODY, path=PATH, method="POST"):
    return local.send(method, path, headers, json.dumps(body).encode() if body else b"")


def test_boto3_is_let_in(local):
    assert local.control.list_foundation_models()["modelSummaries"]


def test_wrong_secret(local, rejected):
    status, name, message = rejected(local.client("bedrock", secret="guess").list_foundation_models)
    assert (status, name) == (403, "InvalidSignatureException")
    assert message.startswith("The request signature we calculated does not match the signature you provided.")
    assert "GET\n/foundation-models\n" in message


def test_unknown_access_key(local, rejected):
    assert rejected(local.client("bedrock", access="AKIANOBODY").list_foundation_models) == (
        403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )


def test_either_key_is_let_in_while_keys_are_rotated(start, rejected):
    with start("--more-keys", "AKIANEW:s3cret:with:colons", "--more-keys", "AKIAOLD:s") as local:
        for access, secret in (("local", "local-secret"), ("AKIANEW", "s3cret:with:colons"), ("AKIAOLD", "s")):
            client = local.client("bedrock-runtime", access=access, secret=secret)
            client.converse(modelId="amazon.nova-lite-v1:0", **BODY)
        assert [call["access_key"] for call in local.calls()] == ["local", "AKIANEW", "AKIAOLD"]
        assert "s3cret" not in json.dumps(local.calls())
        wrong = local.client("bedrock", access="AKIANEW", secret="s").list_foundation_models
        assert rejected(wrong)[1] == "InvalidSignatureException"


def test_no_credentials(local):
    assert send(local, JSON).error == (403, "MissingAuthenticationTokenException", "Missing Authentication Token")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda h: {**h, "Authorization": "Basic bG9jYWw6"}, "IncompleteSignatureException"),
        (
            lambda h: {**h, "Authorization": h["Authorization"].partition(", Signature")[0]},
            "IncompleteSignatureException",
        ),
        (
            lambda h: {**h, "Authorization": h["Authorization"].replace("/aws4_request", "")},
            "IncompleteSignatureException",
        ),
        (lambda h: {k: v for k, v in h.items() if k != "X-Amz-Date"}, "IncompleteSignatureException"),
        (lambda h: {**h, "X-Amz-Date": "yesterday"}, "InvalidSignatureException"),
        (lambda h: {**h, "X-Amz-Date": "20260101T000000Z"}, "InvalidSignatureException"),
        (
            lambda h: {**h, "Authorization": h["Authorization"].replace("content-type;host", "content-type")},
            "InvalidSignatureException",
        ),
        (
            lambda h: {**h, "Authorization": h["Authorization"].replace("host;", "host;x-not-there;")},
            "InvalidSignatureException",
        ),
        (lambda h: {**h, "X-Amz-Security-Token": "smuggled"}, "InvalidSignatureException"),
        (lambda h: {**h, "X-Amz-Content-SHA256": "0" * 64}, "InvalidSignatureException"),
        (lambda h: {**h, "Content-Type": "application/JSON"}, "InvalidSignatureException"),
        (
            lambda h: {**h, "Authorization": h["Authorization"].replace("aws4_request", "aws5_request")},
            "InvalidSignatureException",
        ),
        (lambda h: {**h, "Authorization": h["Authorization"] + "\xff"}, "InvalidSignatureException"),
        (lambda h: {**h, "Content-Type": "application/json;\xff"}, "InvalidSignatureException"),
    ],
)
def test_a_signature_that_does_not_fit(local, change, name):
    headers = local.signed("POST", PATH, json.dumps(BODY).encode(), headers=JSON)
    assert send(local, headers).status == 200
    status, error_name, _ = send(local, change(headers)).error
    assert (status, error_name) == (403, name)


def test_the_body_and_the_path_and_the_query_are_signed(local):
    headers = local.signed("POST", PATH, json.dumps(BODY).encode(), headers=JSON)
    for changed in (
        {"body": {**BODY, "inferenceConfig": {"maxTokens": 1}}},
        {"path": PATH.replace("lite", "pro")},
        {"path": f"{PATH}?a=b"},
    ):
        assert send(local, headers, **changed).error[1] == "InvalidSignatureException"


def test_the_scope_must_be_this_region_and_service(local):
    for scope, message in (
        ({"region": "eu-west-1"}, "Credential should be scoped to a valid region."),
        ({"service": "bedrock-runtime"}, "Credential should be scoped to correct service: 'bedrock'."),
    ):
        headers = local.signed("GET", "/foundation-models", **scope)
        response = send(local, headers, body=None, path="/foundation-models", method="GET")
        assert response.error == (403, "InvalidSignatureException", message)


@pytest.mark.parametrize(("minutes", "status"), [(-6, 403), (-4, 200), (4, 200), (6, 403)])
def test_five_minutes_either_way(local, monkeypatch, minutes, status):
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *args, **kwargs: at)
    headers = local.signed("GET", "/foundation-models")
    response = send(local, headers, body=None, path="/foundation-models", method="GET")
    assert response.status == status
    if status == 403:
        assert response.error[1] == "InvalidSignatureException"
        assert response.error[2].startswith("Signature expired" if minutes < 0 else "Signature not yet current")


def test_a_session_token_is_welcome_when_signed(local):
    headers = local.signed("GET", "/foundation-models", token="session")
    assert send(local, headers, body=None, path="/foundation-models", method="GET").status == 200


def test_an_arn_in_the_path_is_encoded_twice_in_the_signature(local):
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"
    assert local.control.get_inference_profile(inferenceProfileIdentifier=arn)["inferenceProfileArn"] == arn


@pytest.mark.parametrize(
    ("leak", "named"),
    [
        ({"Cookie": "session=1"}, "cookie"),
        ({"X-Api-Key": "k"}, "x-api-key"),
        ({"OpenAI-Organization": "acme"}, "openai-organization"),
        ({"Authorization": "Bearer qc_abcdefgh"}, "authorization"),
    ],
)
def test_headers_that_must_not_leave_a_gateway_are_an_error(local, leak, named):
    headers = {**local.signed("POST", PATH, json.dumps(BODY).encode(), headers=JSON), **leak}
    status, name, message = send(local, headers).error
    assert (status, name) == (400, "ValidationException")
    assert f"The header {named} " in message
    assert "qc_abcdefgh" not in message
    assert send(local, leak, path="/oai/v1/chat/completions").error[:2] == (400, "ValidationException")


def test_an_api_key_is_let_in_only_where_there_is_one(local, start):
    bearer = {**JSON, "Authorization": "Bearer bedrock-api-key-1"}
    rejection = (403, "AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.")
    assert send(local, bearer).error == rejection
    with start("--bearer", "bedrock-api-key-1") as other:
        assert send(other, bearer).status == 200
        assert send(other, {**JSON, "Authorization": "Bearer bedrock-api-key-2"}).error == rejection
        assert send(other, {**JSON, "Authorization": "Bearer \xff"}).error == rejection
        assert send(other, other.signed("GET", "/foundation-models"), None, "/foundation-models", "GET").status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", PATH),
        ("POST", "/model//converse"),
        ("POST", "/model/amazon.nova-lite-v1%3A0/invoke-with-response-stream"),
        ("POST", "/guardrail/g/version/1/apply"),
        ("DELETE", "/foundation-models"),
        ("GET", "/custom-models"),
    ],
)
def test_unknown_operations(local, method, path):
    response = send(local, local.signed(method, path), body=None, path=path, method=method)
    assert response.status == 404
    assert response.headers["x-amzn-errortype"].startswith("UnknownOperationException")
    assert response.json["Output"]["__type"] == "com.amazon.coral.service#UnknownOperationException"
