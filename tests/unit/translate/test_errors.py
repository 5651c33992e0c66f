"""Bedrock's failures as error responses to the client."""

from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from extproc.bedrock.errors import BedrockError, from_frame, from_response
from extproc.openai.errors import ApiError
from extproc.translate.errors import bad_response, cut_off, from_bedrock

SECRET = (
    "The request signature we calculated does not match the signature you provided. The Canonical String for this "
    "request should have been 'POST\n/model/m/converse\n\nx-amz-security-token:IQoJb3JpZ2luX2VjE'"
)
CREDENTIALS = [
    "AccessDeniedException",
    "AccessDenied",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationTokenException",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
    "ExpiredTokenException",
    "ExpiredToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
]

INVALID = "invalid_request_error"
SERVICE_MODEL: dict[str, tuple[int, str, str | None]] = {
    "ValidationException": (400, INVALID, None),
    "ConflictException": (400, INVALID, None),
    "ResourceNotFoundException": (404, INVALID, "model_not_found"),
    "ThrottlingException": (429, "rate_limit_error", "rate_limit_exceeded"),
    "ServiceQuotaExceededException": (429, "insufficient_quota", "insufficient_quota"),
    "ModelNotReadyException": (429, "rate_limit_error", "model_not_ready"),
    "ModelTimeoutException": (504, "server_error", "model_timeout"),
    "ModelErrorException": (502, "server_error", "model_error"),
    "ModelStreamErrorException": (502, "server_error", "model_error"),
    "InternalServerException": (500, "server_error", "bedrock_error"),
    "ServiceUnavailableException": (503, "server_error", "bedrock_unavailable"),
    "AccessDeniedException": (502, "server_error", "gateway_credentials"),
}
"""Status, type and code of each exception of the service model. Add a row for each that a newer botocore brings."""

COMMON: dict[str, tuple[int, str, str | None]] = {
    "ValidationError": (400, INVALID, None),
    "SerializationException": (400, INVALID, None),
    "MalformedHttpRequestException": (400, INVALID, None),
    "RequestEntityTooLargeException": (413, INVALID, "request_too_large"),
    "Throttling": (429, "rate_limit_error", "rate_limit_exceeded"),
    "TooManyRequestsException": (429, "rate_limit_error", "rate_limit_exceeded"),
    "RequestTimeoutException": (504, "server_error", "bedrock_timeout"),
    "RequestAbortedException": (503, "server_error", "bedrock_unavailable"),
    "InternalFailure": (500, "server_error", "bedrock_error"),
    "InternalServerError": (500, "server_error", "bedrock_error"),
    "ServiceUnavailable": (503, "server_error", "bedrock_unavailable"),
    "BrandNewException": (502, "server_error", "bedrock_error"),
}


def service_model() -> Iterator[Any]:
    """Return all exceptions of the called operations, those within a stream too."""
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    for name in ("Converse", "ConverseStream", "InvokeModel"):
        yield from model.operation_model(name).error_shapes
    stream = model.operation_model("ConverseStream").output_shape.members["stream"]
    yield from (member for member in stream.members.values() if member.metadata.get("exception"))


def test_every_exception_of_the_service_model_has_been_decided_on() -> None:
    names = {shape.name for shape in service_model()}
    assert "ModelStreamErrorException" in names
    assert names - set(SERVICE_MODEL) == set()


@pytest.mark.parametrize(("kind", "translated"), [*SERVICE_MODEL.items(), *COMMON.items()])
def test_a_failure_has_the_status_type_and_code_that_sdks_act_on(kind: str, translated: Any) -> None:
    error = from_bedrock(BedrockError(kind, "Because."))
    assert (error.status, error.type, error.code) == translated
    assert error.message == "Because." or error.code == "gateway_credentials"


