"""Bedrock's failures -> OpenAI's errors.

AWS's errors about the gateway's own credentials never reach a caller: a 401 or 403 would send application developers
looking for a fault in their own key, and the text quotes the signed headers, session token included, or the account
and role that were denied. The SDKs retry 408, 409, 429 and 5xx by themselves, unless `x-should-retry` is `false`.

Three tables are consulted in this order: phrases in AWS's message (`_TEXTS`), its name for the failure (`_RULES`), and
the status (`_BY_STATUS`). A failure of a model's own server is mapped by that server's status (`_BY_ORIGINAL`) if AWS
sends it.

Decision: docs/decisions.md, D5.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from extproc.bedrock.errors import BedrockError
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.translate.fields import param


@dataclass(frozen=True, slots=True)
class _Rule:
    """The error that a failure becomes. `hint` precedes AWS's message, `instead` replaces it."""

    status: int
    type: str = "server_error"
    code: str | None = None
    hint: str = ""
    instead: str = ""
    param: str | None = None
    retry_after: str | None = None
    final: bool = False
    """Whether the same request would fail again, or cost as much again, although its status looks worth a retry."""


class ModelError(ApiError):
    """A failure of the model in a whole response, which has its `usage`: Bedrock bills it."""

    def __init__(self, failure: ApiError, usage: Usage) -> None:
        super().__init__(
            failure.status,
            failure.message,
            type=failure.type,
            param=failure.param,
            code=failure.code,
            headers=failure.headers,
        )
        self.usage = usage


_INVALID = "invalid_request_error"
_LIMIT = "rate_limit_error"

_CREDENTIALS_MESSAGE = (
    "AWS rejected the gateway's own credentials ({kind}); this is not about your API key. Tell whoever runs it."
)
_NO_ACCESS_MESSAGE = (
    "The gateway's AWS account has no access to this model, or not yet; this is not about your API key. Tell whoever "
    "runs it, or use another model (GET /models lists them)."
)
_PROFILE = "This model is served by inference profiles only: use the id of one (GET /models lists them). "
_NO_SUCH_ID = "There is no model of this id (GET /models lists those there are)."

_BAD_REQUEST = _Rule(400, _INVALID)
_REJECTED = _Rule(502, code="gateway_credentials", instead=_CREDENTIALS_MESSAGE, final=True)
_EXPIRED = _Rule(502, code="gateway_credentials", instead=_CREDENTIALS_MESSAGE)
_NO_MODEL = _Rule(404, _INVALID, "model_not_found", param="model")
_NO_ACCESS = _Rule(404, _INVALID, "model_not_found", instead=_NO_ACCESS_MESSAGE, param="model")
_UNKNOWN_PATH = _Rule(404, _INVALID, "model_not_found", instead=_NO_SUCH_ID, param="model")
_UNCOUNTED = _Rule(404, _INVALID, "unsupported_model", "Bedrock does not count this model's tokens. ", param="model")
_THROTTLED = _Rule(429, _LIMIT, "rate_limit_exceeded", retry_after="1")
_QUOTA = _Rule(429, "insufficient_quota", "insufficient_quota", final=True)
_NOT_READY = _Rule(429, _LIMIT, "model_not_ready", retry_after="5")
_TOO_LONG = _Rule(400, _INVALID, "context_length_exceeded", param="messages")
_TOO_LARGE = _Rule(413, _INVALID, "request_too_large")
_POLICY = _Rule(400, _INVALID, "content_policy_violation")
_TIMEOUT = _Rule(504, code="model_timeout", final=True)
_SLOW = _Rule(504, code="bedrock_timeout")
_MODEL_ERROR = _Rule(502, code="model_error")
_INTERNAL = _Rule(500, code="bedrock_error")
_UNAVAILABLE = _Rule(503, code="bedrock_unavailable", retry_after="1")
_UNKNOWN = _Rule(502, code="bedrock_error")


def _key(kind: str) -> str:
    """Normalise a failure's name, which AWS's services, HTTP and streams spell differently."""
    return kind.lower().removesuffix("exception")


