"""Signed tokens (JWT): what Envoy's `jwt_authn` filter has verified -> a token, as an API key is one.

Envoy verifies the signature, `iss`, `aud`, `exp` and `nbf`, and writes the payload where no caller can write: into
dynamic metadata, which the transport hands over as a `JwtResult`. Of a token itself only `alg` is read here, and that
can only have it rejected, so nothing in it counts that Envoy has not verified.

Invariant: a `JwtResult` without claims, and none at all, are an error response. Claims count only where `iss` is an
issuer of the settings in force, `aud` has one of its audiences, `exp` is a number in the future, and there is a `sub`
(RFC 9068, section 2.2): without it, callers would share limits, budgets and a name in the books. A token counts
only where it is signed by a private key: Envoy verifies HMAC too, with a symmetric key (`oct`) that an issuer publishes
and so everybody has. A claim of scopes narrows what a token may call; where it is missing, the token may call nothing.

Decisions: docs/decisions.md, D210, D211, D212, D254.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, NoReturn, get_args

from extproc import config
from extproc.config.jwt import NAME_PREFIX, RETRY_SECONDS, JwtIssuer
from extproc.config.kinds import Scope
from extproc.openai.errors import ApiError
from extproc.value import Value

Claim = str | float | tuple[str, ...]
"""A claim that may count: a text, a number, or the texts of a list."""

MAX_LENGTH: Final = 16_384
"""Longest signed token, in characters. Envoy repeats its payload in every message to a worker."""

SKEW_SECONDS: Final = 60.0
"""Seconds for which a token counts after `exp`, since clocks differ; Envoy's own default."""

MAX_NAME: Final = 128
"""Longest name of a token in logs, in characters."""

CHALLENGE: Final = {"www-authenticate": "Bearer"}
"""RFC 9110 section 15.5.2 requires the scheme in a 401."""

