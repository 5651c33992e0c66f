"""Authentication: SigV4, verified with botocore's own signer, or one API key; and rejection of leaked headers.

Invariant: a request is accepted only if botocore, signing the same method, path, query, signed headers and body at the
same time with the same secret, computes the same signature. The messages are AWS's.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, HTTPHeaders
from botocore.credentials import Credentials

from bedrock_local.errors import AwsError, forbidden, invalid

#: Greatest accepted difference between the time of a signature and the clock, in either direction, as on AWS.
TOLERANCE = timedelta(minutes=5)

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "bedrock"
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_PARAMETERS = ("Credential", "Signature", "SignedHeaders")

#: Headers of a gateway's caller, which have leaked if they arrive here.
LEAKS = ("cookie", "x-api-key", "openai-organization")


@dataclass(frozen=True, slots=True)
class Received:
    """The parts of an HTTP request that a signature covers. Header names are lower case, repeats joined by commas."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Temporary:
    """Keys of a role, which count together with their session token only."""

    access_key: str
    secret_key: str
    session_token: str


@dataclass(frozen=True, slots=True)
class _Claim:
    access_key: str
    date: str
    region: str
    service: str
    terminator: str
    signed: tuple[str, ...]
    signature: str


class _AsSigned(SigV4Auth):
    """botocore's signer over exactly the caller's signed headers."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return request.headers


class Verifier:
    """A verifier of requests to some regions by key pairs, and by one API key if there is one."""

    def __init__(
        self,
        region: str,
        access_key: str,
        secret_key: str,
        bearer: str | None = None,
        more: Mapping[str, str] | None = None,
        elsewhere: Iterable[str] = (),
    ) -> None:
        self._regions = {region, *elsewhere}
        self._bearer = bearer
        self._secrets = {**(more or {}), access_key: secret_key}
        self._tokens: dict[str, str] = {}

    def admit(self, keys: Temporary) -> None:
        """Accept the keys of a role from now on."""
        self._secrets[keys.access_key], self._tokens[keys.access_key] = keys.secret_key, keys.session_token

    def verify(self, received: Received, now: datetime, service: str = _SERVICE) -> None:
        """Raise AwsError unless the call is signed, or carries the API key. `now` is an aware time."""
        authorization = received.headers.get("authorization")
        if authorization is None:
            raise forbidden("MissingAuthenticationTokenException", "Missing Authentication Token")
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "bearer" and service == _SERVICE:
            self._verify_bearer(credentials.strip())
        else:
            self._verify_signature(received, _claim(authorization), now, service)

    def _verify_bearer(self, key: str) -> None:
        if self._bearer is None or not hmac.compare_digest(key.encode(), self._bearer.encode()):
            raise forbidden("AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.")

    def _verify_signature(self, received: Received, claim: _Claim, now: datetime, service: str) -> None:
        secret = self._secrets.get(claim.access_key)
        token = self._tokens.get(claim.access_key)
        if secret is None or (token is not None and received.headers.get("x-amz-security-token") != token):
            raise forbidden("UnrecognizedClientException", "The security token included in the request is invalid.")
        timestamp = _timestamp(received.headers)
        self._check_scope(claim, timestamp, service)
        _check_time(timestamp, now)
        _check_signed_headers(received, claim)
        signer = _AsSigned(Credentials(claim.access_key, secret), service, claim.region)
        _compare(signer, received, claim, timestamp)

    def _check_scope(self, claim: _Claim, timestamp: str, service: str) -> None:
        checks = (
            (claim.region in self._regions, "Credential should be scoped to a valid region."),
            (claim.service == service, f"Credential should be scoped to correct service: '{service}'."),
            (
                claim.terminator == "aws4_request",
                f"Credential should be scoped with a valid terminator: 'aws4_request', not '{claim.terminator}'.",
            ),
            (
                claim.date == timestamp[:8],
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{claim.date}' != '{timestamp[:8]}', from '{timestamp}'.",
            ),
        )
        for holds, message in checks:
            if not holds:
                raise _bad_signature(message)


_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details.\n\nThe Canonical String for this request "
    "should have been\n'{canonical}'\n\nThe String-to-Sign should have been\n'{to_sign}'\n"
)


def _compare(signer: _AsSigned, received: Received, claim: _Claim, timestamp: str) -> None:
    request = AWSRequest(method=received.method, url=f"http://local{received.target}", data=received.body)
    for name in claim.signed:
        request.headers[name] = received.headers[name]
    request.context["timestamp"] = timestamp
    canonical = signer.canonical_request(request)
    to_sign = signer.string_to_sign(request, canonical)
    expected = signer.signature(to_sign, request)
    if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
        raise _bad_signature(_MISMATCH.format(canonical=canonical, to_sign=to_sign))


def _bad_signature(message: str) -> AwsError:
    return forbidden("InvalidSignatureException", message)


def reject_leaks(headers: Mapping[str, str]) -> None:
    """Raise ValidationException with the header's name if a request contains a header that must not leave a gateway."""
    leaked = [name for name in LEAKS if name in headers]
    if headers.get("authorization", "").lower().startswith("bearer qc_"):
        leaked.append("authorization")
    if leaked:
        raise invalid(f"The header {leaked[0]} belongs to the caller of a gateway and must not be sent to AWS.")