_RULES = {
    _key(kind): rule
    for kind, rule in {
        # The service model's
        "ValidationException": _BAD_REQUEST,
        "ConflictException": _BAD_REQUEST,
        "ResourceNotFoundException": _NO_MODEL,
        "ThrottlingException": _THROTTLED,
        "ServiceQuotaExceededException": _QUOTA,
        "ModelNotReadyException": _NOT_READY,
        "ModelTimeoutException": _TIMEOUT,
        "ModelErrorException": _MODEL_ERROR,
        "ModelStreamErrorException": _MODEL_ERROR,
        "InternalServerException": _INTERNAL,
        "ServiceUnavailableException": _UNAVAILABLE,
        "AccessDeniedException": _REJECTED,
        # Common to all AWS services: https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html
        "ValidationError": _BAD_REQUEST,
        "SerializationException": _BAD_REQUEST,
        "MalformedHttpRequestException": _BAD_REQUEST,
        "UnknownOperationException": _UNKNOWN_PATH,
        "RequestEntityTooLargeException": _TOO_LARGE,
        "Throttling": _THROTTLED,
        "ThrottledException": _THROTTLED,
        "RequestLimitExceeded": _THROTTLED,
        "LimitExceededException": _THROTTLED,
        "TooManyRequestsException": _THROTTLED,
        "SlowDown": _THROTTLED,
        "RequestTimeoutException": _SLOW,
        "RequestAbortedException": _UNAVAILABLE,
        "InternalFailure": _INTERNAL,
        "InternalError": _INTERNAL,
        "InternalServerError": _INTERNAL,
        "ServiceUnavailable": _UNAVAILABLE,
        "AccessDenied": _REJECTED,
        "UnauthorizedException": _REJECTED,
        "NotAuthorized": _REJECTED,
        "OptInRequired": _REJECTED,
        "UnrecognizedClientException": _REJECTED,
        "InvalidClientTokenId": _REJECTED,
        "InvalidSignatureException": _REJECTED,
        "SignatureDoesNotMatch": _REJECTED,
        "IncompleteSignature": _REJECTED,
        "MissingAuthenticationToken": _REJECTED,
        "ExpiredToken": _EXPIRED,
        "RequestExpired": _EXPIRED,
        "RequestTimeTooSkewed": _EXPIRED,
    }.items()
}

_BY_STATUS = {
    400: _BAD_REQUEST,
    401: _REJECTED,
    403: _REJECTED,
    404: _NO_MODEL,
    408: _TIMEOUT,
    413: _TOO_LARGE,
    424: _MODEL_ERROR,
    429: _THROTTLED,
    503: _UNAVAILABLE,
    504: _SLOW,
}

_BY_ORIGINAL = {
    400: _BAD_REQUEST,
    408: _TIMEOUT,
    413: _TOO_LONG,
    422: _BAD_REQUEST,
    429: _THROTTLED,
    503: _UNAVAILABLE,
    504: _TIMEOUT,
    529: _UNAVAILABLE,
}
"""By the status of the model's own server; 529 is Anthropic's for `overloaded`."""

_SERVER_KINDS = frozenset({"modelerror", "modelstreamerror"})
_REQUEST_KINDS = frozenset({"", "validation", "validationerror", *_SERVER_KINDS})
_MODEL_KINDS = frozenset({"", "validation", "accessdenied", "resourcenotfound"})
_LIMIT_KINDS = frozenset({"", "throttling", "toomanyrequests", "servicequotaexceeded"})
_BUSY_KINDS = frozenset({"", "validation", "serviceunavailable", "internalserver", *_SERVER_KINDS})