_JWT: Final = re.compile(r"Bearer ey[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
"""The header with a signed token. Envoy takes the scheme in this spelling only."""

_MACHINE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_DIGEST: Final = re.compile(r"#[0-9a-f]{16}\Z")
_SCOPES: Final = frozenset(get_args(get_args(Scope)[0]))

_ALGORITHMS: Final = frozenset([f"{kind}{size}" for kind in ("RS", "PS", "ES") for size in (256, 384, 512)] + ["EdDSA"])
"""Signatures that only who has a private key can make."""

_NO_SUCH_KEY: Final = 32
"""Envoy's status where no key of the issuer has the token's `kid` and `alg`."""

_REASONS: Final = {
    2: "It is not valid yet (`nbf`).",
    3: "It has expired; get a new one from your identity provider.",
    24: "Its issuer (`iss`) is none that this gateway trusts, or none that its Envoy has been started with.",
    25: "It is for another audience (`aud`) than this gateway's.",
    _NO_SUCH_KEY: "Its issuer has no key with this `kid` and `alg`. A key that is new counts within minutes.",
}
"""Envoy's status of a token -> what is wrong with it."""


class JwtResult(Value, frozen=True):
    """Envoy's result for a signed token: its `claims`, or None and the status and message of the failure."""

    claims: Mapping[str, Claim] | None = None
    status: int = 0
    message: str = ""


def is_jwt(authorization: str | None) -> bool:
    """Return whether the header has a signed token, and nothing else, in the form that Envoy verifies."""
    return (
        authorization is not None
        and authorization.startswith("Bearer ey")
        and _JWT.fullmatch(authorization) is not None
    )


class JwtTokens:
    """The signed tokens of some issuers."""

    def __init__(self, issuers: Sequence[JwtIssuer]) -> None:
        self._issuers = {each.issuer: each for each in issuers}

    def token(self, authorization: str, result: JwtResult | None, now: float) -> config.Token:
        """Return the token of a request with this header, which `is_jwt`; raises `ApiError` 401 or 503.

        Its SHA-256 is empty: it is in no store.
        """
        if len(authorization) > MAX_LENGTH:
            reject(f"This signed token is longer than {MAX_LENGTH} characters.")
        if result is None:
            reject(f"This signed token is not accepted. {_REASONS[24]}")
        claims = result.claims
        if claims is None:
            _failed(result)
        if not _is_signed_by_private_key(authorization):
            reject("This signed token is not accepted. Its `alg` is none of RS, PS, ES and EdDSA.")
        issuer = self._issuers.get(_text(claims.get("iss")))
        if issuer is None:
            reject(f"This signed token is not accepted. {_REASONS[24]}")
        if not set(issuer.audiences).intersection(_texts(claims.get("aud"))):
            reject(f"This signed token is not accepted. {_REASONS[25]}")
        expires = claims.get("exp")
        if not isinstance(expires, float) or expires + SKEW_SECONDS <= now:
            reject(f"This signed token is not accepted. {_REASONS[3]}")
        subject = _text(claims.get("sub"))
        if not subject:
            reject("This signed token is not accepted. It has no subject (`sub`), so nobody could tell its caller.")
        return config.Token(
            name=_name(subject),
            sha256="",
            organisations=_organisations(_texts(claims.get(issuer.organisation)), issuer.organisations),
            scopes=None if issuer.scopes is None else _scopes(claims.get(issuer.scopes)),
        )


def reject(message: str) -> NoReturn:
    """Raise a 401."""
    raise ApiError(401, message, code="invalid_api_key", headers=CHALLENGE)


def _failed(result: JwtResult) -> NoReturn:
    """Raise the error for a token that Envoy has not verified: a 503 where it lacks the issuer's keys."""
    if result.message.startswith("Jwks ") and result.status != _NO_SUCH_KEY:
        raise ApiError(
            503,
            "This signed token could not be verified: its issuer's keys cannot be fetched at the moment. Try again.",
            type="server_error",
            code="issuer_unavailable",
            headers={"retry-after": str(RETRY_SECONDS)},
        )
    reason = _REASONS.get(result.status) or f"{result.message or 'It is invalid'}."
    reject(f"This signed token is not accepted. {reason}")


def _is_signed_by_private_key(authorization: str) -> bool:
    """Return whether every `alg` in the token's header, of which Envoy takes one, is of a pair of keys."""
    head = authorization.removeprefix("Bearer ").partition(".")[0]
    try:
        pairs = json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)), object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return False
    if not isinstance(pairs, tuple):
        return False
    named = [value for name, value in pairs if name == "alg"]
    return bool(named) and all(isinstance(value, str) and value in _ALGORITHMS for value in named)


def _text(claim: Claim | None) -> str:
    return claim if isinstance(claim, str) else ""


def _texts(claim: Claim | None) -> tuple[str, ...]:
    """Return a claim that is a text or a list of texts as a list."""
    if isinstance(claim, tuple):
        return claim
    return (claim,) if isinstance(claim, str) else ()


def _organisations(names: tuple[str, ...], permitted: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return those that may be machine names, and that the issuer may name, each once."""
    possible = [name for name in names if _MACHINE_NAME.fullmatch(name) and (permitted is None or name in permitted)]
    return tuple(dict.fromkeys(possible))


def _scopes(claim: Claim | None) -> tuple[Scope, ...]:
    """Return the scopes that the claim names, by OAuth's form of them (RFC 6749, section 3.3) or as a list."""
    named = claim.split() if isinstance(claim, str) else _texts(claim)
    return tuple(dict.fromkeys([scope for scope in named if scope in _SCOPES]))  # type: ignore[misc]


def _name(subject: str) -> str:
    """Return the name: `jwt:` and the subject; no two subjects have one, since limits and logs know them by it.

    A digest tells one that is long or unprintable from others, and so one that looks as if it had a digest.
    """
    plain = _UNPRINTABLE.sub("?", subject[:MAX_NAME])
    if plain == subject and len(subject) <= MAX_NAME - len(NAME_PREFIX) and not _DIGEST.search(subject):
        return NAME_PREFIX + subject
    digest = sha256(subject.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{NAME_PREFIX}{plain[: MAX_NAME - len(NAME_PREFIX) - len(digest) - 1]}#{digest}"
