"""What `check` finds of the issuers of signed tokens: whether their keys can be fetched, and used by Envoy.

A fetch is as Envoy makes it: one GET in five seconds, by TLS with the authorities and through the proxy of the
environment, without following a redirect.

Decision: docs/decisions.md, D254.
"""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import aiohttp
import msgspec
import yarl

from extproc.cli.parameters import TemporaryError, UserError, jwks_proxies, user_errors
from extproc.config import Settings
from extproc.config.faults import printable
from extproc.config.jwt import JwtIssuer, jwks_endpoint
from extproc.net import ca_bundle
from extproc.proxy import Proxy
from extproc.worker.bounded_http import BoundedConnector
from extproc.worker.trust import TrustError, bedrock_trust

FETCH_SECONDS = 5.0
"""Timeout of a fetch, which is Envoy's."""

MAX_BYTES = 1024 * 1024
"""Largest list of keys; Entra ID's, a large one, has 20 KiB."""

_NAMED = 3
"""Most keys that a message gives a reason for."""

_PARTS = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",)}
"""What a key of each type has to have, in base64url."""

_ALGORITHMS = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("EdDSA",)}
"""How `alg` begins, where a key of each type has it."""

_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
"""`alg` of a curve's keys -> the one `crv` that goes with it."""

_ED25519_BYTES = 32

_BASE64URL = re.compile(r"([A-Za-z0-9_-]+)(={0,2})")

_NETWORK = "look at the network and at the proxy (HTTPS_PROXY, NO_PROXY), and check again"


class KeysError(Exception):
    """Keys that cannot be fetched or used; `temporary` is true where they may be later without a change."""

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary


def count_keys(settings: Settings) -> list[int]:
    """Fetch the keys of all issuers, and return how many of each can be used: one at least.

    Raises `UserError` that names all that has to be changed, or `TemporaryError` if nothing has to be.
    """
    if not settings.jwt:
        return []
    with user_errors(TrustError):
        results = asyncio.run(_fetch_all(settings.jwt, jwks_proxies(settings)))
    faults = [
        (result.temporary, printable(f"jwt[{index}].jwks_uri: {settings.jwt[index].jwks_uri} {result}"))
        for index, result in enumerate(results)
        if isinstance(result, KeysError)
    ]
    if faults:
        kind = TemporaryError if all(temporary for temporary, _ in faults) else UserError
        raise kind("\n".join(message for _, message in faults))
    return [result for result in results if isinstance(result, int)]


async def _fetch_all(issuers: Sequence[JwtIssuer], proxies: Mapping[str, Proxy]) -> list[int | KeysError]:
    secure = any(jwks_endpoint(each.jwks_uri).scheme == "https" for each in issuers)
    async with aiohttp.ClientSession(
        connector=BoundedConnector(ssl=bedrock_trust(os.environ) if secure else True),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("accept-encoding",),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
    ) as session:
        return await asyncio.gather(*(_count(session, each, proxies) for each in issuers))


async def _count(session: aiohttp.ClientSession, issuer: JwtIssuer, proxies: Mapping[str, Proxy]) -> int | KeysError:
    """Return the number of usable keys, or what is wrong."""
    try:
        proxy = proxies.get(str(jwks_endpoint(issuer.jwks_uri)))
        return usable_keys(await _fetch(session, issuer, proxy))
    except KeysError as error:
        return error


async def _fetch(session: aiohttp.ClientSession, issuer: JwtIssuer, proxy: Proxy | None) -> bytes:
    """Return the body at `jwks_uri`; raises `KeysError`."""
    through = {"proxy": str(proxy), "proxy_headers": proxy.headers} if proxy else {}
    url = yarl.URL(issuer.jwks_uri, encoded=True)
    try:
        async with session.get(url, allow_redirects=False, **through) as response:  # type: ignore[arg-type]
            _check_status(response, issuer)
            body = bytearray()
            async for chunk in response.content.iter_chunked(64 * 1024):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise KeysError(f"has more than {MAX_BYTES} bytes, which is no list of keys: {_elsewhere(issuer)}")
            return bytes(body)
    except aiohttp.ClientConnectorCertificateError as error:
        raise KeysError(
            f"has a certificate that is not accepted ({error.certificate_error}): write the name that it bears, or "
            f"add its authority to {ca_bundle(os.environ)}, or have AWS_CA_BUNDLE name another file"
        ) from error
    except aiohttp.ClientHttpProxyError as error:
        raise KeysError(
            f"cannot be reached through {proxy}, which answered {error.status}: have the proxy permit it, or exempt it "
            "with NO_PROXY",
            temporary=error.status >= 500,
        ) from error
    except TimeoutError as error:
        raise KeysError(f"did not answer in {FETCH_SECONDS:g} seconds: {_NETWORK}", temporary=True) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a name that cannot be one of DNS
        raise KeysError(f"cannot be reached ({error}): {_NETWORK}", temporary=True) from error