def _claim(authorization: str) -> _Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != _ALGORITHM:
        raise _incomplete(f"Authorization header requires the algorithm '{_ALGORITHM}'.")
    pairs = dict(re.findall(r"([A-Za-z]+)=([^,\s]*)", rest))
    missing = [name for name in _PARAMETERS if not pairs.get(name)]
    if missing:
        raise _incomplete(" ".join(f"Authorization header requires '{name}' parameter." for name in missing))
    scope = pairs["Credential"].split("/")
    if len(scope) != 5:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. "
            f"keyid/date/region/service/term, got '{pairs['Credential']}'"
        )
    access_key, date, region, service, terminator = scope
    signed = tuple(pairs["SignedHeaders"].split(";"))
    return _Claim(access_key, date, region, service, terminator, signed, pairs["Signature"])


def _incomplete(message: str) -> AwsError:
    return forbidden("IncompleteSignatureException", message)


def _timestamp(headers: Mapping[str, str]) -> str:
    if "x-amz-date" not in headers:
        raise _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    return headers["x-amz-date"]


def _check_time(timestamp: str, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(timestamp, _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        raise _incomplete(
            f"Date must be in ISO-8601 'basic format'. Got '{timestamp}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ) from None
    clock = now.strftime(_TIMESTAMP)
    if signed_at < now - TOLERANCE:
        edge = (now - TOLERANCE).strftime(_TIMESTAMP)
        raise _bad_signature(f"Signature expired: {timestamp} is now earlier than {edge} ({clock} - 5 min.)")
    if signed_at > now + TOLERANCE:
        edge = (now + TOLERANCE).strftime(_TIMESTAMP)
        raise _bad_signature(f"Signature not yet current: {timestamp} is still later than {edge} ({clock} + 5 min.)")


def _check_signed_headers(received: Received, claim: _Claim) -> None:
    if "host" not in claim.signed:
        raise _bad_signature("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name in claim.signed:
        if name not in received.headers:
            raise _bad_signature(f"The signed header '{name}' is not in the request.")
    for name in received.headers:
        if name.startswith("x-amz-") and name not in claim.signed:
            raise _bad_signature(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
    stated = received.headers.get("x-amz-content-sha256")
    if stated is not None and stated != sha256(received.body).hexdigest():
        raise _bad_signature("The provided 'x-amz-content-sha256' header does not match what was computed.")


def access_key(headers: Mapping[str, str]) -> str | None:
    """The access key id that a request claims to be signed with, None if it is not signed."""
    credential = re.search(r"Credential=([^/,\s]+)/", headers.get("authorization", ""))
    return credential[1] if credential else None


def region(headers: Mapping[str, str]) -> str | None:
    """The region that a request claims to be signed for, None if it is not signed."""
    credential = re.search(r"Credential=[^/,\s]+/[0-9]*/([^/,\s]+)/", headers.get("authorization", ""))
    return credential[1] if credential else None
