"""AWS Signature Version 4 for the one request there is: a POST of a whole body to Bedrock's runtime.

The general algorithm signs any method, query and payload mode. What is left of it here is a canonical request
of a few lines, one HMAC over its hash, and a signing key that changes once a day and is therefore kept.

Invariant: for the same credentials, path, body, headers and second, the Authorization header is byte for byte
the one that botocore's `SigV4Auth` makes. Nothing here reads a clock: the time is an argument.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from extproc.bedrock.model_ids import LONGEST_REMEMBERED
from extproc.payload import Payload, segments

Headers = tuple[tuple[str, str], ...]
"""Lower-case names and their values, each name once."""

SERVICE = "bedrock"
"""The signing name of both of Bedrock's endpoints, runtime and control plane."""

_LONGEST_PATH: Final = 256
"""Longest path that is worth caching, in characters: that of the longest id so, encoded."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An AWS key pair; `session_token` comes with temporary ones. The secrets stay out of `repr`."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A Bedrock API key (`AWS_BEARER_TOKEN_BEDROCK`): sent as it is, nothing is signed."""

    token: str = field(repr=False)


def model_path(model_id: str, operation: str) -> str:
    """The path of a model's operation (`converse`, `invoke`, …) as it goes on the wire.

    The id, a name or an ARN, is one path segment: all but unreserved characters are percent-encoded, as by
    botocore. Beyond botocore, the ids `.` and `..` are encoded too: as they are they would leave `/model/`.
    """
    return (_known_path if len(model_id) <= LONGEST_REMEMBERED else _path)(model_id, operation)


def _path(model_id: str, operation: str) -> str:
    segment = quote(model_id, safe="")
    if segment in (".", ".."):
        segment = segment.replace(".", "%2E")
    return f"/model/{segment}/{operation}"


_known_path = lru_cache(maxsize=1024)(_path)


class _SigningKey:
    """The signing key of the last secret key and day. It replaces the one before: rotated secrets are not kept."""

    def __init__(self) -> None:
        self.key = b""
        self._of = ("", "", "")

    def of(self, secret_key: str, date: str, region: str) -> bytes:
        """Return the key for `date` (YYYYMMDD)."""
        if (secret_key, date, region) != self._of:
            key = f"AWS4{secret_key}".encode()
            for part in (date, region, SERVICE, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self.key, self._of = key, (secret_key, date, region)
        return self.key

    def clear(self) -> None:
        """Forget the key."""
        self.key, self._of = b"", ("", "", "")


class Signer:
    """Signs requests to one endpoint of one region."""

    def __init__(self, region: str, authority: str) -> None:
        """`authority` is the host, with its port if it is sent, exactly as the Host header carries it."""
        self._region = region
        self._authority = authority
        self._signing_key = _SigningKey()

    def sign(
        self,
        identity: Credentials | BearerToken,
        path: str,
        body: Payload,
        headers: Headers,
        now: float,
        digest: str | None = None,
    ) -> Headers:
        """The headers to add to a POST of `body` to `path`: `authorization`, with credentials also `x-amz-…`.

        `path` is as `model_path` gives it. `headers` are those of the request that are to be signed besides
        the host (content-type); their values must reach AWS unchanged. `now` is in Unix seconds.
        `digest` is the body's SHA-256 in hex, where it is known.
        """
        if isinstance(identity, BearerToken):
            self._signing_key.clear()
            return (("authorization", f"Bearer {identity.token}"),)
        stamp = _timestamp(int(now))
        added: Headers = (("x-amz-date", stamp),)
        if identity.session_token:
            added += (("x-amz-security-token", identity.session_token),)

        signed = sorted((("host", self._authority), *headers, *added))
        names = ";".join(name for name, _ in signed)
        canonical = _canonical_request(path, signed, names, digest or _sha256(body))

        date = stamp[:8]
        scope = f"{date}/{self._region}/{SERVICE}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical).hexdigest()}"
        key = self._signing_key.of(identity.secret_key, date, self._region)
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={identity.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return (("authorization", authorization), *added)


def _canonical_request(path: str, signed: list[tuple[str, str]], names: str, digest: str) -> bytes:
    """What is signed: the request in a form that proxies on the way cannot help but leave alone."""
    encode = _known_again if len(path) <= _LONGEST_PATH else _encode_again
    lines = ["POST", encode(path), ""]  # the empty line is the query
    lines += [f"{name}:{' '.join(value.split())}" for name, value in signed]
    lines += ["", names, digest]
    return "\n".join(lines).encode()


def _sha256(body: Payload) -> str:
    digest = sha256()
    for part in segments(body):
        digest.update(part)
    return digest.hexdigest()


def _encode_again(path: str) -> str:
    """Every AWS service but S3 signs the path encoded once more than it is sent: %3A becomes %253A."""
    return quote(path, safe="/~")


_known_again = lru_cache(maxsize=1024)(_encode_again)


@lru_cache(maxsize=4)
def _timestamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