def _check_status(response: aiohttp.ClientResponse, issuer: JwtIssuer) -> None:
    """Raise `KeysError` for every status but 200."""
    status = response.status
    if status == 200:
        return
    if location := response.headers.get("location", "")[:200]:
        raise KeysError(f"answered {status}, and Envoy follows no redirect: write its target, {location}")
    if status >= 500 or status == 429:
        raise KeysError(f"answered {status}: check again, or ask those who run the issuer", temporary=True)
    raise KeysError(f"answered {status}: {_elsewhere(issuer)}")


def _elsewhere(issuer: JwtIssuer) -> str:
    """Return where the right URL can be found."""
    return f"write the `jwks_uri` that {issuer.issuer.rstrip('/')}/.well-known/openid-configuration has"


def usable_keys(body: bytes) -> int:
    """Return with how many keys of a JSON Web Key Set a token can be verified; raises `KeysError` for none.

    The rules are those of Envoy's reader, which looks at no `use`, and takes a map of certificates too. Symmetric keys
    do not count: tokens by them are rejected. Whether a point is on its curve is not computed, nor a certificate read:
    one of a curve counts, though Envoy takes certificates of RSA only.

    Sources: RFC 7517, RFC 7518, RFC 8037; Envoy's source/common/jwt/jwks.cc.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeysError(f"has no JSON ({error}): it has to be a JSON Web Key Set") from error
    if _has_certificates(document):
        return len(document)
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise KeysError("has no list `keys`: it has to be a JSON Web Key Set, not the issuer's openid-configuration")
    reasons = [_why_unusable(key) for key in keys]
    if all(reasons):
        named = "; ".join(islice(_named(keys, reasons), _NAMED)) or "the list is empty"
        raise KeysError(f"has no key that can be used ({named}): have the issuer publish one of RSA or of a curve")
    return reasons.count("")


def _has_certificates(document: object) -> bool:
    """Return whether it is a map of key ids to certificates, as Google has."""
    begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
    return (
        isinstance(document, dict)
        and "keys" not in document
        and bool(document)
        and all(isinstance(each, str) and each.startswith(begin) and each.endswith(end) for each in document.values())
    )


def _named(keys: Sequence[object], reasons: Sequence[str]) -> Iterator[str]:
    for index, (key, reason) in enumerate(zip(keys, reasons, strict=True)):
        kid = key.get("kid") if isinstance(key, dict) else None
        yield f"{str(kid)[:80] if kid else f'keys[{index}]'}: {reason}"


def _why_unusable(key: object) -> str:
    """Return why a key verifies no token; "" if it can."""
    if not isinstance(key, dict):
        return "it is no object"
    kind = key.get("kty")
    if kind == "oct":
        return "it is symmetric (`oct`), so everybody who reads it can sign with it"
    if not isinstance(kind, str) or kind not in _PARTS:
        return f"its type `kty` is {str(kind)[:80]}, and not one of {', '.join(_PARTS)}"
    algorithm = _text(key, "alg")
    if algorithm and not algorithm.startswith(_ALGORITHMS[kind]):
        return f"its `alg` is {algorithm[:80]}, which is none for {kind}"
    if not _has_known_curve(kind, algorithm, key.get("crv", "")):
        return f"its curve `crv` is {str(key.get('crv'))[:80]}, which is unknown, or none for its `alg`"
    for part in _PARTS[kind]:
        size = _size(_text(key, part))
        if not size or (kind == "OKP" and size != _ED25519_BYTES):
            return f"its `{part}` is missing, or not in base64url"
    return ""


def _text(key: Mapping[str, object], name: str) -> str:
    value = key.get(name)
    return value if isinstance(value, str) else ""


def _has_known_curve(kind: str, algorithm: str, curve: object) -> bool:
    if kind == "EC":
        if not algorithm:
            return curve in ("", *_CURVES.values())
        return algorithm in _CURVES and curve in ("", _CURVES[algorithm])
    return kind == "RSA" or curve == "Ed25519"


def _size(text: str) -> int:
    """Return how many bytes a text in base64url has, with its padding or without; 0 where it is none."""
    match = _BASE64URL.fullmatch(text)
    if match is None or len(match[1]) % 4 == 1 or (match[2] and len(text) % 4):
        return 0
    return len(match[1]) * 3 // 4
