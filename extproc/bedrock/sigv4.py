"""AWS Signature Version 4, for a POST of a whole body: to Bedrock's runtime, or another service.

The general algorithm signs any method, query and payload mode. For this one request, it is a canonical request of a few
lines, one HMAC over its hash, and a signing key that changes once a day and is therefore cached.

Invariant: for the same credentials, path, body, headers and second, the Authorization header is byte for byte
the one of botocore's `SigV4Auth`. Nothing here reads a clock: the time is an argument.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hmac
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.model_ids import LONGEST_REMEMBERED
from extproc.payload import Payload, segments

Headers = tuple[tuple[str, str], ...]
"""Lower-case names and their values, each name once."""

SERVICE = "bedrock"
"""The signing name of both of Bedrock's endpoints, runtime and control plane."""

_LONGEST_PATH: Final = 256
"""Longest path that is worth caching, in characters: that of the longest cached id, encoded."""


def model_path(model_id: str, operation: str) -> str:
    """Return the path of a model's operation (`converse`, `invoke`, …), as on the wire.

    The id, a name or an ARN, is one path segment: all but unreserved characters are percent-encoded, as by botocore.
    Unlike botocore, the ids `.` and `..` are encoded too: unencoded they would leave `/model/`.
    """
    return (_known_path if len(model_id) <= LONGEST_REMEMBERED else _path)(model_id, operation)


def _path(model_id: str, operation: str) -> str:
    segment = quote(model_id, safe="")
    if segment in (".", ".."):
        segment = segment.replace(".", "%2E")
    return f"/model/{segment}/{operation}"


_known_path = lru_cache(maxsize=1024)(_path)


class _SigningKey:
    """A cache of one signing key, that of the last secret key and day, so that no rotated secret is kept."""

    def __init__(self) -> None:
        self.key = b""
        self._of = ("", "", "")

    def of(self, secret_key: str, date: str, region: str, service: str) -> bytes:
        """Return the key for `date` (YYYYMMDD). A signer has one region and one service."""
        if (secret_key, date, region) != self._of:
            key = f"AWS4{secret_key}".encode()
            for part in (date, region, service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self.key, self._of = key, (secret_key, date, region)
        return self.key

    def clear(self) -> None:
        """Forget the key."""
        self.key, self._of = b"", ("", "", "")


class Signer:
    """A signer of requests to one endpoint of one region."""

    def __init__(self, region: str, authority: str, service: str = SERVICE) -> None:
        """`authority` is the Host header, with the port if the header has one; `service` is a signing name."""
        self._region = region
        self._service = service
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
        """Sign a POST of `body` to `path`; return the headers to add: `authorization`, with credentials also `x-amz-…`.

        `path` is that of `model_path`. `headers` are signed beside the host (content-type), and must reach AWS
        unchanged. `now` is in Unix seconds. `digest` is the body's SHA-256 in hex, if it is known.
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
        canonical_request = _canonical_request(path, signed, names, digest or _sha256(body))

        date = stamp[:8]
        credential_scope = f"{date}/{self._region}/{self._service}/aws4_request"
        string_to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{credential_scope}\n{sha256(canonical_request).hexdigest()}"
        key = self._signing_key.of(identity.secret_key, date, self._region, self._service)
        signature = hmac.digest(key, string_to_sign.encode(), "sha256").hex()
        credential = f"{identity.access_key}/{credential_scope}"
        authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return (("authorization", authorization), *added)


def _canonical_request(path: str, signed: list[tuple[str, str]], names: str, digest: str) -> bytes:
    """Return the canonical request: its lines are those that no proxy on the way changes."""
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
    """Encode a path once more than it is sent (%3A -> %253A), as every AWS service but S3 expects in a signature."""
    return quote(path, safe="/~")


_known_again = lru_cache(maxsize=1024)(_encode_again)


@lru_cache(maxsize=4)
def _timestamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