_TEXTS: tuple[tuple[Collection[str], _Rule, tuple[str, ...]], ...] = (
    (_LIMIT_KINDS, _QUOTA, ("tokens per day", "requests per day")),
    (
        _BUSY_KINDS,
        _THROTTLED,
        ("bedrock is unable to process your request", "too many connections", "please wait before trying again"),
    ),
    (_MODEL_KINDS, _Rule(404, _INVALID, "model_not_found", _PROFILE, param="model"), ("on-demand throughput",)),
    (_MODEL_KINDS, _UNCOUNTED, ("support counting tokens", "counttokens is not supported")),
    (_MODEL_KINDS, _NO_ACCESS, ("model access is denied", "use case details have not been submitted")),
    (_MODEL_KINDS, _UNKNOWN_PATH, (" at 'modelid' failed to satisfy",)),
    (
        _MODEL_KINDS,
        _NO_MODEL,
        (
            "model identifier is invalid",
            "access to the model",
            "could not resolve the foundation model",
            "reached the end of its life",
            "marked by provider as legacy",
        ),
    ),
    (
        _REQUEST_KINDS,
        _Rule(400, _INVALID, "context_length_exceeded", param="input"),
        ("too many input tokens. max input",),
    ),
    (
        _REQUEST_KINDS,
        _TOO_LONG,
        (
            "input is too long",
            "prompt is too long",
            "too many input tokens",
            "input tokens exceeded",
            "too many total text bytes",
            "too many tokens: total number of tokens in the prompt",
            "maximum context length",
            "context_length_exceeded",
            "context length exceeded",
            "exceed context limit",
            "context window",
            "range of input length",
        ),
    ),
    (
        _REQUEST_KINDS,
        _POLICY,
        (
            "content filtering policy",
            "blocked by our content filters",
            "flagged by our content",
            "responsible ai policy",
        ),
    ),
    (_REQUEST_KINDS, _Rule(400, _INVALID, "string_above_max_length"), ("expected maxlength",)),
    (_REQUEST_KINDS, _Rule(400, _INVALID, "unsupported_parameter"), ("model doesn't support the",)),
    (_REQUEST_KINDS, _Rule(400, _INVALID, "unsupported_value"), ("model doesn't support",)),
)
"""Kinds of failures, the rule that applies, and the phrases of AWS's message, in lower case, that it applies to.

The phrases for prompts that are too long are Claude's (old, new, with `max_tokens`, by size), Titan's, Nova's,
Cohere's, and those of the models behind OpenAI-compatible servers.
"""


_NO_NAMES: Mapping[str, str] = MappingProxyType({})


def from_bedrock(failure: BedrockError, names: Mapping[str, str] = _NO_NAMES) -> ApiError:
    """Return the error for the client; never a 401 or 403. `names` are the request's own (`fields.alternatives`)."""
    rule = _rule(failure)
    headers = {"retry-after": rule.retry_after} if rule.retry_after else {}
    if rule.final:
        headers["x-should-retry"] = "false"
    field = rule.param or (param(failure.message) if rule.status == 400 else None)
    field = names.get(field, field) if field else None
    message = _message(failure, rule)
    return ApiError(rule.status, message, type=rule.type, param=field, code=rule.code, headers=headers)


def bad_response(why: str) -> ApiError:
    """Return the error for a response of Bedrock's that cannot be read."""
    return ApiError(
        502,
        f"Bedrock's response could not be read ({why}). Try again.",
        type="server_error",
        code="bad_upstream_answer",
    )


def cut_off() -> ApiError:
    """Return the error for a stream that ended before its message did."""
    return ApiError(
        502, "Bedrock's stream ended before the message was complete. Try again.", type="server_error", code="cut_off"
    )


def _message(failure: BedrockError, rule: _Rule) -> str:
    if rule.instead:
        return rule.instead.format(kind=failure.kind or failure.status)
    return rule.hint + (failure.message or failure.kind or f"Bedrock responded with status {failure.status}.")


def _rule(failure: BedrockError) -> _Rule:
    kind = _key(failure.kind)
    message = failure.message.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for kinds, rule, phrases in _TEXTS:
        if kind in kinds and any(phrase in message for phrase in phrases):
            return rule
    if kind in _SERVER_KINDS and failure.original in _BY_ORIGINAL:
        return _BY_ORIGINAL[failure.original]
    return _RULES.get(kind) or _BY_STATUS.get(failure.status) or _UNKNOWN