@pytest.mark.parametrize("kind", SERVICE_MODEL)
def test_a_failure_is_the_same_over_http_in_an_exception_frame_and_in_an_error_frame(kind: str) -> None:
    lower = kind[0].lower() + kind[1:]
    body = b'{"message":"Because."}'
    failures = [
        from_response(0, {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"}, body),
        from_response(0, {}, b'{"__type":"com.amazon.bedrock#%s","Message":"Because."}' % kind.encode()),
        from_frame({":message-type": "exception", ":exception-type": lower}, body),
        from_frame({":message-type": "exception", ":exception-type": kind}, body),
        from_frame({":message-type": "error", ":error-code": lower, ":error-message": "Because."}, b""),
        from_frame({":message-type": "error", ":error-code": kind.upper(), ":error-message": "Because."}, b""),
    ]
    translated = {(error.status, error.type, error.code) for error in map(from_bedrock, failures)}
    assert translated == {SERVICE_MODEL[kind]}


@pytest.mark.parametrize(
    ("status", "translated", "code"),
    [
        (400, 400, None),
        (401, 502, "gateway_credentials"),
        (403, 502, "gateway_credentials"),
        (404, 404, "model_not_found"),
        (408, 504, "model_timeout"),
        (413, 413, "request_too_large"),
        (424, 502, "model_error"),
        (429, 429, "rate_limit_exceeded"),
        (500, 502, "bedrock_error"),
        (503, 503, "bedrock_unavailable"),
        (504, 504, "bedrock_timeout"),
        (302, 502, "bedrock_error"),
        (0, 502, "bedrock_error"),
    ],
)
def test_a_failure_without_a_name_goes_by_its_status(status: int, translated: int, code: str | None) -> None:
    error = from_bedrock(BedrockError("", "Because.", status))
    assert (error.status, error.code) == (translated, code)


@pytest.mark.parametrize("kind", ["ModelErrorException", "ModelStreamErrorException"])
@pytest.mark.parametrize(
    ("original", "translated", "code"),
    [
        (400, 400, None),
        (413, 400, "context_length_exceeded"),
        (429, 429, "rate_limit_exceeded"),
        (408, 504, "model_timeout"),
        (504, 504, "model_timeout"),
        (503, 503, "bedrock_unavailable"),
        (529, 503, "bedrock_unavailable"),
        (500, 502, "model_error"),
        (401, 502, "model_error"),
        (403, 502, "model_error"),
        (0, 502, "model_error"),
    ],
)
def test_a_failure_of_the_models_own_server_goes_by_that_servers_status(
    kind: str, original: int, translated: int, code: str | None
) -> None:
    error = from_bedrock(BedrockError(kind, "Because.", 424, original))
    assert (error.status, error.code) == (translated, code)


def test_the_status_of_another_server_does_not_count_where_bedrock_itself_failed() -> None:
    assert from_bedrock(BedrockError("ValidationException", "x", 400, original=429)).status == 400


# The gateway's own credentials


@pytest.mark.parametrize(
    "failure", [BedrockError(kind, SECRET, 403) for kind in CREDENTIALS] + [BedrockError("", SECRET, 401)]
)
def test_the_gateways_own_credentials_are_not_the_callers_business(failure: BedrockError) -> None:
    """AWS quotes the signed headers, session token included, and the account and role that were denied."""
    error = from_bedrock(failure)
    assert (error.status, error.code) == (502, "gateway_credentials")
    assert "not about your API key" in error.message
    assert "IQoJ" not in error.message
    assert (failure.kind or "401") in error.message


def test_a_model_without_access_is_reported_without_aws_account_and_role() -> None:
    message = (
        "Model access is denied due to User: arn:aws:sts::123456789012:assumed-role/gateway/x is not authorized to "
        "perform: aws-marketplace:ViewSubscriptions on resource: *"
    )
    error = from_bedrock(BedrockError("AccessDeniedException", message, 403))
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert "123456789012" not in error.message
    assert "not about your API key" in error.message


# Failures told apart by their message


@pytest.mark.parametrize(
    "message",
    [
        "The provided model identifier is invalid.",
        "Could not resolve the foundation model from the provided model identifier.",
        "Invocation of model ID x with on-demand throughput isn\N{RIGHT SINGLE QUOTATION MARK}t supported. Retry your "
        "request with the ID or ARN of an inference profile that contains this model.",
    ],
)
def test_an_unknown_model_is_a_404(message: str) -> None:
    error = from_bedrock(BedrockError("ValidationException", message, 400))
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert message in error.message


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
        ("ResourceNotFoundException", "This model version has reached the end of its life. Please refer to the docs."),
        ("ResourceNotFoundException", "Access denied. This Model is marked by provider as Legacy and you have not …"),
        ("ResourceNotFoundException", "Model use case details have not been submitted for this account. Fill out …"),
        ("UnknownOperationException", ""),
        (
            "ValidationException",
            "1 validation error detected: Value 'a b' at 'modelId' failed to satisfy constraint: …",
        ),
    ],
)
def test_an_unusable_model_is_a_404(kind: str, message: str) -> None:
    error = from_bedrock(BedrockError(kind, message))
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert error.message.strip()


def test_a_model_only_served_by_profile_names_the_profile_to_use() -> None:
    failure = BedrockError("ValidationException", "… with on-demand throughput isn't supported.")
    assert "inference profile" in from_bedrock(failure).message


