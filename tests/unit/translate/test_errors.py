"""Bedrock's failures as the client is told them."""

from typing import Any

import botocore.session
import pytest

from extproc.bedrock.errors import BedrockError
from extproc.openai.errors import ApiError
from extproc.translate.errors import bad_answer, cut_off, from_bedrock

SECRET = (
    "The request signature we calculated does not match the signature you provided. The Canonical String for this "
    "request should have been 'POST\n/model/m/converse\n\nx-amz-security-token:IQoJb3JpZ2luX2VjE'"
)
CREDENTIALS = [
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "IncompleteSignatureException",
    "MissingAuthenticationTokenException",
    "ExpiredTokenException",
]


@pytest.mark.parametrize(
    ("kind", "status", "type_", "code"),
    [
        ("ValidationException", 400, "invalid_request_error", None),
        ("ConflictException", 400, "invalid_request_error", None),
        ("ResourceNotFoundException", 404, "invalid_request_error", "model_not_found"),
        ("ThrottlingException", 429, "rate_limit_error", "rate_limit_exceeded"),
        ("TooManyRequestsException", 429, "rate_limit_error", "rate_limit_exceeded"),
        ("ServiceQuotaExceededException", 429, "rate_limit_error", "rate_limit_exceeded"),
        ("ModelNotReadyException", 429, "rate_limit_error", "model_not_ready"),
        ("ModelTimeoutException", 504, "server_error", "model_timeout"),
        ("ModelErrorException", 502, "server_error", "model_error"),
        ("ModelStreamErrorException", 502, "server_error", "model_error"),
        ("InternalServerException", 500, "server_error", "bedrock_error"),
        ("ServiceUnavailableException", 503, "server_error", "bedrock_unavailable"),
        ("BrandNewException", 502, "server_error", "bedrock_error"),
    ],
)
def test_a_failure_has_the_status_type_and_code_that_sdks_act_on(kind: str, status: int, type_: str, code: Any) -> None:
    error = from_bedrock(BedrockError(kind, "Because."))
    assert (error.status, error.type, error.code, error.message) == (status, type_, code, "Because.")


def test_every_exception_of_the_service_model_has_a_rule() -> None:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shapes = [
        shape.name
        for name in ("Converse", "ConverseStream", "InvokeModel")
        for shape in model.operation_model(name).error_shapes
    ]
    assert shapes
    for name in shapes:
        known, unknown = from_bedrock(BedrockError(name, "x")), from_bedrock(BedrockError("Unknown", "x"))
        assert (known.status, known.code) != (unknown.status, unknown.code), name


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [
        (400, 400, None),
        (401, 502, "gateway_credentials"),
        (403, 502, "gateway_credentials"),
        (404, 404, "model_not_found"),
        (413, 413, "request_too_large"),
        (429, 429, "rate_limit_exceeded"),
        (500, 502, "bedrock_error"),
        (503, 503, "bedrock_unavailable"),
        (504, 504, "bedrock_timeout"),
        (302, 502, "bedrock_error"),
        (0, 502, "bedrock_error"),
    ],
)
def test_a_failure_without_a_name_goes_by_its_status(status: int, told: int, code: str | None) -> None:
    error = from_bedrock(BedrockError("", "Because.", status))
    assert (error.status, error.code) == (told, code)


@pytest.mark.parametrize(
    "failure", [BedrockError(kind, SECRET, 403) for kind in CREDENTIALS] + [BedrockError("", SECRET, 401)]
)
def test_the_gateways_own_credentials_are_not_the_callers_business(failure: BedrockError) -> None:
    """AWS quotes the signed headers, session token included, and the account and role that were refused."""
    error = from_bedrock(failure)
    assert (error.status, error.code) == (502, "gateway_credentials")
    assert "not about your API key" in error.message
    assert "IQoJ" not in error.message
    assert failure.kind in error.message


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (
            BedrockError("ValidationException", "The provided model identifier is invalid.", 400),
            404,
            "model_not_found",
        ),
        (
            BedrockError(
                "AccessDeniedException", "You don't have access to the model with the specified model ID.", 403
            ),
            404,
            "model_not_found",
        ),
        (
            BedrockError(
                "ValidationException",
                "Invocation of model ID x with on-demand throughput isn\N{RIGHT SINGLE QUOTATION MARK}t supported.",
                400,
            ),
            404,
            "model_not_found",
        ),
        (BedrockError("ValidationException", "Input is too long for requested model."), 400, "context_length_exceeded"),
        (BedrockError("ValidationException", "prompt is too long: 9 > 8"), 400, "context_length_exceeded"),
    ],
)
def test_what_aws_says_only_in_its_message_is_heard(failure: BedrockError, status: int, code: str) -> None:
    error = from_bedrock(failure)
    assert (error.status, error.code) == (status, code)
    assert failure.message in error.message


def test_a_model_that_is_only_served_by_profile_says_what_to_ask_for() -> None:
    failure = BedrockError("ValidationException", "… with on-demand throughput isn't supported.")
    assert "inference profile" in from_bedrock(failure).message


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        ("ThrottlingException", "1"),
        ("ServiceUnavailableException", "1"),
        ("ModelNotReadyException", "5"),
        ("ValidationException", None),
        ("ModelTimeoutException", None),
    ],
)
def test_where_trying_again_helps_it_says_when(kind: str, seconds: str | None) -> None:
    assert from_bedrock(BedrockError(kind, "x")).headers.get("retry-after") == seconds


@pytest.mark.parametrize(
    "failure", [BedrockError("", "", 418), BedrockError("ThrottlingException", ""), BedrockError("", "")]
)
def test_a_failure_without_words_is_still_told_in_words(failure: BedrockError) -> None:
    assert from_bedrock(failure).message.strip()


@pytest.mark.parametrize("error", [bad_answer("no JSON"), cut_off()])
def test_what_is_not_bedrocks_answer_is_a_502_that_says_to_try_again(error: ApiError) -> None:
    assert (error.status, error.type) == (502, "server_error")
    assert "Try again" in error.message
