"""Bedrock's failures -> OpenAI's errors.

What AWS says to the gateway about the gateway's own credentials never reaches a caller: as a 401 or 403 it would send
application developers looking for a fault in their own key, and its text quotes the signed headers, session token
included, or the account and role that were refused. The SDKs retry 408, 409, 429 and 5xx by themselves.
"""

from dataclasses import dataclass

from extproc.bedrock.errors import BedrockError
from extproc.openai.errors import ApiError


@dataclass(frozen=True, slots=True)
class _Rule:
    status: int
    type: str = "server_error"
    code: str | None = None
    prefix: str = ""
    retry_after: str | None = None


_INVALID = "invalid_request_error"
_CREDENTIALS = _Rule(502, code="gateway_credentials")
_THROTTLED = _Rule(429, "rate_limit_error", "rate_limit_exceeded", retry_after="1")

_RULES = {
    "ValidationException": _Rule(400, _INVALID),
    "ConflictException": _Rule(400, _INVALID),
    "ResourceNotFoundException": _Rule(404, _INVALID, "model_not_found"),
    "ThrottlingException": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "ServiceQuotaExceededException": _THROTTLED,
    "ModelNotReadyException": _Rule(429, "rate_limit_error", "model_not_ready", retry_after="5"),
    "ModelTimeoutException": _Rule(504, code="model_timeout"),
    "ModelErrorException": _Rule(502, code="model_error"),
    "ModelStreamErrorException": _Rule(502, code="model_error"),
    "InternalServerException": _Rule(500, code="bedrock_error"),
    "ServiceUnavailableException": _Rule(503, code="bedrock_unavailable", retry_after="1"),
    "AccessDeniedException": _CREDENTIALS,
    "UnrecognizedClientException": _CREDENTIALS,
    "InvalidSignatureException": _CREDENTIALS,
    "IncompleteSignatureException": _CREDENTIALS,
    "MissingAuthenticationTokenException": _CREDENTIALS,
    "ExpiredTokenException": _CREDENTIALS,
}

_BY_STATUS = {
    400: _Rule(400, _INVALID),
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: _Rule(404, _INVALID, "model_not_found"),
    413: _Rule(413, _INVALID, "request_too_large"),
    429: _THROTTLED,
    503: _Rule(503, code="bedrock_unavailable", retry_after="1"),
    504: _Rule(504, code="bedrock_timeout"),
}

_BY_MESSAGE: tuple[tuple[tuple[str, ...], _Rule], ...] = (
    (
        ("on-demand throughput",),
        _Rule(404, _INVALID, "model_not_found", "Use the id of an inference profile (GET /models lists them). "),
    ),
    (("model identifier is invalid", "access to the model"), _Rule(404, _INVALID, "model_not_found")),
    (
        ("input is too long", "prompt is too long", "too many input tokens", "maximum context length"),
        _Rule(400, _INVALID, "context_length_exceeded"),
    ),
)
"""Where AWS says it only in the text of a ValidationException or AccessDeniedException."""


def from_bedrock(failure: BedrockError) -> ApiError:
    """What the client is told; never a 401 or 403."""
    rule = _rule(failure)
    headers = {"retry-after": rule.retry_after} if rule.retry_after else {}
    return ApiError(rule.status, _words(failure, rule), type=rule.type, code=rule.code, headers=headers)


def bad_answer(why: str) -> ApiError:
    """Bedrock's answer could not be read."""
    return ApiError(
        502, f"Bedrock's answer could not be read ({why}). Try again.", type="server_error", code="bad_upstream_answer"
    )


def cut_off() -> ApiError:
    """Bedrock's stream ended before the answer did."""
    return ApiError(
        502, "Bedrock's stream broke off before the answer was whole. Try again.", type="server_error", code="cut_off"
    )


def _words(failure: BedrockError, rule: _Rule) -> str:
    if rule is _CREDENTIALS:
        return (
            f"The gateway's own AWS credentials were refused ({failure.kind or failure.status}); this is not about "
            "your API key. Tell whoever runs it."
        )
    return rule.prefix + (failure.message or failure.kind or f"Bedrock answered with status {failure.status}.")


def _rule(failure: BedrockError) -> _Rule:
    if failure.kind in ("ValidationException", "AccessDeniedException", ""):
        message = failure.message.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        for phrases, rule in _BY_MESSAGE:
            if any(phrase in message for phrase in phrases):
                return rule
    rule_of_kind = _RULES.get(failure.kind)
    return rule_of_kind or _BY_STATUS.get(failure.status) or _Rule(502, code="bedrock_error")
