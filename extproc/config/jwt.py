"""The issuers of signed tokens (JWT, OpenID Connect) in gateway.yaml, and the checks of them.

Decisions: docs/decisions.md, D210, D211, D213.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from extproc.bedrock.endpoints import DEFAULT_PORTS, Endpoint, Scheme
from extproc.config.document import ConfigError
from extproc.config.kinds import MachineName
from extproc.net import Address

NAME_PREFIX = "jwt:"
"""Begins the names by which logs know signed tokens; no other token's name begins so."""

Issuer = Annotated[
    str,
    Meta(
        max_length=1024,
        pattern=r"\A[!-~]+\Z",
        description="the `iss` of the tokens, letter by letter, as in https://login.example.com/",
    ),
]
Audience = Annotated[
    str,
    Meta(max_length=1024, pattern=r"\A[!-~]+\Z", description="an `aud` of the tokens, as in api://oai-gateway"),
]
JwksUri = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=r"\Ahttps?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[!-~]*)?\Z",
        description="the URL of the issuer's keys, as in https://login.example.com/jwks.json",
    ),
]
Claim = Annotated[
    str, Meta(max_length=256, pattern=r"\A[!-~]+\Z", description="the name of a claim without blanks, as in org")
]
KeysSeconds = Annotated[float, Meta(ge=5, le=86_400, description="a number of seconds from 5 to 86400 (a day)")]

RETRY_SECONDS = 5
"""Seconds between Envoy's tries to fetch keys that it could not fetch."""

MAX_ISSUERS = 16
MAX_AUDIENCES = 64


class JwtIssuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An issuer whose signed tokens are accepted beside API keys. Envoy verifies them (`jwt_authn`)."""

    issuer: Issuer
    audiences: tuple[Audience, ...]
    """A token needs one of them."""
    jwks_uri: JwksUri
    """Where Envoy fetches the issuer's public keys."""
    organisation: Claim
    """The claim with the caller's organisation, or with a list of them."""
    scopes: Claim | None = None
    """The claim with the token's scopes, a text with blanks between or a list; None: a token may call everything."""
    refresh_seconds: KeysSeconds = 300.0
    """How long Envoy keeps the keys before it fetches them again."""
    organisations: tuple[MachineName, ...] | None = None
    """Those for which the issuer may speak; None: for all."""


def jwks_endpoint(uri: str) -> Endpoint:
    """Return where the keys at this URL are fetched from. Raises `ValueError` for a port that there is not."""
    parts = urlsplit(uri)
    scheme: Scheme = "https" if parts.scheme == "https" else "http"
    port = DEFAULT_PORTS[scheme] if parts.port is None else parts.port
    if not port or not parts.hostname:
        raise ValueError("it has port 0, or no host")
    return Endpoint(scheme, parts.hostname, port)


def check_jwt(issuers: Sequence[JwtIssuer], names: Iterable[str]) -> None:
    """Check issuers, and the names of the tokens beside them; raises `ConfigError`."""
    if not issuers:
        return
    if len(issuers) > MAX_ISSUERS:
        raise ConfigError(f"jwt: {len(issuers)} issuers, at most {MAX_ISSUERS} are accepted")
    seen: dict[str, int] = {}
    for index, each in enumerate(issuers):
        if seen.setdefault(each.issuer, index) != index:
            raise ConfigError(
                f"jwt[{index}].issuer: the same as in jwt[{seen[each.issuer]}]; write all its `audiences` in one entry"
            )
        if not 1 <= len(each.audiences) <= MAX_AUDIENCES:
            raise ConfigError(
                f"jwt[{index}].audiences: expected 1 to {MAX_AUDIENCES} of them: a token for another service of the "
                "issuer's is none for this gateway"
            )
        if each.organisations == ():
            raise ConfigError(f"jwt[{index}].organisations: an empty list; name the issuer's own, or leave it out")
        _check_uri(each.jwks_uri, f"jwt[{index}].jwks_uri")
    for name in names:
        if name.startswith(NAME_PREFIX):
            raise ConfigError(
                f"tokens: the name `{name}` begins with `{NAME_PREFIX}`, as those of signed tokens do in logs; choose "
                "another, or remove `jwt`"
            )


def _check_uri(uri: str, where: str) -> None:
    """Check that the keys come by TLS, or from this machine: whoever changes them on their way lets anybody in."""
    try:
        endpoint = jwks_endpoint(uri)
    except ValueError as error:
        raise ConfigError(f"{where}: not the URL of a server: {error}") from None
    if endpoint.scheme == "http" and not Address(endpoint.host, endpoint.port).stays_here:
        raise ConfigError(f"{where}: the keys would come in plain text over the network; use https://")
