"""Signatures against AWS's published example and botocore's rules for paths."""

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Frozen

from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.sigv4 import Signer, model_path

NOW = 1_790_000_000.75  # 2026-09-21T14:13:20Z, and a bit
KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
PATH = "/model/amazon.nova-micro-v1%3A0/converse"


@pytest.fixture
def signer() -> Signer:
    return Signer("us-east-1", "bedrock-runtime.us-east-1.amazonaws.com")


def test_a_signature_as_botocore_made_it(signer: Signer) -> None:
    """A signature recorded from botocore 1.44.5; the property test compares live."""
    headers = dict(signer.sign(KEYS, PATH, b"{}", (("content-type", "application/json"),), NOW))
    assert headers == {
        "authorization": "AWS4-HMAC-SHA256 "
        "Credential=AKIDEXAMPLE/20260921/us-east-1/bedrock/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=9058ded11f145bc24ebd4a4feec1ab0a6523f9df318a096eb6a8f29af1d59c02",
        "x-amz-date": "20260921T141320Z",
    }


@pytest.mark.parametrize("service", ["dynamodb", "bedrock"])
def test_another_service_is_signed_for_as_botocore_does(service: str) -> None:
    headers = (("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.GetItem"))
    signed = dict(Signer("eu-west-1", "dynamodb.eu-west-1.amazonaws.com", service).sign(KEYS, "/", b"{}", headers, NOW))
    request = AWSRequest("POST", "https://dynamodb.eu-west-1.amazonaws.com/", dict(headers), b"{}")
    request.headers["X-Amz-Date"] = request.context["timestamp"] = signed["x-amz-date"]
    oracle = SigV4Auth(Frozen(KEYS.access_key, KEYS.secret_key), service, "eu-west-1")
    canonical_request = oracle.canonical_request(request)
    signature = oracle.signature(oracle.string_to_sign(request, canonical_request), request)
    assert signed["authorization"].endswith(f"Signature={signature}")


def test_a_session_token_is_sent_and_signed(signer: Signer) -> None:
    temporary = Credentials(KEYS.access_key, KEYS.secret_key, "session")
    headers = dict(signer.sign(temporary, PATH, b"{}", (), NOW))
    assert headers["x-amz-security-token"] == "session"
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token," in headers["authorization"]


def test_a_bearer_token_is_sent_and_nothing_is_signed(signer: Signer) -> None:
    headers = signer.sign(BearerToken("bedrock-api-key-x"), PATH, b"{}", (("content-type", "a"),), NOW)
    assert headers == (("authorization", "Bearer bedrock-api-key-x"),)


@pytest.mark.parametrize(
    ("changed", "arguments"),
    [
        ("body", (KEYS, PATH, b"{ }", (), NOW)),
        ("path", (KEYS, PATH + "-stream", b"{}", (), NOW)),
        ("a header", (KEYS, PATH, b"{}", (("content-type", "application/json"),), NOW)),
        ("time", (KEYS, PATH, b"{}", (), NOW + 1)),
        ("day", (KEYS, PATH, b"{}", (), NOW + 86_400)),
        ("secret", (Credentials("AKIDEXAMPLE", "another"), PATH, b"{}", (), NOW)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_any_change_of_the_request_changes_the_signature(signer: Signer, changed: str, arguments: tuple) -> None:
    assert _signature(signer.sign(*arguments)) != _signature(signer.sign(KEYS, PATH, b"{}", (), NOW))


def test_region_and_authority_are_signed(signer: Signer) -> None:
    here = _signature(signer.sign(KEYS, PATH, b"{}", (), NOW))
    host = "bedrock-runtime.us-east-1.amazonaws.com"
    assert _signature(Signer("eu-west-1", host).sign(KEYS, PATH, b"{}", (), NOW)) != here
    assert _signature(Signer("us-east-1", f"{host}:8443").sign(KEYS, PATH, b"{}", (), NOW)) != here


def test_secrets_are_not_in_the_repr() -> None:
    assert "secret" not in repr(Credentials("AKID", "secret-key", "secret-session"))
    assert "secret" not in repr(BearerToken("secret"))


@pytest.mark.parametrize(
    ("model_id", "path"),
    [
        ("amazon.nova-micro-v1:0", "/model/amazon.nova-micro-v1%3A0/invoke"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc/invoke",
        ),
        ("a b?c#d%2e", "/model/a%20b%3Fc%23d%252e/invoke"),
        ("ünï", "/model/%C3%BCn%C3%AF/invoke"),
        ("..", "/model/%2E%2E/invoke"),
        (".", "/model/%2E/invoke"),
        ("...", "/model/.../invoke"),
    ],
)
def test_the_model_id_is_one_segment_of_the_path(model_id: str, path: str) -> None:
    assert model_path(model_id, "invoke") == path


def _signature(headers: tuple[tuple[str, str], ...]) -> str:
    return dict(headers)["authorization"].rpartition("Signature=")[2]