@pytest.mark.parametrize(
    "message",
    [
        "Input is too long for requested model.",
        "The model returned the following errors: prompt is too long: 206456 tokens > 200000 maximum",
        "The model returned the following errors: input length and `max_tokens` exceed context limit: 198000 + 8192 > "
        "200000, decrease input length or `max_tokens` and try again",
        "The model returned the following errors: too many total text bytes: 25700000 > 25000000",
        "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds …",
        "This model's maximum context length is 8192 tokens. Please reduce the length of the prompt",
        'Mantle streaming error for requestId x: "This model\'s maximum context length is 202752 tokens. However, …"',
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 9000.",
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        "Range of input length should be [1, 258048]",
    ],
)
@pytest.mark.parametrize("kind", ["ValidationException", "ModelErrorException", "ModelStreamErrorException", ""])
def test_a_prompt_that_is_too_long_has_openais_error_code(kind: str, message: str) -> None:
    error = from_bedrock(BedrockError(kind, message))
    assert (error.status, error.type, error.code) == (400, INVALID, "context_length_exceeded")
    assert error.param == "messages"
    assert error.message == message


def test_too_many_tokens_to_embed_are_in_the_input() -> None:
    message = "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9000 "
    error = from_bedrock(BedrockError("ValidationException", message))
    assert (error.code, error.param) == ("context_length_exceeded", "input")


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("The model returned the following errors: Output blocked by content filtering policy", "policy", None),
        ("This request has been blocked by our content filters.", "policy", None),
        ("This model doesn't support the stopSequences field. Remove it.", "unsupported_parameter", "stop"),
        ("This model doesn't support tool use in streaming mode.", "unsupported_value", None),
        ("Malformed input request: expected maxLength: 50000, actual: 57000", "string_above_max_length", None),
        ("The maximum tokens you requested exceeds the model limit of 4096.", None, None),
        ("Value '2' at 'inferenceConfig.temperature' failed to satisfy constraint: …", None, "temperature"),
    ],
)
def test_failures_told_apart_only_by_awss_message(message: str, code: str | None, param: str | None) -> None:
    error = from_bedrock(BedrockError("ValidationException", message, 400))
    expected = "content_policy_violation" if code == "policy" else code
    assert (error.status, error.type, error.code, error.param) == (400, INVALID, expected, param)
    assert error.message == message


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("ServiceUnavailableException", "Bedrock is unable to process your request."),
        ("ServiceUnavailableException", "Too many connections, please wait before trying again."),
        ("ThrottlingException", "Too many tokens, please wait before trying again."),
        ("", "Too many requests, please wait before trying again."),
    ],
)
def test_throttling_is_a_429_in_all_its_forms(kind: str, message: str) -> None:
    error = from_bedrock(BedrockError(kind, message, 503))
    assert (error.status, error.code, error.headers) == (429, "rate_limit_exceeded", {"retry-after": "1"})


def test_the_message_of_another_failure_is_not_mistaken_for_it() -> None:
    """A caller's own text may be quoted in them."""
    error = from_bedrock(BedrockError("ThrottlingException", "Value 'prompt is too long' …", 429))
    assert error.code == "rate_limit_exceeded"
    assert from_bedrock(BedrockError("InternalServerException", "on-demand throughput", 500)).status == 500


# Trying again


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
def test_a_temporary_failure_has_retry_after(kind: str, seconds: str | None) -> None:
    assert from_bedrock(BedrockError(kind, "x")).headers.get("retry-after") == seconds


@pytest.mark.parametrize(
    ("failure", "again"),
    [
        (BedrockError("ModelTimeoutException", "x"), "false"),
        (BedrockError("AccessDeniedException", "x"), "false"),
        (BedrockError("ServiceQuotaExceededException", "x"), "false"),
        (BedrockError("ThrottlingException", "Too many tokens per day, please wait before trying again."), "false"),
        (BedrockError("ThrottlingException", "Too many tokens, please wait before trying again."), None),
        (BedrockError("ExpiredTokenException", "x"), None),
        (BedrockError("InternalServerException", "x"), None),
        (BedrockError("ModelErrorException", "x"), None),
    ],
)
def test_sdks_do_not_retry_permanent_or_billed_failures(failure: BedrockError, again: str | None) -> None:
    assert from_bedrock(failure).headers.get("x-should-retry") == again


# Messages


@pytest.mark.parametrize(
    "failure", [BedrockError("", "", 418), BedrockError("ThrottlingException", ""), BedrockError("", "")]
)
def test_a_failure_without_a_message_still_gets_one(failure: BedrockError) -> None:
    assert from_bedrock(failure).message.strip()


@pytest.mark.parametrize("error", [bad_response("no JSON"), cut_off()])
def test_a_response_that_is_not_bedrocks_is_a_502_that_advises_a_retry(error: ApiError) -> None:
    assert (error.status, error.type) == (502, "server_error")
    assert "Try again" in error.message
